"""The organiser: compares new memories with older ones, and writes down how they belong together.

It changes no memory. A contradiction becomes a link from the newer to the older one: both stay, a
search puts the newer first, and the older says since when it no longer holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import networkx as nx
import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.cube import MemCube, Principal
from memos_integrations.errors import CubeNotFoundError
from memos_integrations.infrastructure import links, records
from memos_integrations.infrastructure.links import Fresh, Link, NewLink
from memos_integrations.infrastructure.snapshot import Snapshot
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.operation.operator import MemOperator
from memos_integrations.operation.organising.grouping import group
from memos_integrations.operation.organising.relations import Found, Memo, Relation, relate

Judge = Callable[[Memo, Memo, float], Found | None]
"""``(new, old, cosine)`` to the relation between them: the rules, or a language model."""

COMPARED = 12
"""Memories that a new one is compared with: the nearest by meaning, and as many by words."""
KIN = 3
"""Older memories that a new one is linked to only because they speak of the same."""
TOGETHER = 100
"""Memories compared in one transaction."""


@dataclass(frozen=True)
class Organised:
    """What :meth:`MemorySession.organise` did; as a string, lines to read."""

    compared: int
    """Memories that were new."""
    links: tuple[Link, ...]
    merged: tuple[str, ...] = ()
    """What duplicates were merged into."""

    def __str__(self) -> str:
        counts = Counter(link.relation for link in self.links)
        found = ", ".join(f"{count} {relation}" for relation, count in sorted(counts.items()))
        head = f"{self.compared} memories compared: {found or 'nothing to link'}"
        return "\n".join([head, *(f"  {link}" for link in self.links)])


class MemOrganiser:
    """Finds duplicates, contradictions and kinship. Thread-safe."""

    def __init__(self, vault: MemVault, operator: MemOperator, judge: Judge = relate) -> None:
        self._vault, self._operator, self._judge = vault, operator, judge

    def organise(self, path: Namespace, who: Principal) -> tuple[int, list[Link]]:
        """Compare what was written since the last time; how many, and the links that were found."""
        compared, ids = 0, list[str]()
        while page := self._page(path, who):
            compared += len(page)
            ids += [one.cube.id for one in page]
        wanted = set(ids)
        return compared, [link for link in self.links(path) if link.subject in wanted]

    def links(self, path: Namespace, cube_id: str | None = None) -> list[Link]:
        """The links of a memory, or of all. :class:`CubeNotFoundError`."""
        with self._vault.snapshot(path) as view:
            head = None if cube_id is None else view.head(cube_id)
            if cube_id is not None and head is None:
                raise CubeNotFoundError(f"no memory {cube_id} in namespace {'/'.join(path)}")
            if view.namespace is None:
                return []
            of_one = None if head is None else head.cube_pk
            found = links.of(view.tx, view.namespace.pk, view.now, of_one)
            ends = {end for link in found for end in (link.subject, link.object)}
            seen = view.readable(ends)
            return [link for link in found if {link.subject, link.object} <= seen]

    def topics(self, path: Namespace | None, cubes: Iterable[MemCube]) -> nx.DiGraph[str]:
        """Topics over concepts over these memories; without a ``path`` links tie none together."""
        known = [] if path is None else self.links(path)
        tied = [(link.subject, link.object) for link in known]
        memos = {cube.id: memo(cube) for cube in cubes}
        names = {f"fact:{one}": one for one in memos}
        named: nx.DiGraph[str] = nx.relabel_nodes(group(memos, tied), names)
        return named

    def _page(self, path: Namespace, who: Principal) -> list[Fresh]:
        """Compare the next memories, write what was found and how far it went."""
        with self._vault.snapshot(path) as view:
            if view.namespace is None:
                return []
            page = links.fresh(view.tx, view.namespace, view.now, TOGETHER)
            found = [link for one in page for link in self._compare(view, one)]
        if page:
            activity = self._operator.activity("organise", who)

            def work(tx: sa.Connection) -> tuple[None, bool]:
                namespace = records.ensure_namespace(tx, path)
                if found:
                    links.write(tx, records.insert_activity(tx, namespace.pk, activity), found)
                links.mark(tx, namespace.pk, page[-1].version_pk)
                return None, False

            self._vault.commit(work)
        return page

    def _compare(self, view: Snapshot, new: Fresh) -> list[NewLink]:
        """The links of one memory to those that were written before it."""
        vector = view.vectors([new.cube_pk]).get(new.cube_pk)
        near = {} if vector is None else dict(view.nearest(vector, COMPARED + 1))
        by_words = view.matching(new.cube.text[:500], COMPARED + 1)
        wanted = list(dict.fromkeys([*near, *(pk for pk, _ in by_words)]))
        older = links.head_pks(view.tx, wanted)
        # What a memory was made of says the same, and is neither its duplicate nor out of date.
        left = {new.cube_pk, *links.origins(view.tx, new.version_pk)}
        wanted = [pk for pk in wanted if older[pk] < new.version_pk and pk not in left]
        if vector is not None:
            missing = view.vectors([pk for pk in wanted if pk not in near])
            near |= {pk: float(other @ vector) for pk, other in missing.items()}
        known = view.load(wanted)
        return self._judged(new, known, near)

    def _judged(
        self, new: Fresh, known: Mapping[int, MemCube], near: Mapping[int, float]
    ) -> list[NewLink]:
        mine, found = memo(new.cube), list[NewLink]()
        for pk, cube in known.items():
            judged = self._judge(mine, memo(cube), near.get(pk, 0.0))
            if judged is not None:
                relation = _directed(judged.relation, new.cube, cube)
                found.append(NewLink(new.cube_pk, pk, relation, judged.score, judged.because))
        return _fewer_kin(found)


def memo(cube: MemCube) -> Memo:
    """A memory as the rules see it."""
    about = cube.header.descriptive
    return Memo(cube.text, about.speaker, about.event_time)


def duplicates(found: Sequence[Link]) -> list[list[str]]:
    """Groups of memories that say the same, oldest first."""
    graph: nx.Graph[str] = nx.Graph()
    graph.add_edges_from(
        (link.subject, link.object) for link in found if link.relation == Relation.DUPLICATE
    )
    return sorted(sorted(group) for group in nx.connected_components(graph))


def _fewer_kin(found: Sequence[NewLink]) -> list[NewLink]:
    """Of those that only speak of the same things, the surest."""
    kin = [link for link in found if link.relation == Relation.SAME_ENTITY]
    kept = sorted(kin, key=lambda link: (-link.score, -link.object_pk))[:KIN]
    return [link for link in found if link.relation != Relation.SAME_ENTITY or link in kept]


def _directed(relation: Relation, new: MemCube, old: MemCube) -> str:
    """What is newer by its event may have been written first."""
    one, other = new.header.descriptive.event_time, old.header.descriptive.event_time
    backwards = one is not None and other is not None and one < other
    if relation is Relation.SUPERSEDES and backwards:
        return links.SUPERSEDED_BY
    return relation.value
