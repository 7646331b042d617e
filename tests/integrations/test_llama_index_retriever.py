"""The LlamaIndex retriever in the host's own machinery."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from llama_index.core.llms import CompletionResponse, MockLLM
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import MetadataMode

from memos_integrations import MemorySession, SearchPolicy
from memos_integrations.langchain import MemOSRetriever as LangChainRetriever
from memos_integrations.llama_index import MemOSRetriever

FACTS = ["Maya moved to Utrecht", "Maya is allergic to walnuts", "Jonas plays the trumpet"]


@pytest.fixture
def retriever(alice: MemorySession) -> MemOSRetriever:
    alice.add(FACTS, tags=["fact"], speaker="Maya")
    return MemOSRetriever(alice, limit=2)


def test_nodes_say_where_they_come_from(retriever: MemOSRetriever, alice: MemorySession) -> None:
    found = retriever.retrieve("walnuts")[0]
    cube = alice.get(found.node.node_id)
    assert found.node.get_content() == cube.text == "Maya is allergic to walnuts"
    assert found.score is not None
    assert 0 < found.score <= 1
    assert found.node.metadata["version"] == 1
    assert "words #1: walnuts" in found.node.metadata["why"]
    json.dumps(found.node.metadata)


def test_models_are_shown_words_not_bookkeeping(retriever: MemOSRetriever) -> None:
    shown = retriever.retrieve("walnuts")[0].node.get_content(metadata_mode=MetadataMode.LLM)
    assert "speaker: Maya" in shown
    assert "score" not in shown


async def test_async_gives_the_same(retriever: MemOSRetriever) -> None:
    now, later = retriever.retrieve("trumpet"), await retriever.aretrieve("trumpet")
    assert [n.node.node_id for n in now] == [n.node.node_id for n in later]


async def test_the_event_loop_goes_on(waiting: MemorySession, gate: threading.Event) -> None:
    waiting.add(FACTS)

    async def open_gate() -> None:
        gate.set()

    found, _ = await asyncio.gather(MemOSRetriever(waiting).aretrieve("Maya"), open_gate())
    assert len(found) == 3


async def test_in_an_async_query_engine(retriever: MemOSRetriever) -> None:
    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM())
    answer = await engine.aquery("walnuts")
    assert answer.source_nodes[0].node.get_content() == "Maya is allergic to walnuts"


def test_filters(alice: MemorySession, retriever: MemOSRetriever) -> None:
    assert MemOSRetriever(alice, filters={"tags": "other"}).retrieve("Maya") == []


def test_in_a_query_engine(retriever: MemOSRetriever) -> None:
    engine = RetrieverQueryEngine.from_args(
        retriever,
        llm=MockLLM(),
        node_postprocessors=[SimilarityPostprocessor(similarity_cutoff=0.9)],
    )
    answer = engine.query("walnuts")
    assert [n.node.get_content() for n in answer.source_nodes] == ["Maya is allergic to walnuts"]
    assert "Maya is allergic to walnuts" in str(answer)


def test_both_frameworks_recall_the_same(retriever: MemOSRetriever, alice: MemorySession) -> None:
    other = LangChainRetriever(session=alice, limit=2)
    other.invoke("Maya allergic")  # the first use activates a memory: from here on nothing moves
    documents = other.invoke("Maya allergic")
    nodes = retriever.retrieve("Maya allergic")
    assert [d.id for d in documents] == [n.node.node_id for n in nodes]
    same = [n.node.metadata | {"score": n.score} for n in nodes]
    assert [d.metadata for d in documents] == same


class Rewriting(MockLLM):
    def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
        assert prompt.endswith("Question: horn\n")
        return CompletionResponse(text="- trumpet\n- brass instrument")


def test_an_llm_may_ask_in_other_words(retriever: MemOSRetriever, alice: MemorySession) -> None:
    policy = SearchPolicy(dense=0.0)
    assert MemOSRetriever(alice, policy=policy).retrieve("horn") == []
    found = MemOSRetriever(alice, policy=policy, rewrite=Rewriting()).retrieve("horn")
    assert [node.node.get_content() for node in found] == ["Jonas plays the trumpet"]
