"""LlamaIndex in real use: three days over two processes, two frameworks, fifty users at once."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.chat_engine import SimpleChatEngine

from memos_integrations import MemOS
from memos_integrations.langchain import MemOSChatMessageHistory, MemOSMiddleware
from memos_integrations.llama_index import MemOSMemory, MemOSToolSpec

sys.path.insert(0, str(Path(__file__).parent))
from scripted_llm import ScriptedLLM, words
from scripted_model import ScriptedModel

WORKER = Path(__file__).with_name("llama_days_worker.py")


def lived(folder: Path, kind: str, *days: int) -> list[dict[str, Any]]:
    command = [sys.executable, str(WORKER), str(folder), kind, *map(str, days)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


@pytest.mark.parametrize("kind", ["simple", "context", "condense", "function_agent", "workflow"])
def test_three_days_over_two_processes(tmp_path: Path, kind: str) -> None:
    lived(tmp_path, kind, 1)
    _, _, where, sister = lived(tmp_path, kind, 2, 3)
    assert "walnuts" in where["prompt"], "said on day one, in another process"
    assert "I live in Bergen" in where["prompt"], "the corrected fact"
    assert "Oslo" not in where["prompt"], "and not the old one"
    assert "Bergen" in where["answer"]
    assert "Ida" not in sister["prompt"], "forgotten on request"
    with MemOS.open(tmp_path / "memory") as store:
        maya = store.session("maya")
        corrected = next(cube for cube in maya.list() if cube.text.startswith("I live in Bergen"))
        assert len(maya.history(corrected.id)) == 2
        assert any(use.prompt.startswith("day-3") for use in maya.uses(corrected.id))
        assert not any("<memories>" in cube.text for cube in maya.list(limit=1000))


def test_one_conversation_in_two_frameworks(memory: MemOS) -> None:
    maya = memory.session("maya")
    history = MemOSChatMessageHistory(maya, "c")
    history.add_messages([HumanMessage("I swim on Thursdays"), AIMessage("Good for you")])
    llm = ScriptedLLM(line=lambda m: ChatMessage(role="assistant", content="At seven."))
    engine = SimpleChatEngine.from_defaults(
        llm=llm, memory=MemOSMemory.from_defaults(maya, conversation_id="c")
    )
    engine.chat("and at what time do I swim?")
    assert [m.content for m in llm.prompts[0]][:2] == ["I swim on Thursdays", "Good for you"]
    assert [(m.type, m.content) for m in history.messages] == [
        ("human", "I swim on Thursdays"),
        ("ai", "Good for you"),
        ("human", "and at what time do I swim?"),
        ("ai", "At seven."),
    ]
    # And what LlamaIndex kept, a LangChain agent recalls, by the same id.
    model = ScriptedModel(line=lambda messages: AIMessage("Yes."))
    create_agent(model, middleware=[MemOSMiddleware(maya)]).invoke(
        {"messages": [HumanMessage("swim on Thursdays?")]}
    )
    assert "- 2026-01-01 user: I swim on Thursdays" in str(model.prompts[0][0].text)
    cube = next(cube for cube in maya.list() if cube.text == "I swim on Thursdays")
    assert any("c:" not in use.prompt for use in maya.uses(cube.id))


# The host's own: agents look through their deprecated attributes.
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
async def test_fifty_users_at_once(open_store: Callable[..., MemOS]) -> None:
    store = open_store()

    def line(messages: Sequence[ChatMessage]) -> ChatMessage:
        return ChatMessage(role="assistant", content="understood, thank you")

    llm = ScriptedLLM(line=line)

    async def conversation(user: int) -> None:
        session = store.session(f"user-{user}", namespace=("acme", f"user-{user}"))
        agent = FunctionAgent(tools=MemOSToolSpec(session).to_tool_list(), llm=llm)
        for thread, said in (
            ("one", f"my secret word is canary{user}x, remember the secret word"),
            ("one", f"turn two of {user}: the weather is fine"),
            ("two", "what is my secret word?"),
        ):
            memory = MemOSMemory.from_defaults(session, conversation_id=thread)
            assert "understood" in str(await agent.run(said, memory=memory))

    await asyncio.gather(*(conversation(user) for user in range(50)))
    asked = 0
    for prompt in map(words, llm.prompts):
        owners = {user for user in range(50) if f"canary{user}x" in prompt}
        assert len(owners) <= 1
        if "what is my secret word?" in prompt:
            asked += 1
            assert len(owners) == 1
    assert asked == 50
    for user in range(50):
        session = store.session(f"user-{user}", namespace=("acme", f"user-{user}"))
        origins = sorted(cube.header.descriptive.origin for cube in session.list())
        assert origins == [*["assistant"] * 3, *["user"] * 3]
