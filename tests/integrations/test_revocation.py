"""After ``revoke`` has returned, nothing reads, shows or computes with what was granted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from llama_index.core.base.llms.types import ChatMessage

from memos_integrations import MemorySession, MemOS
from memos_integrations.errors import CubeNotFoundError
from memos_integrations.langchain import ChatMemOS, MemOSMiddleware, MemOSRetriever
from memos_integrations.llama_index import MemOSLLM, MemOSMemory
from memos_integrations.memories.block import block
from memos_integrations.recall import Recall, RecallPolicy
from memos_integrations.testing import WordEmbedder
from tests.integrations.scripted_model import ScriptedModel, words
from tests.integrations.test_langchain_chat_model import tiny

SECRET = (
    "Alice keeps a green parrot that is called Walnut, in the kitchen, above the stove, number "
)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[MemOS]:
    with MemOS.open(tmp_path / "store", embedder=WordEmbedder()) as opened:
        opened.govern("root")
        yield opened


def people(memory: MemOS) -> tuple[MemorySession, MemorySession]:
    """Alice at home, and Bob there, too."""
    return memory.session("alice"), memory.session("bob", namespace="alice")


def test_reads_and_prompts_stop_at_once(memory: MemOS) -> None:
    alice, bob = people(memory)
    cube = alice.add(f"{SECRET}1")[0]
    merged = alice.merge([cube.id, alice.add(f"{SECRET}2")[0].id])
    grant = alice.grant("bob", "read")
    then, recall = bob.as_of(merged.created_at), Recall(RecallPolicy(timeout=None))
    model = ScriptedModel(line=lambda _: AIMessage("Fine."))
    agent = create_agent(model, middleware=[MemOSMiddleware(bob, record="nothing")])
    chat = MemOSMemory.from_defaults(bob, conversation_id="c")
    retriever = MemOSRetriever(session=bob)
    reads: list[Any] = [
        lambda: bob.search("parrot"),
        lambda: bob.get_many([merged.id]),
        lambda: bob.list(),
        lambda: then.list(),
        lambda: then.search("parrot"),
        lambda: recall.find(bob, "the parrot?"),
        lambda: recall.again(bob, [merged.id]),
        lambda: retriever.invoke("parrot"),
        lambda: [one for one in [bob.lineage(merged.id)] if len(one)],
        lambda: [bob.get(merged.id), bob.get(cube.id, version=1), *bob.history(merged.id)],
        lambda: [then.get(merged.id)],
    ]
    assert all(read() for read in reads)
    alice.revoke(grant)
    for read in reads:
        with contextlib.suppress(CubeNotFoundError):
            assert read() == []
    agent.invoke({"messages": [{"role": "user", "content": "the parrot?"}]})
    assert "Walnut" not in words(model.prompts[-1])
    reader = memory.session("bob")
    said = MemOSMemory.from_defaults(reader, conversation_id="c")
    said.put(ChatMessage(role="user", content="the parrot?"))
    assert "Walnut" not in str(said.get())
    assert chat is not said


@pytest.mark.parametrize("framework", ["langchain", "llama_index"])
def test_no_cache_serves_it_although_the_prompt_is_the_same(memory: MemOS, framework: str) -> None:
    alice, bob = people(memory)
    cubes = alice.add([f"{SECRET}{n}" for n in range(4)])
    grant = alice.grant("bob", "read")
    shown = bob.get_many([cube.id for cube in cubes])
    bob.record_uses(shown, prompt="asked")
    model = (
        ChatMemOS(memory=bob, model=tiny(), max_tokens=2)
        if framework == "langchain"
        else MemOSLLM(bob, tiny(), max_tokens=2)
    )
    question = f"{block(shown)}\nwhat about the parrot?"

    def ask() -> None:
        if isinstance(model, ChatMemOS):
            model.invoke(question)
        else:
            model.chat([ChatMessage(role="user", content=question)])

    def served() -> set[str]:
        """Whose pieces a prompt is read from."""
        engine, prompt = model.local.engine, model.local.prompt(messages)
        read = engine.prefill(prompt)
        used = {source.cube_id for node in read.lease.nodes for source in node.sources}
        engine.tree.release(read.lease)
        return used

    messages = [{"role": "user", "content": question}]
    ask()
    ask()
    assert served() == {cube.id for cube in cubes}
    alice.revoke(grant)
    ask()
    assert served() == set()
    alice.grant("bob", "read", id=cubes[0].id)
    assert served() <= {cubes[0].id}
    model.local.close()
