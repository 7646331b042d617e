"""A snapshot of one namespace, and the gate that every hit passes.

Whatever an index answers is checked in SQL, in the same snapshot, before it is used: deleted,
expired, revoked or foreign memories cannot come back, however stale the index is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from random import randrange

import sqlalchemy as sa

from memos_integrations.infrastructure import lexical, links, lookups
from memos_integrations.infrastructure.access import Sight
from memos_integrations.infrastructure.filters import Clause
from memos_integrations.infrastructure.index_keeper import (
    TOLERANCE,
    Found,
    IndexKeeper,
    IndexPolicy,
)
from memos_integrations.infrastructure.lookups import NamespaceRow, listed
from memos_integrations.infrastructure.retention import RetentionRules
from memos_integrations.infrastructure.schema import cubes
from memos_integrations.infrastructure.seen import Seen
from memos_integrations.infrastructure.usage import UsageCounters
from memos_integrations.infrastructure.vectors import (
    best_of,
    decode,
    scan_among,
    scan_facets,
    scan_namespace,
)
from memos_integrations.protocols import Vectors

Asked = Callable[[], Found | None]
"""A question that the index is working on."""

MOST_ASKED = 2_000
"""The most candidates asked of the index; when these do not suffice, the exact scan answers."""


OPENINGS = 32
"""How many memories that begin with a name are looked at for a speaker of that name."""


def first_name(name: str) -> str:
    """What people are called by in a conversation: ``Maya`` for Maya Lindqvist, in small."""
    return name.split()[0].casefold() if name.split() else ""


class Narrowed(list[Clause]):
    """Filters that are evaluated already: a list of the few memories that fulfil them."""


class Snapshot(Seen):
    """What one namespace looked like at one moment, to who asks."""

    def __init__(
        self,
        tx: sa.Connection,
        namespace: NamespaceRow | None,
        now: datetime,
        usage: UsageCounters,
        keeper: IndexKeeper,
        policy: IndexPolicy,
        sight: Sight,
        retention: RetentionRules,
    ) -> None:
        super().__init__(tx, namespace, now, usage, sight, retention)
        self._keeper, self._policy = keeper, policy
        self._newest: int | None = None  # no cube with a key above it was there

    def successors(self, cube_pks: Sequence[int], filters: Sequence[Clause] = ()) -> dict[int, int]:
        """By key: the newest that has superseded it and may be shown, where there is one."""
        if self.namespace is None or not cube_pks:
            return {}
        found = links.successors(self.tx, cube_pks)
        far = {pk for others in found.values() for pk in others}
        if not far:
            return {}
        where = self._permitted(filters)
        shown = lookups.passing(self.tx, self.namespace.pk, far, self.now, where)
        kept = {pk: [one for one in others if one in shown] for pk, others in found.items()}
        return {pk: others[-1] for pk, others in kept.items() if others}

    def speakers(self, names: Iterable[str]) -> frozenset[str]:
        """Those of these names that somebody goes by who speaks in this namespace.

        Whose memory may not be seen is not known to speak.
        """
        if self.namespace is None:
            return frozenset()
        return frozenset(name for name in names if self._speaks(self.namespace, name))

    def _speaks(self, space: NamespaceRow, name: str) -> bool:
        opened = lexical.opened_by(self.tx, space.pk, name, OPENINGS)
        shown = self.shown(opened) if opened else set()
        return any(
            one.speaker is not None and first_name(one.speaker) == first_name(name)
            for one in self.about(shown).values()
        )

    def shown(self, cube_pks: Collection[int], filters: Sequence[Clause] = ()) -> set[int]:
        """The gate for keys that no source found: those that searches find, if they may be shown
        and fulfil filters."""
        if self.namespace is None or not cube_pks:
            return set()
        asked = [(pk, 0.0) for pk in lookups.vectors(self.tx, self.namespace.pk, list(cube_pks))]
        return {pk for pk, _ in self._gate(self.namespace, asked, self._permitted(filters))}

    def matching(
        self, text: str, limit: int, filters: Sequence[Clause] = ()
    ) -> list[tuple[int, float]]:
        """The best searchable cubes by words: key, BM25 (higher is better)."""
        space = self.namespace
        if space is None:
            return []
        filters = self._permitted(filters)
        if isinstance(filters, Narrowed):
            among = self._select([*self._searchable(space), *filters])
            return lexical.search(self.tx, space.pk, text, limit, among)
        if filters:  # a wide one keeps most of the best; for a narrow one SQL looks at all matches
            best = lexical.search(self.tx, space.pk, text, limit + 8, upto=self._newest)
            kept = self._gate(space, best, filters)
            if len(kept) >= limit or len(best) < limit + 8:
                return kept[:limit]
            among = self._select([*self._searchable(space), *filters])
            return lexical.search(self.tx, space.pk, text, limit, among)
        want = self._want(limit)
        while True:
            found = lexical.search(self.tx, space.pk, text, want, upto=self._newest)
            kept = self._gate(space, found)
            if len(kept) >= limit or len(found) < want:
                return kept[:limit]
            want *= 8

    def ask(self, vector: Vectors, limit: int) -> Asked | None:
        """Begin a :meth:`nearest`, so that the index works while SQL is asked other things."""
        if self.namespace is None or self.namespace.collection is None:
            return None
        return self._keeper.ask(self.namespace.collection, vector, self._want(limit))

    def nearest(
        self,
        vector: Vectors,
        limit: int,
        filters: Sequence[Clause] = (),
        asked: Asked | None = None,
    ) -> list[tuple[int, float]]:
        """The nearest searchable cubes to a unit vector: key, cosine, best first.

        Exact for namespaces under ``IndexPolicy.exact_below``, for narrow filters, and
        whenever the index cannot be asked. ``asked``: what :meth:`ask` began for the same.
        """
        space = self.namespace
        if space is None or space.live == 0:
            return []
        filters = self._permitted(filters)
        found = None
        if space.collection is not None and not isinstance(filters, Narrowed):
            found = self._ask_index(space, space.collection, vector, limit, filters, asked)
        if found is None:
            found = self._scan(space, vector, limit, filters)
        return self._with_facets(space, found, vector, limit, filters)

    def narrowed(self, filters: Sequence[Clause]) -> Sequence[Clause]:
        """Filters and rules of access, evaluated once where they leave few memories.

        What is asked with the answer is asked the sooner: otherwise each question looks at each
        memory's header again.
        """
        where, space = self._permitted(filters), self.namespace
        if not (self._permits or filters) or space is None:
            return where  # what retention leaves is seldom little
        few = self._policy.exact_below
        query = self._select([*self._searchable(space), *where]).limit(few + 1)
        found = [row.pk for row in self.tx.execute(query)]
        return where if len(found) > few else Narrowed([cubes.c.pk.in_(listed(found))])

    def _permitted(self, filters: Sequence[Clause]) -> Sequence[Clause]:
        if isinstance(filters, Narrowed):
            return filters
        return [*self._permits, *self._kept, *filters]

    def _with_facets(
        self,
        space: NamespaceRow,
        found: list[tuple[int, float]],
        vector: Vectors,
        limit: int,
        filters: Sequence[Clause],
    ) -> list[tuple[int, float]]:
        """A memory that is found by several pieces of its text counts by the nearest one."""
        pieces = scan_facets(self.tx, space.pk, vector)
        ranked = best_of(pieces.items(), (), len(pieces))
        allowed: list[tuple[int, float]] = []
        for start in range(0, len(ranked), 500):
            allowed += self._gate(space, ranked[start : start + 500], filters)
            if len(allowed) >= limit:
                break
        return best_of(found, allowed, limit) if allowed else found

    def _gate(
        self,
        space: NamespaceRow,
        found: Sequence[tuple[int, float]],
        filters: Sequence[Clause] = (),
    ) -> list[tuple[int, float]]:
        """Of what an index found, what may be shown now, in the same order."""
        allowed = lookups.passing(self.tx, space.pk, [pk for pk, _ in found], self.now, filters)
        return [(pk, score) for pk, score in found if pk in allowed]

    def _scan(
        self, space: NamespaceRow, vector: Vectors, limit: int, filters: Sequence[Clause]
    ) -> list[tuple[int, float]]:
        if not filters:
            found = scan_namespace(self.tx, space.pk, vector, limit + 8)
            kept = self._gate(space, found)
            if len(kept) >= limit or len(found) < limit + 8:
                return kept[:limit]
            # Many expired or archived ones stand in front: let SQL leave them out first.
        among = self._select([*self._searchable(space), *filters])
        return scan_among(self.tx, among, vector, limit)

    def _ask_index(
        self,
        space: NamespaceRow,
        collection: str,
        vector: Vectors,
        limit: int,
        filters: Sequence[Clause],
        asked: Asked | None,
    ) -> list[tuple[int, float]] | None:
        """The index's answer, brought up to date and checked; ``None``: scan instead."""
        few = self._policy.exact_below
        pending = lookups.pending(self.tx, space.pk, few + 1)
        if len(pending) > few:
            return None
        want = self._want(limit)
        while want <= MOST_ASKED:
            found = asked() if asked is not None else self._keeper.query(collection, vector, want)
            asked = None
            if found is None:
                return None
            merged = self._with_pending(space, found, pending, vector)
            ranked = self._gate(space, merged, filters)
            if len(ranked) >= min(limit, space.live):
                return ranked[:limit] if self._is_true(ranked[:limit], vector) else None
            if len(found) < want or (filters and self._are_few(space, filters)):
                return None  # the exact scan settles it
            want *= 8
        return None

    def _are_few(self, space: NamespaceRow, filters: Sequence[Clause]) -> bool:
        """Whether filters leave so little that it is scanned exactly."""
        if isinstance(filters, Narrowed):
            return True
        few = self._policy.exact_below
        where = [*self._searchable(space), *filters]
        return len(self.tx.execute(self._select(where).limit(few + 1)).all()) <= few

    def _want(self, limit: int) -> int:
        """How many are asked for, since some of them may not be shown."""
        return limit + limit // 4 + 4

    def _searchable(self, space: NamespaceRow) -> list[Clause]:
        return lookups.searchable(space.pk, self.now)

    def _select(self, where: Sequence[Clause]) -> sa.Select[tuple[int]]:
        return lookups.select_pks(where)

    def _with_pending(
        self,
        space: NamespaceRow,
        found: list[tuple[int, float]],
        pending: set[int],
        vector: Vectors,
    ) -> list[tuple[int, float]]:
        """What the index found, with the changes that it has not seen yet."""
        if not pending:
            return found
        fresh = lookups.vectors(self.tx, space.pk, pending)
        merged = [(pk, score) for pk, score in found if pk not in pending]
        if fresh:
            scores = decode(list(fresh.values())) @ vector
            merged += [(pk, float(s)) for pk, s in zip(fresh, scores, strict=True)]
        return sorted(merged, key=lambda pair: (-pair[1], pair[0]))

    def _is_true(self, ranked: Sequence[tuple[int, float]], vector: Vectors) -> bool:
        """Whether the index's scores are those of the stored vectors, by sample.

        The best hit and one of the others are compared each time. An index that went wrong as a
        whole is seen at once, a single wrong entry the sooner the more often it comes back.
        """
        if not ranked:
            return True
        sample = [ranked[0], ranked[randrange(len(ranked))]]
        stored = self.vectors([pk for pk, _ in sample])
        for pk, score in sample:
            if pk not in stored or abs(float(stored[pk] @ vector) - score) > TOLERANCE:
                self._keeper.doubt(pk, vector, score)
                return False
        return True
