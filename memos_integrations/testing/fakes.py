"""Fakes: an embedder without a model, a clock that stands still, an index that hangs."""

from __future__ import annotations

import itertools
import re
import threading
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np

from memos_integrations.protocols import EmbedderFingerprint, Vectors


class WordEmbedder:
    """Texts that share words are near: each word is a fixed random direction.

    Deterministic on every machine, about 20 µs a text, any ``dimension``.
    """

    def __init__(self, dimension: int = 64, *, name: str = "words", revision: str = "1") -> None:
        self.fingerprint = EmbedderFingerprint(name, revision, dimension)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """float32, shape ``(len(texts), dimension)``, not normalised."""
        return np.stack([self.embed_query(text) for text in texts])

    def embed_query(self, text: str) -> Vectors:
        """float32, shape ``(dimension,)``."""
        dimension = self.fingerprint.dimension
        total = _direction("", dimension) * np.float32(0.01)
        for word in re.findall(r"\w+", text.casefold()):
            total = total + _direction(word, dimension)
        return total


@lru_cache(maxsize=100_000)
def _direction(word: str, dimension: int) -> Vectors:
    seed = zlib.crc32(word.encode("utf-8", "surrogatepass"))
    return np.random.default_rng(seed).standard_normal(dimension, dtype=np.float32)


class FakeClock:
    """A clock that moves only when told, or by ``step`` at each look."""

    def __init__(
        self,
        start: datetime = datetime(2026, 1, 1, 12, tzinfo=UTC),
        *,
        step: timedelta = timedelta(0),
    ) -> None:
        self._now, self._step = start, step
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """The time it was set to."""
        with self._lock:
            now = self._now
            self._now += self._step
            return now

    def advance(self, **duration: float) -> None:
        """Move on: ``clock.advance(days=2)``."""
        with self._lock:
            self._now += timedelta(**duration)


class CountingIds:
    """UUIDv7-shaped ids that count up, the same in every run."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def __call__(self) -> str:
        """The next id."""
        return f"00000000-0000-7000-8000-{next(self._numbers):012x}"


class ExactIndex:
    """A vector index in memory that is always right: the model that others are compared with."""

    def __init__(self, *_: object) -> None:
        self._vectors: dict[str, dict[int, Vectors]] = {}

    def upsert(self, collection: str, keys: Sequence[int], vectors: Vectors) -> None:
        """Set vectors."""
        held = self._vectors.setdefault(collection, {})
        held.update(zip(keys, np.array(vectors, dtype=np.float32), strict=True))

    def delete(self, collection: str, keys: Sequence[int]) -> None:
        """Remove keys."""
        for key in keys:
            self._vectors.get(collection, {}).pop(key, None)

    def query(self, collection: str, vector: Vectors, limit: int) -> list[tuple[int, float]]:
        """The best ``limit`` by cosine."""
        scored = [(k, float(v @ vector)) for k, v in self._vectors.get(collection, {}).items()]
        return sorted(scored, key=lambda pair: (-pair[1], pair[0]))[:limit]

    def drop(self, collection: str) -> None:
        """Forget a collection."""
        self._vectors.pop(collection, None)

    def scan(self, collection: str) -> Iterator[tuple[list[int], Vectors]]:
        """Everything, in one page."""
        held = self._vectors.get(collection, {})
        if held:
            yield list(held), np.stack(list(held.values()))

    def close(self) -> None:
        """Nothing to let go of."""


class HangingIndex(ExactIndex):
    """An index whose queries block while :attr:`hanging` is set."""

    hanging = threading.Event()
    """Set it to make every query of every instance block."""
    released = threading.Event()
    """Set it to let blocked queries go on."""

    def query(self, collection: str, vector: Vectors, limit: int) -> list[tuple[int, float]]:
        """Block if told to, then answer."""
        if self.hanging.is_set():
            self.released.wait(60)
        return super().query(collection, vector, limit)
