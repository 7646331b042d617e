"""What a run has computed outside of its transaction: functions' results, vectors of texts.

Inside of the transaction a result is looked up; one that is missing ends the attempt
(:class:`Needed`), is computed while nobody is held up, and the attempt is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel

from memos_integrations.cube import MemCube
from memos_integrations.errors import MemOSError
from memos_integrations.models.checked import embed_checked, embed_query_checked
from memos_integrations.protocols import Embedder, EmbedderFingerprint, IdSource, Vectors
from memos_integrations.query import Hit


class Needed(MemOSError):
    """Something slow must be computed before an attempt can go on; seen by no caller."""

    def __init__(
        self, compute: Callable[[], Mapping[Hashable, Any]], *, by_function: bool = False
    ) -> None:
        super().__init__("something must be computed first")
        self.compute, self.by_function = compute, by_function
        self.step = ""
        """Which step needs it."""


class KnownVectors:
    """An embedder that knows vectors, and asks for those that it does not know."""

    def __init__(self, embedder: Embedder, known: Mapping[Hashable, Any]) -> None:
        self._embedder, self._known = embedder, known

    @property
    def fingerprint(self) -> EmbedderFingerprint:
        """That of the embedder itself."""
        return self._embedder.fingerprint

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """float32, ``(len(texts), dimension)``, unit length."""
        missing = [one for one in dict.fromkeys(texts) if ("text", one) not in self._known]
        if missing:
            raise Needed(lambda: self._texts(missing))
        return np.stack([self._known["text", one] for one in texts])

    def embed_query(self, text: str) -> Vectors:
        """float32, ``(dimension,)``, unit length."""
        key = ("question", text)
        if key not in self._known:
            raise Needed(lambda: {key: embed_query_checked(self._embedder, text)})
        vector: Vectors = self._known[key]
        return vector

    def _texts(self, missing: Sequence[str]) -> Mapping[Hashable, Any]:
        vectors = embed_checked(self._embedder, missing)
        return {("text", one): vector for one, vector in zip(missing, vectors, strict=True)}


class SameIds:
    """Ids that are the same in each attempt, as long as it asks for as many."""

    def __init__(self, source: IdSource, made: list[str]) -> None:
        self._source, self._made, self._next = source, made, 0

    def __call__(self) -> str:
        """The next id."""
        if self._next == len(self._made):
            self._made.append(self._source())
        self._next += 1
        return self._made[self._next - 1]


def signature(value: Any) -> Hashable:
    """Equal for what a function would see as equal; uses, heat and scores are left out.

    Of objects that are not known here, each is equal to itself alone.
    """
    if isinstance(value, Hit):
        return "hit", signature(value.cube)
    if isinstance(value, MemCube):
        return "cube", value.model_dump_json(exclude={"header": {"behaviour"}})
    if value is None or isinstance(value, str | int | float | bool | bytes):
        return type(value).__name__, value
    if isinstance(value, Mapping):
        return "dict", tuple((signature(key), signature(one)) for key, one in value.items())
    if isinstance(value, list | tuple):
        return "list", tuple(signature(one) for one in value)
    if isinstance(value, BaseModel):
        return type(value).__name__, value.model_dump_json()
    if is_dataclass(value) and not isinstance(value, type):
        parts = tuple(signature(getattr(value, one.name)) for one in fields(value))
        return type(value).__name__, parts
    return "object", id(value)
