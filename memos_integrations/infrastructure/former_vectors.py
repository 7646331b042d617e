"""The former forms of memories, in memory: what a moment of the past is searched in."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa

from memos_integrations.infrastructure.driver import hot
from memos_integrations.infrastructure.vectors import decode
from memos_integrations.protocols import Vectors

Places = np.ndarray[tuple[int], np.dtype[np.signedinteger[Any]]]
"""Places in the arrays of a :class:`Former`."""

_ROWS = (
    "SELECT pk, cube_pk, since_pk, until_pk, vector FROM past "
    "WHERE namespace_pk = ? AND pk > ? ORDER BY pk"
)
_ERASURES = "SELECT coalesce(max(pk), 0) FROM erasures"
_NEWEST = "SELECT pk FROM past WHERE namespace_pk = ? ORDER BY until_pk DESC, pk DESC LIMIT 1"


class Former:
    """The former forms of one namespace, each with the activities between which it was valid."""

    def __init__(self, rows: Sequence[tuple[int, int, int, int, bytes | None]]) -> None:
        numbers = np.array([row[:4] for row in rows], dtype=np.int64).reshape(-1, 4)
        self.pks, self.cubes, self.since, self.until = np.ascontiguousarray(numbers.T)
        size = max((len(row[4]) for row in rows if row[4] is not None), default=0)
        self.seen = np.array([row[4] is not None for row in rows], dtype=bool)
        """Those that have a vector; a reindex leaves only the words."""
        self._changed: tuple[int, Places] | None = None
        self.vectors: Vectors = (
            decode([row[4] or bytes(size) for row in rows])
            if rows
            else np.empty((0, 0), dtype=np.float32)
        )

    def valid(self, activity_pk: int, *, with_vector: bool = True) -> Places:
        """Those that were valid right after an activity."""
        there = (self.since <= activity_pk) & (self.until > activity_pk)
        return np.flatnonzero(there & self.seen if with_vector else there)

    def changed_since(self, activity_pk: int) -> Places:
        """The keys of the cubes whose present form is newer than an activity."""
        known = self._changed
        if known is None or known[0] != activity_pk:
            self._changed = known = activity_pk, np.unique(self.cubes[self.until > activity_pk])
        return known[1]

    def nearest(
        self, vector: Vectors, activity_pk: int
    ) -> tuple[Places, np.ndarray[tuple[int], np.dtype[np.float32]]]:
        """What was valid after an activity, and its cosines to a unit vector."""
        places = self.valid(activity_pk)
        if not len(places):
            return places, np.empty(0, dtype=np.float32)
        if 3 * len(places) < len(self.pks):
            return places, self.vectors[places] @ vector
        return places, (self.vectors @ vector)[places]

    def whose(
        self, found: Sequence[tuple[int, float]], activity_pk: int
    ) -> list[tuple[int, float]]:
        """Of these rows (key, score), the cubes of those that were valid after an activity."""
        places = np.searchsorted(self.pks, [pk for pk, _ in found])
        kept = (self.since[places] <= activity_pk) & (self.until[places] > activity_pk)
        return [
            (int(self.cubes[place]), score)
            for place, (_, score), keep in zip(places, found, kept, strict=True)
            if keep
        ]

    def and_then(self, other: Former) -> Former:
        """With rows that were written later."""
        joined = Former([])
        for name in ("pks", "cubes", "since", "until", "seen"):
            setattr(joined, name, np.concatenate([getattr(self, name), getattr(other, name)]))
        parts = [one.vectors for one in (self, other) if one.vectors.shape[1]]
        width = parts[0].shape[1] if parts else 0
        padded = [
            one.vectors
            if one.vectors.shape[1]
            else np.zeros((len(one.pks), width), dtype=np.float32)
            for one in (self, other)
        ]
        joined.vectors = np.concatenate(padded)
        return joined


class FormerVectors:
    """The former forms of the namespaces that are asked for. Thread-safe.

    At most ``budget`` bytes of vectors; the namespace that was asked for longest ago goes first.
    """

    def __init__(self, budget: int = 1 << 29) -> None:
        self.budget = budget
        self._lock = threading.Lock()
        self._held: OrderedDict[int, Former] = OrderedDict()
        self._erasures = 0  # how many were seen: what was read before the last one is not kept

    def of(self, tx: sa.Connection, namespace_pk: int) -> Former:
        """Those of one namespace; only what is new is read."""
        newest = max((row[0] for row in hot(tx, _NEWEST, namespace_pk)), default=0)
        [(erasures,)] = hot(tx, _ERASURES)
        with self._lock:
            if erasures < self._erasures:  # a reader of an older moment
                return Former(hot(tx, _ROWS, namespace_pk, 0))
            if erasures > self._erasures:
                self._held.clear()
                self._erasures = erasures
            known = self._held.get(namespace_pk) or Former([])
            last = int(known.pks[-1]) if len(known.pks) else 0
            if last < newest:
                fresh = Former(hot(tx, _ROWS, namespace_pk, last))
                known = known.and_then(fresh) if last else fresh
            self._held[namespace_pk] = known
            self._held.move_to_end(namespace_pk)
            while len(self._held) > 1 and self._size() > self.budget:
                self._held.popitem(last=False)
            return known

    def clear(self) -> None:
        """Forget everything; it is read again when it is asked for."""
        with self._lock:
            self._held.clear()

    def _size(self) -> int:
        return sum(former.vectors.nbytes for former in self._held.values())
