"""What can be swapped: the small interfaces between the layers and the outside."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from memos_integrations.query import Hit

Vectors = npt.NDArray[np.float32]
"""float32, shape ``(n, dimension)``, or ``(dimension,)`` for one."""


TEXT_FORM = 2
"""How memories are put in words for an embedder. 1: speaker, date, text; 2: speaker, text."""


@dataclass(frozen=True)
class EmbedderFingerprint:
    """What makes two embedders give comparable vectors."""

    name: str
    revision: str
    dimension: int
    form: int = TEXT_FORM
    """In which form they are given the memories; this is the store's affair, not the embedder's."""

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Self:
        """One as a store or an archive keeps it; those of the first form do not say so."""
        return cls(**{"form": 1, **said})

    def __str__(self) -> str:
        return f"{self.name} (revision {self.revision or 'unknown'}, {self.dimension} dimensions)"


@runtime_checkable
class Embedder(Protocol):
    """Text to vectors. Thread-safe. Vectors need not be normalised; the store does that."""

    @property
    def fingerprint(self) -> EmbedderFingerprint: ...

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Return float32 of shape ``(len(texts), dimension)``."""
        ...

    def embed_query(self, text: str) -> Vectors:
        """Return float32 of shape ``(dimension,)``."""
        ...


@dataclass(frozen=True, eq=False)
class TokenVectors:
    """A text token by token, as an embedder reads it."""

    pieces: tuple[str, ...]
    """The tokens as words or parts of words, without those that frame a text."""
    vectors: Vectors
    """Of each, as it stands in this text: unit vectors, ``(len(pieces), dimension)``."""
    frame: Vectors
    """Of the token in front of the text, ``(dimension,)``, a unit vector."""


@runtime_checkable
class TokenEmbedder(Embedder, Protocol):
    """An embedder that also tells a text's vectors token by token (late interaction).

    A :class:`~memos_integrations.models.ranker.Ranker` learns from them where a store's embedder
    is one.
    """

    def embed_tokens(self, texts: Sequence[str]) -> Sequence[TokenVectors]:
        """One for each text, in their order."""
        ...


@runtime_checkable
class Reranker(Protocol):
    """Another judgement of hits that a search has found already. Thread-safe."""

    def rerank(self, question: str, hits: Sequence[Hit]) -> Sequence[float]:
        """Return one finite number for each hit, in the order of ``hits``; more is better."""
        ...


@runtime_checkable
class Knows(Protocol):
    """A chat model that knows memories without a prompt, such as one with adapters."""

    def known_memories(self) -> Collection[tuple[str, int]]:
        """Which it knows now, as (id, version)."""
        ...


class VectorIndex(Protocol):
    """An approximate nearest-neighbour index over named collections of ``(key, unit vector)``.

    It holds integers and vectors, nothing else, and may be thrown away at any time.
    """

    def upsert(self, collection: str, keys: Sequence[int], vectors: Vectors) -> None: ...

    def delete(self, collection: str, keys: Sequence[int]) -> None: ...

    def query(self, collection: str, vector: Vectors, limit: int) -> list[tuple[int, float]]:
        """Return up to ``limit`` pairs ``(key, cosine)``, best first."""
        ...

    def drop(self, collection: str) -> None: ...

    def scan(self, collection: str) -> Iterator[tuple[list[int], Vectors]]:
        """Every key with its vector, in pages: for the check against the records."""
        ...

    def close(self) -> None: ...


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        ...


class IdSource(Protocol):
    """Where ids come from."""

    def __call__(self) -> str:
        """A new UUIDv7 as a string."""
        ...


class BlobStore(Protocol):
    """Content-addressed bytes: the name of a blob is the sha256 of its content."""

    def put(self, content: bytes) -> str: ...

    def get(self, digest: str) -> bytes:
        """Raises ``BlobNotFoundError``, and ``BlobCorruptError`` if the bytes were altered."""
        ...

    def exists(self, digest: str) -> bool: ...

    def delete(self, digest: str) -> None: ...


class SystemClock:
    """The clock on the wall, in UTC."""

    def now(self) -> datetime:
        return datetime.now(UTC)
