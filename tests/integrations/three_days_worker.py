"""Some days in the life of an agent, in a process of its own.

``python three_days_worker.py FOLDER DAY...`` prints one JSON object a turn: the day, what the user
said, the prompt of the last model call, and the answer.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.sqlite import SqliteSaver

sys.path.insert(0, str(Path(__file__).parent))
from scripted_model import ScriptedModel, words

from memos_integrations import MemOS
from memos_integrations.langchain import MemOSMiddleware, memory_tools
from memos_integrations.testing import FakeClock

DAYS: dict[int, list[str]] = {
    1: ["I live in Oslo and I am allergic to walnuts.", "My sister is called Ida."],
    2: ["I have moved to another city: Bergen it is.", "Please forget what my sister is called."],
    3: ["In which city do I live, and what must I not eat?", "What is my sister called?"],
}


def line(messages: Sequence[BaseMessage]) -> AIMessage:
    """What a model with some sense would do."""
    last = messages[-1]
    newest = next(str(m.text) for m in reversed(messages) if isinstance(m, HumanMessage))
    asked = newest.rpartition("</memories>\n\n")[2]
    if isinstance(last, HumanMessage):
        if "moved" in asked:
            return _call("search_memory", query="I live in")
        if "forget" in asked:
            return _call("search_memory", query="my sister is called")
    if isinstance(last, ToolMessage) and last.name == "search_memory":
        found = json.loads(str(last.content))
        if "moved" in asked:
            id = next(one["id"] for one in found if "Oslo" in one["text"])
            text = "I live in Bergen and I am allergic to walnuts."
            return _call("update_memory", id=id, text=text)
        return _call("forget_memory", id=next(one["id"] for one in found if "Ida" in one["text"]))
    if asked.endswith("?"):
        known = [one for one in ("Oslo", "Bergen", "walnuts", "Ida") if one in words(messages)]
        return AIMessage(f"I remember: {', '.join(known) or 'nothing'}")
    return AIMessage("Noted.")


def _call(name: str, **arguments: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": f"call-{name}"}])


def live(folder: Path, days: Sequence[int]) -> Iterator[dict[str, Any]]:
    for day in days:
        clock = FakeClock(datetime(2026, 5, day, 9, tzinfo=UTC))
        with (
            MemOS.open(folder / "memory", clock=clock) as memory,
            SqliteSaver.from_conn_string(str(folder / "checkpoints.db")) as saver,
        ):
            model = ScriptedModel(line=line)
            agent = create_agent(
                model,
                memory_tools(memory),
                middleware=[MemOSMiddleware(memory)],
                checkpointer=saver,
            )
            for said in DAYS[day]:
                state = agent.invoke(
                    {"messages": [HumanMessage(said)]},
                    {"configurable": {"thread_id": f"day-{day}"}},
                    context={"user_id": "maya"},
                )
                yield {
                    "day": day,
                    "said": said,
                    "prompt": words(model.prompts[-1]),
                    "answer": str(state["messages"][-1].text),
                }


if __name__ == "__main__":
    for turn in live(Path(sys.argv[1]), [int(day) for day in sys.argv[2:]]):
        print(json.dumps(turn), flush=True)
