"""An agent that remembers: ``python cookbook/langchain_agent.py [FOLDER]``.

The model is a stand-in without a key, which acts by rules; any chat model takes its place. Lines
with a bar are the memories in the prompt that it answered.
"""

import json
import sys
import tempfile
from typing import Any
from uuid import uuid4

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.memory import InMemorySaver

from memos_integrations import MemOS
from memos_integrations.langchain import MemOSMiddleware, memory_tools


class StandIn(BaseChatModel):
    """Looks up what it knows before it changes it; answers from the memories in its prompt."""

    _llm_type = "stand-in"
    saw: str = ""

    def bind_tools(self, tools: Any, **_: Any) -> "StandIn":
        return self

    def _generate(self, messages: Any, *_: Any, **__: Any) -> ChatResult:
        newest = next(m.text for m in reversed(messages) if m.type == "human")
        self.saw, _, said = newest.rpartition("\n\n")
        return ChatResult(generations=[ChatGeneration(message=answer(messages, self.saw, said))])


def answer(messages: Any, block: str, said: str) -> AIMessage:
    if said.endswith("?"):
        facts = [line.partition(": ")[2] for line in block.splitlines() if "lives in" in line]
        return AIMessage(" ".join(facts) or "I do not know.")
    if messages[-1].type == "human":
        return call("search_memory", query=said)
    if messages[-1].name != "search_memory":
        return AIMessage("Done.")
    known = [one["id"] for one in json.loads(messages[-1].text) if "lives in" in one["text"]]
    if said.startswith("Please forget"):
        return call("forget_memory", id=known[0])
    fact = {"text": said.replace("I live", "The user lives")}
    return call("update_memory", id=known[0], **fact) if known else call("save_memory", **fact)


def call(name: str, **arguments: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": uuid4().hex}])


def main(folder: str) -> None:
    with MemOS.open(folder) as memory:
        model, tools = StandIn(), memory_tools(memory)
        recall = MemOSMiddleware(memory, record="nothing")  # this model saves by its tools
        agent = create_agent(model, tools, middleware=[recall], checkpointer=InMemorySaver())

        def say(user: str, day: str, said: str) -> None:
            config: Any = {"configurable": {"thread_id": f"{user}-{day}"}}
            state = agent.invoke({"messages": [("user", said)]}, config, context={"user_id": user})
            seen = "".join(f"    | {line}\n" for line in model.saw.splitlines())
            print(f"{day}, {user}: {said}\n{seen}    agent: {state['messages'][-1].text}")

        say("ann", "Monday", "I live in Oslo.")
        say("ann", "Tuesday", "In which city do I live?")
        say("bob", "Tuesday", "In which city do I live?")
        say("ann", "Tuesday", "I live in Bergen.")
        say("ann", "Wednesday", "In which city do I live?")
        say("ann", "Wednesday", "Please forget where I live.")
        say("ann", "Thursday", "In which city do I live?")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(sys.argv[1] if len(sys.argv) > 1 else scratch)
