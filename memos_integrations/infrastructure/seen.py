"""What of one namespace is there for who asks: by id, in pages, with links and provenance.

All of it is read in one transaction, and fits together.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

import networkx as nx
import sqlalchemy as sa

from memos_integrations.cube import MemCube
from memos_integrations.infrastructure import links, lookups, provenance, transitions, turns
from memos_integrations.infrastructure.access import Sight, permitted
from memos_integrations.infrastructure.filters import Clause
from memos_integrations.infrastructure.lookups import Head, NamespaceRow
from memos_integrations.infrastructure.retention import RetentionRules
from memos_integrations.infrastructure.schema import cubes
from memos_integrations.infrastructure.transitions import Passage
from memos_integrations.infrastructure.usage import UsageCounters
from memos_integrations.infrastructure.vectors import decode
from memos_integrations.protocols import Vectors


class Seen:
    """The memories of one namespace at one moment, to who asks; a part of :class:`Snapshot`."""

    def __init__(
        self,
        tx: sa.Connection,
        namespace: NamespaceRow | None,
        now: datetime,
        usage: UsageCounters,
        sight: Sight,
        retention: RetentionRules,
    ) -> None:
        self.tx, self.namespace, self.now, self.sight = tx, namespace, now, sight
        self.retention, self._usage = retention, usage
        self._permits = [] if namespace is None else sight.of(namespace.path).clauses()
        self._kept: list[Clause] = []  # what retention leaves to searches, now, also of the past
        if retention and namespace is not None:
            rules = retention.at(namespace.path)
            self._kept = rules.kept(sight.now, usage.waiting()) if rules else []

    def head(self, cube_id: str, *, deleted: bool = False) -> Head | None:
        """The current version of a cube of this namespace, with its counters."""
        if self.namespace is None:
            return None
        found = lookups.head(self.tx, self.namespace.pk, cube_id, deleted=deleted)
        if found is None or self.sight.of(self.namespace.path).why(found.cube) is None:
            return None
        cube = self._usage.attach(self.tx, {found.cube_pk: found.cube}, self.now)[found.cube_pk]
        return Head(found.cube_pk, found.version_pk, cube)

    def chain(self, head: Head) -> list[MemCube]:
        """Every version, oldest first."""
        return lookups.chain(self.tx, head.cube_pk)

    def life(self, head: Head) -> list[Passage]:
        """Every change of its state, oldest first."""
        return transitions.of(self.tx, head.cube_pk)

    def load(self, cube_pks: Sequence[int]) -> dict[int, MemCube]:
        """Current versions by key, with their counters."""
        return self._usage.attach(self.tx, lookups.load(self.tx, cube_pks), self.now)

    def searchable(self, cube_ids: Sequence[str]) -> list[MemCube]:
        """Those of these cubes that a search may show now."""
        if self.namespace is None or not cube_ids:
            return []
        wanted = sa.func.json_each(json.dumps(list(cube_ids))).table_valued("value")
        where = [
            *lookups.searchable(self.namespace.pk, self.now),
            *self._permits,
            *self._kept,
            cubes.c.id.in_(sa.select(wanted.c.value)),
        ]
        found = dict(lookups.page(self.tx, where, len(cube_ids), None))
        return list(self._usage.attach(self.tx, found, self.now).values())

    def readable(self, cube_ids: Iterable[str]) -> set[str]:
        """Those of these cubes, of any namespace, that who asks may read."""
        wanted, scope = set(cube_ids), self.sight.everywhere()
        return wanted if scope.everything else permitted(self.tx, wanted, scope)

    def page(self, filters: Sequence[Clause], limit: int, after: str | None) -> list[MemCube]:
        """Up to ``limit`` cubes after the id ``after``, oldest first."""
        if self.namespace is None:
            return []
        where = [*lookups.readable(self.namespace.pk), *self._permits, *filters]
        found = dict(lookups.page(self.tx, where, limit, after))
        return list(self._usage.attach(self.tx, found, self.now).values())

    def count(self, filters: Sequence[Clause]) -> int:
        """How many cubes there are."""
        if self.namespace is None:
            return 0
        where = [*self._permits, *filters]
        if not where:
            return self.namespace.live
        return lookups.count(self.tx, [*lookups.readable(self.namespace.pk), *where])

    def linked(self, cube_pks: Sequence[int]) -> dict[int, list[int]]:
        """By key: what is linked to it and may be shown, the surest first."""
        if self.namespace is None:
            return {pk: [] for pk in cube_pks}
        found = links.neighbours(self.tx, cube_pks)
        far = {pk for others in found.values() for pk in others}
        space, permits = self.namespace.pk, [*self._permits, *self._kept]
        shown = lookups.passing(self.tx, space, far, self.now, permits) if far else set()
        return {pk: [one for one in others if one in shown] for pk, others in found.items()}

    def about(self, cube_pks: Collection[int]) -> dict[int, turns.About]:
        """What scores are made of beside likeness, by key."""
        return turns.about(self.tx, cube_pks) if cube_pks else {}

    def around(self, cube_pks: Collection[int]) -> list[tuple[int | None, ...]]:
        """For each: the two written before it here, itself, the two after it; not gated."""
        return turns.around(self.tx, cube_pks) if cube_pks else []

    def closure(
        self, head: Head, direction: provenance.Direction, depth: int | None
    ) -> nx.DiGraph[str]:
        """See :func:`provenance.closure`; without what may not be read."""
        return self._seen(provenance.closure(self.tx, head.cube_pk, direction, depth))

    def _seen(self, graph: nx.DiGraph[str]) -> nx.DiGraph[str]:
        if self.sight.everywhere().everything:
            return graph
        kinds = nx.get_node_attributes(graph, "kind")
        ids = {node: node.rpartition("@")[0] for node in graph if kinds[node] == "entity"}
        seen = self.readable(ids.values())
        graph.remove_nodes_from([node for node, cube_id in ids.items() if cube_id not in seen])
        for kind, about in (("activity", "entity"), ("agent", "activity")):
            ends = {node: nx.all_neighbors(graph, node) for node in graph if kinds[node] == kind}
            told = {node for node, those in ends.items() if about in map(kinds.get, those)}
            graph.remove_nodes_from(ends.keys() - told)
        return graph

    def vectors(self, cube_pks: Sequence[int]) -> dict[int, Vectors]:
        """Stored vectors by key (float32, ``(dimension,)``)."""
        if self.namespace is None or not cube_pks:
            return {}
        found = lookups.vectors(self.tx, self.namespace.pk, cube_pks)
        return dict(zip(found, decode(list(found.values())), strict=True)) if found else {}
