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

MOMENTS = 8
"""Moments of which it is remembered what they are searched in."""

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
        self.vectors: Vectors = (
            decode([row[4] or bytes(size) for row in rows])
            if rows
            else np.empty((0, 0), dtype=np.float32)
        )

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


class FormsThen:
    """Those of a namespace's former forms that a moment is searched in.

    Worked out once for each moment: it changes only when more of its memories change.
    """

    def __init__(self, former: Former, activity_pk: int) -> None:
        self.former, self.activity_pk = former, activity_pk
        late = np.flatnonzero(former.until > activity_pk)
        self.changed = np.unique(former.cubes[late])
        """The keys of the cubes whose present form is newer than the moment; ascending."""
        self._words = late[former.since[late] <= activity_pk]
        self._places = self._words[former.seen[self._words]]
        self._first = int(self._places[0]) if len(self._places) else 0
        cubes = former.cubes[self._places]
        self._order = np.argsort(cubes, kind="stable")
        self._cubes = cubes[self._order]
        self.standing: tuple[int, list[int]] | None = None
        """As of an activity: the cubes whose present form was there then, if they are few."""
        self.newest: int | None = None
        """The highest key of a cube that was there then."""

    def __len__(self) -> int:
        return len(self._words)

    @property
    def first_pk(self) -> int:
        """The key of the first of them: forms are kept in the order in which they ended."""
        return int(self.former.pks[self._words[0]])

    @property
    def share(self) -> float:
        """How many of the rows from the first on were valid then."""
        return len(self._words) / max(1, len(self.former.pks) - int(self._words[0]))

    def unchanged(self, cube_pks: Sequence[int]) -> list[int]:
        """Those of these cubes whose present form is not newer than the moment."""
        asked = np.asarray(cube_pks, dtype=np.int64)
        kept: list[int] = asked[~_among(asked, self.changed)].tolist()
        return kept

    def nearest(
        self, vector: Vectors
    ) -> tuple[Places, np.ndarray[tuple[int], np.dtype[np.float32]]]:
        """The keys of their cubes, and their cosines to a unit vector."""
        places, vectors = self._places, self.former.vectors
        if not len(places):
            return places, np.empty(0, dtype=np.float32)
        if 3 * len(places) < len(vectors) - self._first:
            scores = vectors[places] @ vector
        else:  # they stand close together: no row is copied
            scores = (vectors[self._first :] @ vector)[places - self._first]
        return self.former.cubes[places], scores

    def whose(self, found: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
        """Of these rows (key, score), the cubes of those that were valid then."""
        former = self.former
        places = np.searchsorted(former.pks, [pk for pk, _ in found])
        kept = _among(places, self._words)
        return [
            (int(former.cubes[place]), score)
            for place, (_, score), keep in zip(places, found, kept, strict=True)
            if keep
        ]

    def vectors_of(self, cube_pks: Sequence[int]) -> dict[int, Vectors]:
        """The first vector that each of these cubes was found by then, where it had one."""
        asked = np.asarray(cube_pks, dtype=np.int64)
        known = asked[_among(asked, self._cubes)]
        rows = self._places[self._order[np.searchsorted(self._cubes, known)]]
        return {int(pk): self.former.vectors[row] for pk, row in zip(known, rows, strict=True)}


def _among(asked: Places, ascending: Places) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which of these numbers stand in a sorted array."""
    if not len(ascending):
        return np.zeros(len(asked), dtype=bool)
    at = np.minimum(np.searchsorted(ascending, asked), len(ascending) - 1)
    found: np.ndarray[tuple[int], np.dtype[np.bool_]] = ascending[at] == asked
    return found


class FormerVectors:
    """The former forms of the namespaces that are asked for. Thread-safe.

    At most ``budget`` bytes of vectors; the namespace that was asked for longest ago goes first.
    """

    def __init__(self, budget: int = 1 << 29) -> None:
        self.budget = budget
        self._lock = threading.Lock()
        self._held: OrderedDict[int, Former] = OrderedDict()
        self._moments: OrderedDict[tuple[int, int], FormsThen] = OrderedDict()
        self._erasures = 0  # how many were seen: what was read before the last one is not kept

    def at(self, tx: sa.Connection, namespace_pk: int, activity_pk: int) -> FormsThen:
        """Those that a moment is searched in: right after an activity."""
        former = self.of(tx, namespace_pk)
        key = namespace_pk, activity_pk
        with self._lock:
            known = self._moments.get(key)
        if known is None or known.former is not former:
            known = FormsThen(former, activity_pk)
        with self._lock:
            self._moments[key] = known
            self._moments.move_to_end(key)
            while len(self._moments) > MOMENTS:
                self._moments.popitem(last=False)
        return known

    def of(self, tx: sa.Connection, namespace_pk: int) -> Former:
        """Those of one namespace; only what is new is read."""
        newest = max((row[0] for row in hot(tx, _NEWEST, namespace_pk)), default=0)
        [(erasures,)] = hot(tx, _ERASURES)
        with self._lock:
            if erasures < self._erasures:  # a reader of an older moment
                return Former(hot(tx, _ROWS, namespace_pk, 0))
            if erasures > self._erasures:
                self._forget()
                self._erasures = erasures
            known = self._held.get(namespace_pk) or Former([])
            last = int(known.pks[-1]) if len(known.pks) else 0
            if last < newest:
                fresh = Former(hot(tx, _ROWS, namespace_pk, last))
                known = known.and_then(fresh) if last else fresh
            self._held[namespace_pk] = known
            self._held.move_to_end(namespace_pk)
            while len(self._held) > 1 and self._size() > self.budget:
                gone, _ = self._held.popitem(last=False)
                for key in [key for key in self._moments if key[0] == gone]:
                    del self._moments[key]
            return known

    def clear(self) -> None:
        """Forget everything; it is read again when it is asked for."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        self._held.clear()
        self._moments.clear()

    def _size(self) -> int:
        return sum(former.vectors.nbytes for former in self._held.values())
