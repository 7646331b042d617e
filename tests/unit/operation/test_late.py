"""Token by token: what a ranker learns of a hit, who is asked for it, and what is kept of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from memos_integrations import MemOS
from memos_integrations.errors import EmbeddingError, InvalidInputError
from memos_integrations.models.minilm import MiniLMEmbedder
from memos_integrations.models.ranker import Ranker
from memos_integrations.models.ranking.features import NAMES, TOKENS
from memos_integrations.models.ranking.judged import Judged
from memos_integrations.operation.retrieving.kept_tokens import KeptTokens
from memos_integrations.operation.retrieving.late import token_parts
from memos_integrations.protocols import TokenEmbedder, TokenVectors
from memos_integrations.testing import WordEmbedder


class TokenWords(WordEmbedder):
    """Each word is a token; it remembers what it was asked to read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    def embed_tokens(self, texts: Sequence[str]) -> Sequence[TokenVectors]:
        self.read += texts
        return [self._one(text.lower().split()) for text in texts]

    def _one(self, words: list[str]) -> TokenVectors:
        vectors = np.stack([self.embed_query(word) for word in words])
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return TokenVectors(tuple(words), vectors, vectors[0])


class Careless(TokenWords):
    """One result too few."""

    def embed_tokens(self, texts: Sequence[str]) -> Sequence[TokenVectors]:
        return super().embed_tokens(texts)[1:]


class Failing(TokenWords):
    def embed_tokens(self, texts: Sequence[str]) -> Sequence[TokenVectors]:
        raise RuntimeError("no tokens today")


@pytest.fixture
def embedder() -> TokenWords:
    return TokenWords()


@pytest.fixture
def memory(tmp_path: Path, embedder: TokenWords) -> Iterator[MemOS]:
    with MemOS.open(tmp_path / "store", embedder=embedder) as found:
        yield found


def parts(asked: str, said: Sequence[str]) -> dict[str, list[float]]:
    words = TokenWords()
    [question], texts = words.embed_tokens([asked]), words.embed_tokens(said)
    return dict(zip(TOKENS, token_parts(question, texts).T.tolist(), strict=True))


def test_the_best_token_for_each_of_the_question() -> None:
    words = TokenWords()
    cosine = float(words._one(["kayak"]).vectors[0] @ words._one(["tea"]).vectors[0])
    found = parts("where is the kayak", ["the kayak stands there", "the tea"])
    assert found["token_mean"] == pytest.approx(
        [
            1.0,
            max(cosine, float(words._one(["kayak"]).vectors[0] @ words._one(["the"]).vectors[0])),
        ],
        abs=1e-5,
    )  # "where", "is" and "the" tell nothing


def test_rare_tokens_count_more() -> None:
    said = ["kayak blue", "kayak green", "kayak red", "anchor blue"]
    found = parts("kayak blue", said)
    assert found["token_rare"][3] > found["token_rare"][1]  # blue is rarer than kayak
    assert found["token_mean"][3] == pytest.approx(found["token_mean"][1], abs=0.2)
    assert found["token_rare"].index(max(found["token_rare"])) == 0


@pytest.mark.parametrize("asked", ["what is it", "?"])
def test_a_question_that_tells_nothing(asked: str) -> None:
    found = parts(asked, ["kayak blue", "what is it"])
    assert all(np.isfinite(column).all() for column in found.values())


def ranker(memory: MemOS) -> Ranker:
    """What is right has the words of the question; learned through the store."""
    session = memory.session("teacher")
    feedback = []
    for i in range(24):
        right, _, _ = session.add([f"kayak{i} stands in cellar{i}", f"lamp{i} is old", f"tea{i}"])
        feedback.append((f"where is kayak{i}", [right.id]))
    return Ranker.train(session.judge(feedback))


def test_from_feedback_to_searches(memory: MemOS, embedder: TokenWords) -> None:
    taught = ranker(memory)
    assert taught.reads_tokens
    alice = memory.session("alice")
    alice.add(["the kayak is blue", "tea is hot", "anchors are heavy"])
    embedder.read.clear()
    [hit, *_] = alice.search("blue kayak", reranker=taught)
    assert hit.cube.text == "the kayak is blue"
    assert hit.parts["token_mean"] == pytest.approx(1.0, abs=1e-5)
    assert embedder.read[0] == "blue kayak"
    assert len(embedder.read) > 1
    embedder.read.clear()
    alice.search("hot tea", reranker=taught)
    assert embedder.read == ["hot tea"]  # the memories were read before
    assert "token_mean" not in alice.search("hot tea")[0].parts
    assert embedder.read == ["hot tea"]  # and nobody needs them without the ranker


def test_what_is_erased_is_kept_nowhere(memory: MemOS, embedder: TokenWords) -> None:
    taught, alice = ranker(memory), memory.session("alice")
    kept, gone = alice.add(["the kayak is blue", "tea is hot"])
    alice.search("blue kayak", reranker=taught)
    tokens = memory._operator._tokens
    assert tokens._kept
    alice.forget(gone.id)
    assert not tokens._kept
    assert tokens._bytes == 0
    embedder.read.clear()
    alice.search("blue kayak", reranker=taught)
    assert sorted(embedder.read) == sorted(["blue kayak", kept.text])


class ErasedMeanwhile(TokenWords):
    """Something is erased in the middle of a reading."""

    kept: KeptTokens

    def embed_tokens(self, texts: Sequence[str]) -> Sequence[TokenVectors]:
        found = super().embed_tokens(texts)
        self.kept.clear()
        return found


def test_what_is_erased_while_it_is_read_does_not_come_back() -> None:
    embedder, kept = ErasedMeanwhile(), KeptTokens()
    embedder.kept = kept
    assert [one.pieces for one in kept.of(embedder, ["kayak", "tea"])] == [("kayak",), ("tea",)]
    assert not kept._kept
    assert kept._bytes == 0


def test_a_store_that_gives_no_tokens(memory: MemOS, tmp_path: Path) -> None:
    taught = ranker(memory)
    with MemOS.open(tmp_path / "plain", embedder=WordEmbedder()) as plain:
        session = plain.session("alice")
        session.add("the kayak is blue")
        with pytest.raises(InvalidInputError, match="does not give: train it anew"):
            session.search("kayak", reranker=taught)


def test_a_ranker_that_learned_without_them(memory: MemOS, embedder: TokenWords) -> None:
    rows = np.zeros((2, len(NAMES)))
    rows[0, NAMES.index("score")] = 1.0
    taught = Ranker.train([Judged(rows, np.array([True, False]), 1)] * 20)
    assert not taught.reads_tokens
    session = memory.session("alice")
    session.add(["the kayak is blue", "tea is hot"])
    assert session.search("kayak", reranker=taught)[0].parts["reranker"]
    assert embedder.read == []


@pytest.mark.parametrize("embedder", [Careless(), Failing()], ids=["one too few", "fails"])
def test_an_embedder_that_gives_nonsense(tmp_path: Path, embedder: TokenWords) -> None:
    with MemOS.open(tmp_path / "store", embedder=embedder) as memory:
        session = memory.session("alice")
        [cube] = session.add("the kayak is blue")
        with pytest.raises(EmbeddingError):
            session.judge([("kayak", [cube.id])])
        assert session.search("kayak")  # the search itself needs none


def test_what_was_not_used_for_longest_goes_first(embedder: TokenWords) -> None:
    one = embedder.embed_tokens(["kayak"])[0].vectors.nbytes
    kept = KeptTokens(2 * one)
    embedder.read.clear()
    kept.of(embedder, ["kayak", "tea"])
    kept.of(embedder, ["kayak"])
    kept.of(embedder, ["lamp"])  # tea goes
    assert embedder.read == ["kayak", "tea", "lamp"]
    kept.of(embedder, ["kayak", "lamp", "lamp"])
    assert embedder.read == ["kayak", "tea", "lamp"]
    kept.of(embedder, ["tea"])
    assert embedder.read[3:] == ["tea"]


def test_the_bundled_embedder() -> None:
    embedder = MiniLMEmbedder()
    assert isinstance(embedder, TokenEmbedder)
    assert not isinstance(WordEmbedder(), TokenEmbedder)
    texts = ["Maya's kayaking trip.", "tea", "A much longer text about boats and their owners."]
    found = embedder.embed_tokens(texts)
    assert [one.pieces for one in found[:2]] == [
        ("maya", "'", "s", "kay", "##aking", "trip", "."),
        ("tea",),
    ]
    for one, text in zip(found, texts, strict=True):
        assert one.vectors.shape == (len(one.pieces), 384)
        assert np.allclose(np.linalg.norm(one.vectors, axis=1), 1.0, atol=1e-4)
        [alone] = embedder.embed_tokens([text])
        assert (one.vectors * alone.vectors).sum(axis=1).min() > 0.98  # eight bits round by batch
    boats = embedder.embed_tokens(["a canoe"])[0].vectors[1]
    near = [float((one.vectors @ boats).max()) for one in found]
    assert near[2] > near[1]
