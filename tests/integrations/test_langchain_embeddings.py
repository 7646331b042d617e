"""The embeddings: LangChain's own suite, and that they are the store's own vectors."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from memos_integrations import MemorySession
from memos_integrations.errors import EmbeddingError, InvalidInputError
from memos_integrations.langchain import MemOSEmbeddings, MemOSStore
from memos_integrations.protocols import Vectors
from memos_integrations.testing import WordEmbedder


class Words:
    @property
    def embeddings_class(self) -> type[MemOSEmbeddings]:
        return MemOSEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"embedder": WordEmbedder()}


class Bundled(Words):
    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {}


class TestWordsUnit(Words, EmbeddingsUnitTests): ...


class TestWords(Words, EmbeddingsIntegrationTests): ...


class TestBundledUnit(Bundled, EmbeddingsUnitTests): ...


class TestBundled(Bundled, EmbeddingsIntegrationTests): ...


TEXTS = ["plums are blue", "  ", "", "\x00", "Zoë 🙂 名", "word " * 5_000]


@pytest.fixture(scope="module")
def bundled() -> MemOSEmbeddings:
    return MemOSEmbeddings()


@pytest.mark.parametrize("which", ["words", "bundled"])
def test_unit_length_and_plain_floats(which: str, bundled: MemOSEmbeddings) -> None:
    embeddings = MemOSEmbeddings(WordEmbedder()) if which == "words" else bundled
    vectors = [*embeddings.embed_documents(TEXTS), *map(embeddings.embed_query, TEXTS)]
    assert len(vectors) == 2 * len(TEXTS)
    assert len({len(vector) for vector in vectors}) == 1
    for vector in vectors:
        assert math.isclose(math.hypot(*vector), 1, abs_tol=1e-5)
        assert all(type(number) is float for number in vector)
    assert embeddings.embed_documents([]) == []


def test_a_batch_is_as_one_by_one(bundled: MemOSEmbeddings) -> None:
    texts = [f"{'plum ' * (i % 40)}number {i}" for i in range(300)]
    together = np.array(bundled.embed_documents(texts))
    alone = np.array([bundled.embed_documents([text])[0] for text in texts[::30]])
    assert np.allclose(together[::30], alone, atol=1e-2)


def test_they_are_the_store_s(alice: MemorySession) -> None:
    alice.add("plums are blue and sweet")
    embeddings = MemOSEmbeddings(WordEmbedder())
    cosine = float(
        np.dot(
            embeddings.embed_query("blue plums"),
            embeddings.embed_documents(["plums are blue and sweet"])[0],
        )
    )
    hit = alice.search("blue plums")[0]
    assert math.isclose(hit.parts["dense"], cosine, abs_tol=1e-5)
    store = MemOSStore(alice)
    assert store.embeddings.embed_query("x") == embeddings.embed_query("x")
    store.put(("n",), "k", {"text": "plums are blue and sweet"})
    found = store.search(("n",), query="blue plums")[0].score
    assert found is not None
    assert math.isclose(found, cosine, abs_tol=1e-5)


async def test_async_is_the_same_and_the_loop_goes_on() -> None:
    gate = threading.Event()

    class Waiting(WordEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> Vectors:
            assert gate.wait(20), "the event loop stood still"
            return super().embed_documents(texts)

    embeddings = MemOSEmbeddings(Waiting())

    async def open_gate() -> None:
        gate.set()

    vectors, _ = await asyncio.gather(embeddings.aembed_documents(["plums"]), open_gate())
    assert vectors == embeddings.embed_documents(["plums"])
    assert await embeddings.aembed_query("plums") == embeddings.embed_query("plums")


def test_in_a_vector_store(bundled: MemOSEmbeddings) -> None:
    store = InMemoryVectorStore(bundled)
    store.add_texts(["Alice is allergic to walnuts", "The train leaves at nine"])
    assert store.similarity_search("nuts she cannot eat", k=1)[0].page_content.startswith("Alice")


class Broken(WordEmbedder):
    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]

    def embed_query(self, text: str) -> Vectors:
        return self.embed_documents([text])


@pytest.mark.parametrize(
    "answer",
    [OSError("gone"), None, "x", np.zeros((1, 64)), np.full((1, 64), np.nan), np.ones((1, 3))],
)
def test_a_broken_embedder_is_named(answer: Any) -> None:
    embeddings = MemOSEmbeddings(Broken(answer))
    with pytest.raises(EmbeddingError, match="words"):
        embeddings.embed_documents(["plums"])
    with pytest.raises(EmbeddingError, match="words"):
        embeddings.embed_query("plums")


def test_any_embedder_that_a_store_takes() -> None:
    """A LangChain embedder is taken by ``MemOS.open``, and so here."""
    foreign = DeterministicFakeEmbedding(size=8)
    embeddings = MemOSEmbeddings(foreign)  # type: ignore[arg-type]
    assert len(embeddings.embed_query("plums")) == 8


@pytest.mark.parametrize("wrong", ["all-MiniLM-L6-v2", 7, WordEmbedder])
def test_what_is_no_embedder(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="embedder"):
        MemOSEmbeddings(wrong)
