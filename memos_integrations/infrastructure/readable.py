"""Reading a store: one snapshot a read, in which everything fits together."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.cube import MemCube
from memos_integrations.infrastructure import (
    lookups,
)
from memos_integrations.infrastructure.access import (
    permitted,
)
from memos_integrations.infrastructure.filters import COUNTERS, Clause, compile_filters
from memos_integrations.infrastructure.former_vectors import FormerVectors
from memos_integrations.infrastructure.index_keeper import IndexKeeper, IndexPolicy
from memos_integrations.infrastructure.lookups import NamespaceRow
from memos_integrations.infrastructure.moments import Moment
from memos_integrations.infrastructure.ownership import Ownership
from memos_integrations.infrastructure.past import PastSnapshot
from memos_integrations.infrastructure.ruled import Ruled
from memos_integrations.infrastructure.schema import cubes, embeddings, namespaces
from memos_integrations.infrastructure.snapshot import Snapshot
from memos_integrations.protocols import Vectors

T = TypeVar("T")


DATABASE = "memory.db"


class Readable(Ruled):
    """What is read of a store; a part of :class:`MemVault`."""

    folder: Path
    _owner: Ownership
    _keeper: IndexKeeper
    _policy: IndexPolicy
    _former: FormerVectors

    @abstractmethod
    def _flush_alone(self) -> None:
        """Write what was counted in memory, if it can be written."""

    def clauses(self, filters: Mapping[str, Any] | None) -> list[Clause]:
        """See :func:`compile_filters`; counters that are asked for are written first."""
        compiled = compile_filters(filters)
        if filters and not COUNTERS.isdisjoint(filters):
            self._flush_alone()
        return compiled

    def outdated(self, versions: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
        """Those of these versions (cube id, version) that must not be served any more."""
        with self._database.read() as tx:
            return self.outdated_in(tx, versions)

    def outdated_in(
        self, tx: sa.Connection, versions: Iterable[tuple[str, int]]
    ) -> set[tuple[str, int]]:
        """The same, in a transaction."""
        asked, scope = set(versions), self.sight().everywhere()
        current = lookups.current(tx, asked, self._clock.now())
        if kept := self.kept():
            there = lookups.among(tx, {cube_id for cube_id, _ in current}, kept)
            current = {one for one in current if one[0] in there}
        if scope.everything:
            return asked - current
        seen = permitted(tx, {cube_id for cube_id, _ in current}, scope)
        return asked - {one for one in current if one[0] in seen}

    def heads(self, cube_ids: Iterable[str]) -> list[MemCube]:
        """Those of these memories, of any namespace, that may be shown now; with their counters."""
        now, scope = self._clock.now(), self.sight().everywhere()
        with self._database.read() as tx:
            wanted = set(cube_ids)
            if not scope.everything:
                wanted = permitted(tx, wanted, scope)
            if kept := self.kept():
                wanted = lookups.among(tx, wanted, kept)
            found = lookups.load(tx, lookups.shown(tx, wanted, now))
            return list(self.usage.attach(tx, found, now).values())

    @contextmanager
    def snapshot(self, path: Namespace) -> Iterator[Snapshot]:
        """One moment of one namespace: everything read in it fits together."""
        with self.reading() as (tx, snapshot):
            yield snapshot(lookups.find_namespace(tx, path))

    @contextmanager
    def snapshot_at(
        self, path: Namespace, choose: Callable[[sa.Connection, NamespaceRow | None], Moment]
    ) -> Iterator[Snapshot]:
        """A namespace as it was at a moment of the past."""
        with self.reading() as (tx, snapshot):
            namespace = lookups.find_namespace(tx, path)
            yield PastSnapshot(snapshot(namespace), choose(tx, namespace), self._former)

    @contextmanager
    def reading(
        self,
    ) -> Iterator[tuple[sa.Connection, Callable[[NamespaceRow | None], Snapshot]]]:
        """One moment of the store, and what makes the snapshot of a namespace at that moment."""
        self._owner.check()
        with self._database.read() as tx:
            sight = self.sight()
            parts = sight.now, self.usage, self._keeper, self._policy, sight, self.retention
            yield tx, lambda namespace: Snapshot(tx, namespace, *parts)

    def nearest(self, path: Namespace, vector: Vectors, limit: int) -> list[tuple[int, float]]:
        """The nearest searchable cubes to a unit vector (float32, ``(dim,)``): key, cosine."""
        with self.snapshot(path) as view:
            return view.nearest(vector, limit)

    def stats(self) -> dict[str, Any]:
        """Counts and sizes, JSON-plain."""
        with self._database.read() as tx:
            spaces = tx.exec_driver_sql(
                "SELECT path, live, collection FROM namespaces ORDER BY path"
            ).all()
            versions, pending = (
                tx.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one()
                for name in ("versions", "outbox")
            )
        return {
            "path": str(self.folder),
            "memories": sum(space.live for space in spaces),
            "versions": versions,
            "embedder": str(self._shared.fingerprint) if self._shared.fingerprint else None,
            "index": {"state": self._keeper.state, "pending": pending},
            "bytes": {
                "database": sum(_size(p) for p in self.folder.glob(f"{DATABASE}*")),
                "index": sum(_size(p) for p in (self.folder / "index").rglob("*")),
                "blobs": sum(_size(p) for p in (self.folder / "blobs").rglob("*")),
            },
            "namespaces": [
                {
                    "namespace": json.loads(space.path),
                    "memories": space.live,
                    "search": "approximate index" if space.collection else "exact scan",
                }
                for space in spaces
            ],
        }

    def sample_vectors(self, limit: int) -> list[tuple[Namespace, int, bytes]]:
        """Some vectors that a search must find, with namespace and key, spread over the store."""
        with self._database.read() as tx:
            rows = tx.execute(
                sa.select(namespaces.c.path, embeddings.c.cube_pk, embeddings.c.vector)
                .join(namespaces, namespaces.c.pk == embeddings.c.namespace_pk)
                .join(cubes, cubes.c.pk == embeddings.c.cube_pk)
                .where(*lookups.alive(self._clock.now()))
                .order_by(sa.func.random())
                .limit(limit)
            ).all()
        return [(tuple(json.loads(path)), pk, vector) for path, pk, vector in rows]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0  # removed by a rebuild while we counted
