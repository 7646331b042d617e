"""The LangChain retriever: the host's own suite, and real use."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from langchain_tests.integration_tests import RetrieversIntegrationTests

from memos_integrations import MemorySession, MemOS, SearchPolicy
from memos_integrations.errors import InvalidInputError
from memos_integrations.langchain import MemOSRetriever
from memos_integrations.testing import WordEmbedder

FACTS = ["Maya moved to Utrecht", "Maya is allergic to walnuts", "Jonas plays the trumpet"]


class TestStandard(RetrieversIntegrationTests):
    """langchain_tests, without an override of its own tests."""

    @pytest.fixture(autouse=True)
    def store(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        folder = tmp_path_factory.mktemp("standard") / "store"
        with MemOS.open(folder, embedder=WordEmbedder()) as memory:
            type(self).session = memory.session("maya")
            type(self).session.add([*FACTS, "Odile swims on Thursdays"])
            yield

    session: MemorySession

    @property
    def retriever_constructor(self) -> type[MemOSRetriever]:
        return MemOSRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, object]:
        return {"session": self.session}

    @property
    def retriever_query_example(self) -> str:
        return "what is Maya allergic to?"

    @property
    def num_results_arg_name(self) -> str:
        return "limit"


@pytest.fixture
def retriever(alice: MemorySession) -> MemOSRetriever:
    alice.add(FACTS, tags=["fact"], speaker="Maya", metadata={"page": 3})
    return MemOSRetriever(session=alice, limit=2)


def test_documents_say_where_they_come_from(
    retriever: MemOSRetriever, alice: MemorySession
) -> None:
    document = retriever.invoke("walnuts")[0]
    cube = alice.get(str(document.id))
    assert document.page_content == cube.text == "Maya is allergic to walnuts"
    assert document.metadata["version"] == 1
    assert 0 < document.metadata["score"] <= 1
    assert set(document.metadata["score_parts"]) == {"dense", "lexical"}
    assert "words #1: walnuts" in document.metadata["why"]
    assert document.metadata["speaker"] == "Maya"
    assert document.metadata["metadata"] == {"page": 3}
    assert document.metadata["created_at"] == "2026-01-01T12:00:00Z"
    json.dumps(document.metadata)
    Document.model_validate_json(document.model_dump_json())


def test_limit_and_filters_per_call(retriever: MemOSRetriever) -> None:
    assert len(retriever.invoke("Maya")) == 2
    assert len(retriever.invoke("Maya", limit=1)) == 1
    assert retriever.invoke("Maya", filters={"tags": "other"}) == []


async def test_async_gives_the_same(retriever: MemOSRetriever) -> None:
    now, later = retriever.invoke("trumpet"), await retriever.ainvoke("trumpet")
    assert [d.id for d in now] == [d.id for d in later]
    assert [d.id for d in (await retriever.abatch(["trumpet"]))[0]] == [d.id for d in now]


async def test_the_event_loop_goes_on(waiting: MemorySession, gate: threading.Event) -> None:
    waiting.add(FACTS)

    async def open_gate() -> None:
        gate.set()

    found, _ = await asyncio.gather(MemOSRetriever(session=waiting).ainvoke("Maya"), open_gate())
    assert len(found) == 3


def test_batch(retriever: MemOSRetriever) -> None:
    walnuts, trumpet = retriever.batch(["walnuts", "trumpet"])
    assert walnuts[0].page_content == "Maya is allergic to walnuts"
    assert trumpet[0].page_content == "Jonas plays the trumpet"


def test_a_wrong_limit_is_a_typed_error(retriever: MemOSRetriever) -> None:
    with pytest.raises(InvalidInputError, match="limit"):
        retriever.invoke("walnuts", limit=-1)


def test_traces_say_what_was_asked(retriever: MemOSRetriever) -> None:
    seen: list[dict[str, object]] = []

    class Watcher(BaseCallbackHandler):
        def on_retriever_start(self, *_: object, metadata: object = None, **__: object) -> None:
            seen.append(dict(metadata or {}))  # type: ignore[call-overload]

    retriever.invoke("walnuts", {"callbacks": [Watcher()]}, limit=1)
    assert seen[0]["ls_retriever_name"] == "memos"
    assert seen[0]["ls_embedding_model"] == retriever.session.embedder.name


def test_in_a_chain(retriever: MemOSRetriever) -> None:
    prompt = ChatPromptTemplate.from_template("{memories}\n\n{question}")
    model = FakeListChatModel(responses=["No walnuts."])

    def lines(documents: list[Document]) -> str:
        return "\n".join(d.page_content for d in documents)

    chain = (
        {"memories": retriever | lines, "question": RunnablePassthrough()}
        | prompt
        | model
        | StrOutputParser()
    )
    assert chain.invoke("what must I not cook?") == "No walnuts."


def test_a_chat_model_may_ask_in_other_words(alice: MemorySession) -> None:
    alice.add(FACTS)
    model = FakeListChatModel(responses=["1. trumpet\n2. brass instrument"])
    policy = SearchPolicy(dense=0.0)
    plain = MemOSRetriever(session=alice, policy=policy)
    assert plain.invoke("horn") == []
    found = MemOSRetriever(session=alice, policy=policy, rewrite=model).invoke("horn")
    assert [document.page_content for document in found] == ["Jonas plays the trumpet"]
    assert [one.id for one in plain.invoke("horn", rewrite=model)] == [found[0].id]
    assert "asked as 'trumpet'" in found[0].metadata["why"]
