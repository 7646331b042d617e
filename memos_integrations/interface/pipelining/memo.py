"""What a run has computed outside of its transaction: functions' results, vectors of texts.

Inside of the transaction a result is looked up; one that is missing ends the attempt
(:class:`Needed`), is computed while nobody is held up, and the attempt is made again. Vectors of
texts that are written are missed later: no step but a search can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from typing import Any

import numpy as np
from pydantic import BaseModel

from memos_integrations.cube import MemCube
from memos_integrations.errors import MemOSError
from memos_integrations.models.checked import embed_checked, embed_query_checked
from memos_integrations.protocols import Embedder, EmbedderFingerprint, IdSource, Vectors
from memos_integrations.query import Hit


@dataclass(frozen=True)
class Task:
    """Something slow that a step needs."""

    step: str
    compute: Callable[[], Mapping[Hashable, Any]]
    by_function: bool = False


class Needed(MemOSError):
    """Something slow must be computed before an attempt can go on; seen by no caller."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__("something must be computed first")
        self.tasks = tasks


class Known:
    """What is known in a run. Used by one attempt at a time."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._results: dict[Hashable, Any] = {}
        self._missing: dict[str, list[str]] = {}
        self.step = ""
        """Which step is being done."""

    def begin(self) -> None:
        """A new attempt."""
        self._missing = {}

    def learn(self, results: Mapping[Hashable, Any]) -> None:
        """These were computed."""
        self._results.update(results)

    def result(self, key: Hashable, compute: Callable[[], Any], *, by_function: bool) -> Any:
        """What was computed for ``key``; :class:`Needed` if nothing was."""
        if key not in self._results:
            task = Task(self.step, lambda: {key: compute()}, by_function)
            raise Needed([*self._vectors(), task])
        return self._results[key]

    def question(self, text: str) -> Vectors:
        """A question's vector, float32 ``(dimension,)``; raises as :meth:`result`.

        With vectors missing it would not find what it should.
        """
        vector: Vectors = self.result(
            ("question", text),
            lambda: embed_query_checked(self._embedder, text),
            by_function=False,
        )
        self.end()
        return vector

    def texts(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32 ``(len(texts), dimension)``; any for those that are missing."""
        known = [self._results.get(("text", one)) for one in texts]
        fresh = [one for one, vector in zip(texts, known, strict=True) if vector is None]
        if fresh:
            self._missing.setdefault(self.step, []).extend(fresh)
        anything = np.eye(1, self._embedder.fingerprint.dimension, dtype=np.float32)[0]
        return np.stack([anything if vector is None else vector for vector in known])

    def end(self) -> None:
        """All texts must be known by now: :class:`Needed` if vectors are missing."""
        if self._missing:
            raise Needed(self._vectors())

    def _vectors(self) -> list[Task]:
        return [
            Task(step, partial(self._embedded, list(dict.fromkeys(texts))))
            for step, texts in self._missing.items()
        ]

    def _embedded(self, texts: Sequence[str]) -> Mapping[Hashable, Any]:
        vectors = embed_checked(self._embedder, texts)
        return {("text", one): vector for one, vector in zip(texts, vectors, strict=True)}


class KnownVectors:
    """The embedder of an attempt."""

    def __init__(self, fingerprint: EmbedderFingerprint, known: Known) -> None:
        self.fingerprint = fingerprint
        self.embed_documents, self.embed_query = known.texts, known.question


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
