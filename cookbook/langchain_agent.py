"""An agent that remembers: ``python cookbook/langchain_agent.py [FOLDER]``.

The model is a stand-in without a key, which acts by a few rules; any chat model takes its place.
"""

from __future__ import annotations

import json
import sys
import tempfile
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.memory import InMemorySaver

from memos_integrations import MemOS
from memos_integrations.langchain import MemOSMiddleware, memory_tools


class StandIn(BaseChatModel):
    """Looks a memory up before it changes it; answers from the memories in its prompt."""

    _llm_type = "stand-in"

    def bind_tools(self, tools: Any, **_: Any) -> StandIn:
        return self

    def _generate(self, messages: Any, *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=answer(messages))])


def answer(messages: Any) -> AIMessage:
    newest = next(str(m.text) for m in reversed(messages) if m.type == "human")
    block, _, said = newest.rpartition("</memories>")
    last = messages[-1]
    if last.type == "tool" and last.name == "search_memory":
        known = json.loads(str(last.content))[0]["id"]
        change = {"text": "I live in Bergen."} if "moved" in said else {}
        return call("update_memory" if change else "forget_memory", id=known, **change)
    if last.type == "human" and ("moved" in said or "forget" in said):
        return call("search_memory", query="I live in", limit=1)
    facts = [line for line in block.splitlines() if "I live in" in line]
    if said.endswith("?"):
        return AIMessage(f"I remember this: {facts[0][2:]}" if facts else "I do not know.")
    return AIMessage("Done.")


def call(name: str, **arguments: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": f"{name}-1"}])


def main(folder: str) -> None:
    with MemOS.open(folder) as memory:
        agent = create_agent(
            StandIn(),
            memory_tools(memory),
            middleware=[MemOSMiddleware(memory)],
            checkpointer=InMemorySaver(),
        )

        def say(user: str, day: str, said: str) -> None:
            config: Any = {"configurable": {"thread_id": f"{user}-{day}"}}
            state = agent.invoke({"messages": [("user", said)]}, config, context={"user_id": user})
            print(f"{day}, {user}: {said}\n    agent: {state['messages'][-1].text}")

        say("ann", "Monday", "I live in Oslo.")
        say("ann", "Tuesday", "In which city do I live?")
        say("bob", "Tuesday", "In which city do I live?")
        say("ann", "Wednesday", "I have moved to Bergen.")
        say("ann", "Thursday", "In which city do I live?")
        say("ann", "Friday", "Please forget where I live.")
        say("ann", "Saturday", "In which city do I live?")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
