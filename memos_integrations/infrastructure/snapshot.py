"""A snapshot of one namespace, and the gate that every hit passes.

Whatever an index answers is checked in SQL, in the same snapshot, before it is used: deleted,
expired, revoked or foreign memories cannot come back, however stale the index is.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import networkx as nx
import numpy as np
import sqlalchemy as sa

from memos_integrations.cube import MemCube
from memos_integrations.infrastructure import lexical, provenance, records
from memos_integrations.infrastructure.filters import Clause
from memos_integrations.infrastructure.index_keeper import IndexKeeper, IndexPolicy
from memos_integrations.infrastructure.records import Head, NamespaceRow
from memos_integrations.infrastructure.schema import outbox
from memos_integrations.infrastructure.usage import UsageCounters
from memos_integrations.infrastructure.vectors import decode, scan_among, scan_namespace
from memos_integrations.protocols import Vectors


MOST_ASKED = 2_000
"""The most candidates asked of the index; when these do not suffice, the exact scan answers."""


class Snapshot:
    """What one namespace looked like at one moment."""

    def __init__(
        self,
        tx: sa.Connection,
        namespace: NamespaceRow | None,
        now: datetime,
        usage: UsageCounters,
        keeper: IndexKeeper,
        policy: IndexPolicy,
    ) -> None:
        self.tx, self.namespace, self.now = tx, namespace, now
        self._usage, self._keeper, self._policy = usage, keeper, policy

    def head(self, cube_id: str, *, deleted: bool = False) -> Head | None:
        """The current version of a cube of this namespace, with its counters."""
        if self.namespace is None:
            return None
        found = records.head(self.tx, self.namespace.pk, cube_id, deleted=deleted)
        if found is None:
            return None
        cube = self._usage.attach(self.tx, {found.cube_pk: found.cube}, self.now)[found.cube_pk]
        return Head(found.cube_pk, found.version_pk, cube)

    def chain(self, head: Head) -> list[MemCube]:
        """Every version, oldest first."""
        return records.chain(self.tx, head.cube_pk)

    def load(self, cube_pks: Sequence[int]) -> dict[int, MemCube]:
        """Current versions by key, with their counters."""
        return self._usage.attach(self.tx, records.load(self.tx, cube_pks), self.now)

    def page(self, filters: Sequence[Clause], limit: int, after: str | None) -> list[MemCube]:
        """Up to ``limit`` cubes after the id ``after``, oldest first."""
        if self.namespace is None:
            return []
        where = [*records.readable(self.namespace.pk), *filters]
        found = dict(records.page(self.tx, where, limit, after))
        return list(self._usage.attach(self.tx, found, self.now).values())

    def count(self, filters: Sequence[Clause]) -> int:
        """How many cubes there are."""
        if self.namespace is None:
            return 0
        if not filters:
            return self.namespace.live
        return records.count(self.tx, [*records.readable(self.namespace.pk), *filters])

    def closure(
        self, head: Head, direction: provenance.Direction, depth: int | None
    ) -> nx.DiGraph[str]:
        """See :func:`provenance.closure`."""
        return provenance.closure(self.tx, head.cube_pk, direction, depth)

    def vectors(self, cube_pks: Sequence[int]) -> dict[int, Vectors]:
        """Stored vectors by key (float32, ``(dimension,)``)."""
        if self.namespace is None:
            return {}
        found = records.passing(self.tx, cube_pks, records.readable(self.namespace.pk))
        return {pk: decode([blob])[0] for pk, blob in found.items()}

    def matching(
        self, text: str, limit: int, filters: Sequence[Clause] = ()
    ) -> list[tuple[int, float]]:
        """The best searchable cubes by words: key, BM25 (higher is better)."""
        if self.namespace is None:
            return []
        where = [*records.searchable(self.namespace.pk, self.now), *filters]
        if filters:
            among = records.select_pks(where)
            return lexical.search(self.tx, self.namespace.pk, text, limit, among)
        want = limit + 8
        while True:
            found = lexical.search(self.tx, self.namespace.pk, text, want)
            passing = records.passing(self.tx, [pk for pk, _ in found], where)
            kept = [(pk, score) for pk, score in found if pk in passing]
            if len(kept) >= limit or len(found) < want:
                return kept[:limit]
            want *= 8

    def nearest(
        self, vector: Vectors, limit: int, filters: Sequence[Clause] = ()
    ) -> list[tuple[int, float]]:
        """The nearest searchable cubes to a unit vector: key, cosine, best first.

        Exact for namespaces under ``IndexPolicy.exact_below``, for narrow filters, and
        whenever the index cannot be asked; the cosine is always that of the stored vector.
        """
        if self.namespace is None or self.namespace.live == 0:
            return []
        where = [*records.searchable(self.namespace.pk, self.now), *filters]
        if self.namespace.collection is not None:
            found = self._ask_index(self.namespace, vector, limit, where, narrow=bool(filters))
            if found is not None:
                return found
        return self._scan(self.namespace, vector, limit, where, narrow=bool(filters))

    def _scan(
        self,
        namespace: NamespaceRow,
        vector: Vectors,
        limit: int,
        where: Sequence[Clause],
        *,
        narrow: bool,
    ) -> list[tuple[int, float]]:
        if narrow:
            return scan_among(self.tx, records.select_pks(where), vector, limit)
        found = scan_namespace(self.tx, namespace.pk, vector, limit + 8)
        kept = self._gate(found, where)
        if len(kept) >= limit or len(found) < limit + 8:
            return kept[:limit]
        # Many expired or archived ones stand in front: let SQL leave them out first.
        return scan_among(self.tx, records.select_pks(where), vector, limit)

    def _gate(
        self, found: Sequence[tuple[int, float]], where: Sequence[Clause]
    ) -> list[tuple[int, float]]:
        passing = records.passing(self.tx, [pk for pk, _ in found], where)
        return [(pk, score) for pk, score in found if pk in passing]

    def _ask_index(
        self,
        namespace: NamespaceRow,
        vector: Vectors,
        limit: int,
        where: Sequence[Clause],
        *,
        narrow: bool,
    ) -> list[tuple[int, float]] | None:
        """The index's answer, brought up to date and checked; ``None``: scan instead."""
        assert namespace.collection is not None
        few = self._policy.exact_below
        if narrow:
            allowed = self.tx.execute(records.select_pks(where).limit(few + 1)).scalars().all()
            if len(allowed) <= few:
                return None
        pending = set(
            self.tx.execute(
                sa.select(outbox.c.cube_pk)
                .where(outbox.c.namespace_pk == namespace.pk)
                .limit(few + 1)
            ).scalars()
        )
        if len(pending) > few:
            return None
        want = limit * 2 + 16
        while want <= MOST_ASKED:
            found = self._keeper.query(namespace.collection, vector, want)
            if found is None:
                return None
            ranked = self._checked(found, pending, vector, where)
            if ranked is None:
                return None
            if len(ranked) >= min(limit, namespace.live):
                return ranked[:limit]
            if len(found) < want:
                return None  # the graph did not reach them all: let the exact scan settle it
            want *= 8
        return None

    def _checked(
        self,
        found: Sequence[tuple[int, float]],
        pending: set[int],
        vector: Vectors,
        where: Sequence[Clause],
    ) -> list[tuple[int, float]] | None:
        """Scores from the stored vectors, pending changes included; ``None`` if the index lies."""
        claimed = {pk: score for pk, score in found if pk not in pending}
        vectors = records.passing(self.tx, [*claimed, *pending], where)
        if not vectors:
            return []
        keys = list(vectors)
        scores = decode([vectors[key] for key in keys]) @ vector
        for key, score in zip(keys, scores, strict=True):
            if key in claimed and abs(claimed[key] - float(score)) > 1e-3:
                self._keeper.suspect(f"entry {key} is not the vector in the records")
                return None
        order = np.lexsort((np.asarray(keys), -scores))
        return [(keys[i], float(scores[i])) for i in order]
