"""Embedders that fail, lie or changed: a typed error, and nothing is stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memos_integrations import MemorySession, MemOS
from memos_integrations.errors import (
    EmbedderMismatchError,
    EmbeddingDimensionError,
    EmbeddingError,
    StoreError,
)
from memos_integrations.protocols import Vectors
from memos_integrations.testing import WordEmbedder

Opener = Callable[..., MemOS]


class Scripted(WordEmbedder):
    """Answers rightly until :attr:`answer` is set; raises when it meets poison."""

    answer: Any = None

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        if any("poison" in text for text in texts):
            raise ConnectionError("the provider hung up")
        right = np.stack([super(Scripted, self).embed_query(text) for text in texts])
        return right if self.answer is None else self.answer(right)

    def embed_query(self, text: str) -> Vectors:
        right = super().embed_query(text)
        return right if self.answer is None else self.answer(right)


@pytest.fixture
def embedder() -> Scripted:
    return Scripted()


@pytest.fixture
def session(open_store: Opener, embedder: Scripted) -> MemorySession:
    session = open_store(embedder=embedder).session("alice")
    session.add("the memory that was there before")
    return session


def as_before(session: MemorySession) -> None:
    assert [cube.text for cube in session.list()] == ["the memory that was there before"]
    assert session.count() == 1
    assert len(session.search("memory before", limit=9)) == 1
    assert session.search("good number 3", min_score=0.9, limit=9)[:1] == [
        hit for hit in session.search("good number 3", limit=1) if hit.score >= 0.9
    ]
    session.delete(session.add("and it still takes new ones")[0].id)


def test_one_that_raises_half_way_through(session: MemorySession) -> None:
    """The second of two batches fails: the first one is not kept either."""
    done: list[int] = []
    texts = [f"good number {i}" for i in range(300)] + ["poison"]
    with pytest.raises(EmbeddingError, match=r"words failed.*hung up.*Nothing was stored") as error:
        session.add(texts, progress=lambda n, _: done.append(n))
    assert isinstance(error.value.__cause__, ConnectionError)
    assert done == [256]
    as_before(session)


def test_one_that_raises_at_an_update(session: MemorySession) -> None:
    cube = session.list()[0]
    with pytest.raises(EmbeddingError, match="hung up"):
        session.update(cube.id, "poison")
    assert session.get(cube.id).version == 1
    as_before(session)


def test_after_a_failure_the_same_key_may_be_used(session: MemorySession) -> None:
    with pytest.raises(EmbeddingError):
        session.add("poison", idempotency_key="turn-1")
    cube = session.add("antidote", idempotency_key="turn-1")[0]
    assert session.get(cube.id).text == "antidote"


WRONG: dict[str, tuple[Callable[[Vectors], Any], str]] = {
    "nan": (lambda right: right * np.nan, "not finite or has length 0"),
    "infinite": (lambda right: right * np.inf, "not finite or has length 0"),
    "zero": (lambda right: right * 0, "not finite or has length 0"),
    "too small for float32": (lambda right: right.astype(float) * 1e-50, "length 0"),
    "a string": (lambda right: "vectors", "no matrix of numbers"),
    "a number as a string": (lambda right: "12", "shape"),
    "strings": (lambda right: [["x"] * right.shape[-1]], "no matrix of numbers"),
    "nothing": (lambda right: None, "shape|not finite"),
    "an object": (lambda right: object(), "no matrix of numbers"),
    "ragged": (lambda right: [[1.0], [1.0, 2.0]], "no matrix of numbers"),
    "one row too many": (lambda right: np.vstack([right, right]), r"shape \("),
    "no rows": (lambda right: [], "shape"),
    "one axis too many": (lambda right: right[..., None], "shape"),
}


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize(("answer", "telling"), WRONG.values(), ids=WRONG)
def test_one_that_answers_wrongly(
    session: MemorySession,
    embedder: Scripted,
    answer: Callable[[Vectors], Any],
    telling: str,
) -> None:
    cube = session.list()[0]
    embedder.answer = answer
    with pytest.raises(EmbeddingError, match=telling):
        session.add("words")
    with pytest.raises(EmbeddingError, match=telling):
        session.update(cube.id, "other words")
    with pytest.raises(EmbeddingError):
        session.search("words")
    embedder.answer = None
    as_before(session)


def test_one_that_leaves_out_a_text(session: MemorySession, embedder: Scripted) -> None:
    embedder.answer = lambda right: right[:-1]
    with pytest.raises(EmbeddingError, match=r"shape \(2, 64\) for 3 texts: it must be \(3, 64\)"):
        session.add(["one", "two", "three"])
    embedder.answer = None
    as_before(session)


def test_one_that_changes_its_dimension(session: MemorySession, embedder: Scripted) -> None:
    embedder.answer = lambda right: right[..., :32]
    with pytest.raises(EmbeddingDimensionError, match=r"dimension 32, .* dimension 64"):
        session.add("words")
    with pytest.raises(EmbeddingDimensionError):
        session.search("words")
    embedder.answer = None
    as_before(session)


def test_vectors_of_any_length_and_kind_are_taken(
    session: MemorySession, embedder: Scripted
) -> None:
    for answer in (
        lambda right: right * 1e-20,
        lambda right: right * np.float32(1e36),
        lambda right: right.tolist(),
        lambda right: right.astype(np.float16),
        lambda right: np.asfortranarray(right.astype(np.float64)),
    ):
        embedder.answer = answer
        cube = session.add(f"unusual vectors {answer}")[0]
        assert session.search(cube.text, limit=1)[0].parts["dense"] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "other", [WordEmbedder(32), WordEmbedder(64, name="others"), WordEmbedder(64, revision="2")]
)
def test_another_embedder_than_the_stores(
    open_store: Opener, folder: Path, other: WordEmbedder
) -> None:
    memory = open_store()
    memory.session("alice").add("kept")
    memory.close()
    with pytest.raises(EmbedderMismatchError, match=f"memcube reindex --path {folder}") as error:
        MemOS.open(folder, embedder=other)
    assert "words (revision 1, 64 dimensions)" in str(error.value)
    # Refused, it let go of the folder, and nothing was written.
    assert open_store().session("alice").count() == 1


def test_a_store_without_memories_takes_any_embedder(open_store: Opener) -> None:
    open_store(embedder=WordEmbedder(32)).close()
    memory = open_store(embedder=WordEmbedder(48))
    assert memory.stats()["embedder"] is None
    memory.session("alice").add("words")
    assert memory.stats()["embedder"] == "words (revision 1, 48 dimensions)"


def test_errors_of_the_store_are_not_the_embedders(open_store: Opener) -> None:
    """An embedder that asks a memory of its own, which is closed."""

    class Asking(WordEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> Vectors:
            raise StoreError("its own store is closed")

    with pytest.raises(StoreError, match="its own store"):
        open_store(embedder=Asking()).session("alice").add("words")
