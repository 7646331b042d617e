"""A namespace as it was at a moment: the same questions as of a snapshot of today.

What a search finds is the present forms that were there already, and the former ones that were
still valid (``past_forms``); each passes the gate of that moment. What comes back is the version
of that moment, in its state then.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import networkx as nx
import numpy as np
import sqlalchemy as sa

from memos_integrations.cube import MemCube
from memos_integrations.infrastructure import lexical, provenance, transitions, turns
from memos_integrations.infrastructure.driver import hot
from memos_integrations.infrastructure.filters import Clause
from memos_integrations.infrastructure.former_vectors import FormerVectors, FormsThen
from memos_integrations.infrastructure.lookups import Head, NamespaceRow, listed
from memos_integrations.infrastructure.moments import Moment
from memos_integrations.infrastructure.schema import cubes, past, versions
from memos_integrations.infrastructure.snapshot import Asked, Snapshot
from memos_integrations.infrastructure.then import Then
from memos_integrations.infrastructure.transitions import Passage
from memos_integrations.infrastructure.vectors import scan_among
from memos_integrations.protocols import Vectors

_PRESENT = "SELECT cube_pk FROM embeddings WHERE namespace_pk = ?"
_NEWEST = (
    "SELECT pk FROM cubes WHERE namespace_pk = ? AND EXISTS (SELECT 1 FROM versions "
    "WHERE cube_pk = cubes.pk AND activity_pk <= ?) ORDER BY pk DESC LIMIT 1"
)
_LATEST = "SELECT coalesce(max(pk), 0) FROM activities"


class PastSnapshot(Snapshot):
    """What one namespace looked like at one moment of the past."""

    def __init__(self, today: Snapshot, moment: Moment, former: FormerVectors) -> None:
        super().__init__(
            today.tx,
            today.namespace,
            moment.at,
            today._usage,
            today._keeper,
            today._policy,
            today.sight,  # who may read it now: what is allowed is never of the past
            today.retention,
        )
        self.moment, self._then, self._former = moment, Then(moment), former
        self._known: FormsThen | None = None
        self._few: list[int] | None = None
        self._share = 1.0  # of today's memories, those that stood then as they stand now

    # One memory ---------------------------------------------------------------------------

    def head(self, cube_id: str, *, deleted: bool = False) -> Head | None:
        """The version of that moment."""
        if self.namespace is None:
            return None
        where = [cubes.c.id == cube_id, cubes.c.namespace_pk == self.namespace.pk, *self._permits]
        if not deleted:
            where.append(self._then.undeleted())
        row = self.tx.execute(
            sa.select(cubes.c.pk, versions.c.pk.label("version_pk"))
            .select_from(self._then.rows())
            .where(*where)
        ).first()
        if row is None:
            return None
        return Head(row.pk, row.version_pk, self.load([row.pk])[row.pk])

    def chain(self, head: Head) -> list[MemCube]:
        """Every version up to that moment, oldest first."""
        written = self.tx.execute(
            sa.select(versions.c.version).where(
                versions.c.cube_pk == head.cube_pk,
                versions.c.activity_pk <= self.moment.activity_pk,
            )
        )
        there = set(written.scalars())
        return [cube for cube in super().chain(head) if cube.version in there]

    def life(self, head: Head) -> list[Passage]:
        """What had become of it by that moment."""
        return transitions.of(self.tx, head.cube_pk, self.moment.activity_pk)

    def closure(
        self, head: Head, direction: provenance.Direction, depth: int | None
    ) -> nx.DiGraph[str]:
        """What had been done up to that moment."""
        until = self.moment.activity_pk
        closure = provenance.closure(self.tx, head.cube_pk, direction, depth, until=until)
        return self._seen(closure)

    def load(self, cube_pks: Sequence[int]) -> dict[int, MemCube]:
        """The versions of that moment by key, in their states then; without counters."""
        return self._then.load(self.tx, cube_pks)

    def searchable(self, cube_ids: Sequence[str]) -> list[MemCube]:
        """Those of these cubes that a search could show then."""
        if self.namespace is None or not cube_ids:
            return []
        where = [
            *self._then.alive(self.namespace.pk),
            *self._permits,
            *self._kept,
            cubes.c.id.in_(list(cube_ids)),
        ]
        return list(self.load(self._pks(where)).values())

    def page(self, filters: Sequence[Clause], limit: int, after: str | None) -> list[MemCube]:
        """Up to ``limit`` cubes of that moment after the id ``after``, oldest first."""
        if self.namespace is None:
            return []
        here = cubes.c.namespace_pk == self.namespace.pk
        where = [here, self._then.undeleted(), *self._permits, *filters]
        if after is not None:
            where.append(cubes.c.id > after)
        query = sa.select(cubes.c.pk).select_from(self._then.rows()).where(*where)
        keys = list(self.tx.execute(query.order_by(cubes.c.id).limit(limit)).scalars())
        return list(self.load(keys).values())

    def count(self, filters: Sequence[Clause]) -> int:
        """How many cubes there were."""
        if self.namespace is None:
            return 0
        here = cubes.c.namespace_pk == self.namespace.pk
        where = [here, self._then.undeleted(), *self._permits, *filters]
        query = sa.select(sa.func.count()).select_from(self._then.rows()).where(*where)
        return int(self.tx.execute(query).scalar_one())

    def about(self, cube_pks: Collection[int]) -> dict[int, turns.About]:
        """What scores are made of beside likeness, as of that moment."""
        return turns.about_then(self.tx, cube_pks, self.moment.activity_pk) if cube_pks else {}

    def shown(self, cube_pks: Collection[int], filters: Sequence[Clause] = ()) -> set[int]:
        """The gate of that moment for keys that no source found: those that have a vector."""
        if self.namespace is None or not cube_pks:
            return set()
        pks = list(cube_pks)
        found = {*super().vectors(pks), *self._forms(self.namespace).vectors_of(pks)}
        asked = [(pk, 0.0) for pk in pks if pk in found]
        return {pk for pk, _ in self._shown(self.namespace, asked, self._permitted(filters))}

    # Searching ----------------------------------------------------------------------------

    def ask(self, vector: Vectors, limit: int) -> Asked | None:
        """Begin to ask the index of today, where it knows enough of the moment."""
        if self.namespace is None or self._few_present(self.namespace) is not None:
            return None
        return super().ask(vector, limit)

    def vectors(self, cube_pks: Sequence[int]) -> dict[int, Vectors]:
        """The vectors by which these cubes were found then; zeros for words alone."""
        if self.namespace is None or not cube_pks:
            return {}
        former = self._forms(self.namespace)
        found = super().vectors(cube_pks)
        found.update(former.vectors_of(cube_pks))
        size = next(iter(found.values())).shape if found else (1,)
        return {pk: found.get(pk, np.zeros(size, "<f4")) for pk in cube_pks}

    def nearest(
        self,
        vector: Vectors,
        limit: int,
        filters: Sequence[Clause] = (),
        asked: Asked | None = None,
    ) -> list[tuple[int, float]]:
        """The nearest cubes that a search could show then: key, cosine, best first."""
        space = self.namespace
        if space is None:
            return []
        filters = self._permitted(filters)
        former = self._nearest_former(space, vector, limit, filters)
        few = self._few_present(space)
        if few is None:
            return _best([*former, *super().nearest(vector, limit, filters, asked)], limit)
        present: list[tuple[int, float]] = []
        if few:
            present = scan_among(self.tx, self._of_few(space, few, filters), vector, limit)
        return _best([*former, *self._with_facets(space, present, vector, limit, filters)], limit)

    def matching(
        self, text: str, limit: int, filters: Sequence[Clause] = ()
    ) -> list[tuple[int, float]]:
        """The best cubes of that moment by words: key, BM25 (higher is better)."""
        space = self.namespace
        if space is None:
            return []
        filters = self._permitted(filters)
        former = self._matching_former(space, text, limit, filters)
        few = self._few_present(space)
        if few is None:
            self._newest = self._newest_then(space)
            return _best([*former, *super().matching(text, limit, filters)], limit)
        present: list[tuple[int, float]] = []
        if few:
            among = self._of_few(space, few, filters)
            present = lexical.search(self.tx, space.pk, text, limit, among)
        return _best([*former, *present], limit)

    def _forms(self, space: NamespaceRow) -> FormsThen:
        if self._known is None:
            self._known = self._former.at(self.tx, space.pk, self.moment.activity_pk)
        return self._known

    def _matching_former(
        self, space: NamespaceRow, text: str, limit: int, filters: Sequence[Clause]
    ) -> list[tuple[int, float]]:
        former = self._forms(space)
        if not len(former):
            return []
        want = _scaled(limit, former.share)
        while True:
            found = lexical.search_past(self.tx, space.pk, text, want, former.first_pk)
            kept = self._shown(space, former.whose(found), filters)
            if len(kept) >= limit or len(found) < want:
                return kept
            want *= 8

    def _nearest_former(
        self, space: NamespaceRow, vector: Vectors, limit: int, filters: Sequence[Clause]
    ) -> list[tuple[int, float]]:
        keys, scores = self._forms(space).nearest(vector)
        if not len(keys):
            return []
        want = limit + limit // 4 + 4
        while True:
            few = min(want, len(scores))
            best = np.argpartition(-scores, few - 1)[:few]
            ranked = _best([(int(keys[i]), float(scores[i])) for i in best], few)
            kept = self._shown(space, ranked, filters)
            if len(kept) >= limit or few == len(scores):
                return kept[:limit]
            want *= 8

    def _few_present(self, space: NamespaceRow) -> list[int] | None:
        """The cubes whose present form was there then, if they are few; ``None``: most were.

        Asked for few among many, an index of today would name the others.
        """
        changed = self._forms(space).changed
        self._share = 1 - len(changed) / max(1, space.live)
        if len(changed) * 8 < space.live * 7:
            return None
        if self._few is None:
            self._few = self._standing(space)
        return self._few

    def _standing(self, space: NamespaceRow) -> list[int]:
        """The cubes whose present form was there then; read again after something was written."""
        [(latest,)] = hot(self.tx, _LATEST)
        former = self._forms(space)
        if former.standing is None or former.standing[0] != latest:
            there = [pk for (pk,) in hot(self.tx, _PRESENT, space.pk)]
            former.standing = latest, former.unchanged(there)
        return former.standing[1]

    def _newest_then(self, space: NamespaceRow) -> int:
        """The highest key of a cube that was there then."""
        former = self._forms(space)
        if former.newest is None:
            found = hot(self.tx, _NEWEST, space.pk, self.moment.activity_pk)
            former.newest = max((pk for (pk,) in found), default=0)
        return former.newest

    def _of_few(
        self, space: NamespaceRow, few: Sequence[int], filters: Sequence[Clause]
    ) -> sa.Select[tuple[int]]:
        return self._select([*self._then.alive(space.pk), *filters, cubes.c.pk.in_(listed(few))])

    def _want(self, limit: int) -> int:
        return _scaled(limit, self._share)

    # The gate of that moment --------------------------------------------------------------

    def _gate(
        self,
        space: NamespaceRow,
        found: Sequence[tuple[int, float]],
        filters: Sequence[Clause] = (),
    ) -> list[tuple[int, float]]:
        """Of present forms, those that were there then already."""
        stood = set(self._forms(space).unchanged([pk for pk, _ in found]))
        return self._shown(space, [one for one in found if one[0] in stood], filters)

    def _shown(
        self, space: NamespaceRow, found: Sequence[tuple[int, float]], filters: Sequence[Clause]
    ) -> list[tuple[int, float]]:
        """Of these, what could be shown then, in the same order."""
        if not found:
            return []
        keys = [pk for pk, _ in found]
        if filters:
            allowed = set(self._pks([*self._then.alive(space.pk), *filters, cubes.c.pk.in_(keys)]))
        else:
            allowed = self._then.passing(self.tx, space.pk, keys)
        return [(pk, score) for pk, score in found if pk in allowed]

    def _scan(
        self, space: NamespaceRow, vector: Vectors, limit: int, filters: Sequence[Clause]
    ) -> list[tuple[int, float]]:
        """Of present forms that were there then, exactly."""
        later = sa.exists().where(
            past.c.cube_pk == cubes.c.pk, past.c.until_pk > self.moment.activity_pk
        )
        among = self._select([*self._then.alive(space.pk), *filters, sa.not_(later)])
        return scan_among(self.tx, among, vector, limit)

    def _searchable(self, space: NamespaceRow) -> list[Clause]:
        return self._then.alive(space.pk)

    def _select(self, where: Sequence[Clause]) -> sa.Select[tuple[int]]:
        return sa.select(cubes.c.pk).select_from(self._then.rows()).where(*where)

    def _pks(self, where: Sequence[Clause]) -> list[int]:
        return [row.pk for row in self.tx.execute(self._select(where))]


def _scaled(limit: int, share: float) -> int:
    """How many to ask for where only a share of what is found was there then."""
    return int((limit + limit // 4 + 4) / max(share, 0.125) * 1.2)


def _best(found: Sequence[tuple[int, float]], limit: int) -> list[tuple[int, float]]:
    """Each cube by its best score, best first."""
    scores: dict[int, float] = {}
    for pk, score in found:
        scores[pk] = max(score, scores.get(pk, score))
    return sorted(scores.items(), key=lambda one: (-one[1], one[0]))[:limit]
