"""Some days with a LlamaIndex chat engine or agent, in a process of its own.

``python llama_days_worker.py FOLDER KIND DAY...`` prints one JSON object a turn.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.chat_engine import (
    CondensePlusContextChatEngine,
    ContextChatEngine,
    SimpleChatEngine,
)

sys.path.insert(0, str(Path(__file__).parent))
from scripted_llm import ScriptedLLM, call, words

from memos_integrations import MemorySession, MemOS
from memos_integrations.llama_index import MemOSMemory, MemOSRetriever, MemOSToolSpec
from memos_integrations.testing import FakeClock

DAYS: dict[int, list[str]] = {
    1: ["I live in Oslo and I am allergic to walnuts.", "My sister is called Ida."],
    2: ["I have moved to another city: Bergen it is.", "Please forget what my sister is called."],
    3: ["In which city do I live, and what must I not eat?", "What is my sister called?"],
}


def line(messages: Sequence[ChatMessage]) -> ChatMessage:
    """What a model with some sense would do; without tools it only talks."""
    last = messages[-1]
    users = [m.content or "" for m in messages if m.role.value == "user"]
    asked = users[-1].rpartition("</memories>")[2]
    if last.role.value == "tool" and (last.content or "").startswith("["):
        found = json.loads(last.content or "")
        if "moved" in asked:
            id = next(one["id"] for one in found if "Oslo" in one["text"])
            text = "I live in Bergen and I am allergic to walnuts."
            return call("update_memory", id=id, text=text)
        return call("forget_memory", id=next(one["id"] for one in found if "Ida" in one["text"]))
    if last.role.value == "user" and line.tools:  # type: ignore[attr-defined]
        if "moved" in asked:
            return call("search_memory", query="I live in")
        if "forget" in asked:
            return call("search_memory", query="my sister is called")
    if asked.strip().endswith("?"):
        known = [one for one in ("Oslo", "Bergen", "walnuts", "Ida") if one in words(messages)]
        return ChatMessage(role="assistant", content=f"I remember: {', '.join(known)}")
    return ChatMessage(role="assistant", content="Noted.")


def answer(
    kind: str, llm: ScriptedLLM, session: MemorySession, said: str, day: int, handbook: Any
) -> str:
    memory = MemOSMemory.from_defaults(session, conversation_id=f"day-{day}")
    if kind in ("function_agent", "workflow"):
        agent = FunctionAgent(
            name="a",
            description="the only one",
            tools=MemOSToolSpec(session).to_tool_list(),
            llm=llm,
            system_prompt="Be kind.",
        )
        runner: Any = agent if kind == "function_agent" else AgentWorkflow(agents=[agent])

        async def run() -> str:
            return str(await runner.run(said, memory=memory))

        return asyncio.run(run())
    engine: Any = {
        "simple": lambda: SimpleChatEngine.from_defaults(llm=llm, memory=memory),
        "context": lambda: ContextChatEngine.from_defaults(
            retriever=handbook, llm=llm, memory=memory
        ),
        "condense": lambda: CondensePlusContextChatEngine.from_defaults(
            retriever=handbook, llm=llm, memory=memory
        ),
    }[kind]()
    return str(engine.chat(said))


def live(folder: Path, kind: str, days: Sequence[int]) -> Iterator[dict[str, Any]]:
    line.tools = kind in ("function_agent", "workflow")  # type: ignore[attr-defined]
    for day in days:
        clock = FakeClock(datetime(2026, 5, day, 9, tzinfo=UTC))
        with MemOS.open(folder / "memory", clock=clock) as store:
            session = store.session("maya")
            if store.session("handbook").count() == 0:
                store.session("handbook").add("The canteen opens at noon.")
            for said in DAYS[day]:
                llm = ScriptedLLM(line=line)
                if day == 2 and not line.tools:  # type: ignore[attr-defined]
                    by_hand(session, said)
                reply = answer(
                    kind, llm, session, said, day, MemOSRetriever(store.session("handbook"))
                )
                prompt = words(llm.prompts[-1])
                yield {"day": day, "said": said, "prompt": prompt, "answer": reply}


def by_hand(session: MemorySession, said: str) -> None:
    """What the agent does with its tools, the application does for an engine without any."""
    cubes = session.list()
    if "moved" in said:
        old = next(cube for cube in cubes if "Oslo" in cube.text)
        session.update(old.id, "I live in Bergen and I am allergic to walnuts.")
    else:
        session.delete(next(cube for cube in cubes if "Ida" in cube.text).id)


if __name__ == "__main__":
    for turn in live(Path(sys.argv[1]), sys.argv[2], [int(day) for day in sys.argv[3:]]):
        print(json.dumps(turn), flush=True)
