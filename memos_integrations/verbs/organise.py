"""What a session can do to keep its memories in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import networkx as nx

from memos_integrations.checks import check_id
from memos_integrations.cube import MemCube, State
from memos_integrations.errors import InvalidInputError
from memos_integrations.infrastructure.links import Link
from memos_integrations.infrastructure.snapshot import Snapshot
from memos_integrations.offload import offload
from memos_integrations.operation.organiser import Judge, MemOrganiser, Organised, duplicates
from memos_integrations.verbs.life import LifeVerbs


class OrganiseVerbs(LifeVerbs):
    """Verbs of the organiser; see :mod:`memos_integrations.operation.organiser`."""

    _organiser: MemOrganiser

    def organise(self, *, judge: Judge | None = None, merge_duplicates: bool = False) -> Organised:
        """Compare what is new since the last call with what was there; link what belongs together.

        Links: ``duplicate``, ``supersedes`` (a contradiction: searches put the newer first, and the
        older says since when it no longer holds), ``elaborates``, ``same_event``, ``same_entity``.
        No memory is changed, unless ``merge_duplicates``: then those that say the same become one,
        as :meth:`merge` does it. ``judge``: instead of the rules, such as a
        :class:`~memos_integrations.operation.organising.with_model.ModelJudge`.
        """
        if judge is not None and not callable(judge):
            raise InvalidInputError(
                f"judge is {judge!r}: give a function of two memos and a cosine"
            )
        self._vault.require("write", self.namespace, "organise")
        organiser = self._organiser
        if judge is not None:
            organiser = MemOrganiser(self._vault, self._operator, judge)
        compared, found = organiser.organise(self.namespace, self.principal)
        merged = self._merge_duplicates() if merge_duplicates else []
        return Organised(compared, tuple(found), tuple(merged))

    async def aorganise(self, **options: Any) -> Organised:
        """:meth:`organise`, without blocking the event loop."""
        return await offload(self.organise, **options)

    def links(self, id: str | None = None) -> list[Link]:
        """What a memory, or each memory here, has to do with others; see :meth:`organise`.

        Between memories that may be shown, as they stand. Raises :class:`CubeNotFoundError`.
        """
        return self._organiser.links(self.namespace, None if id is None else check_id(id))

    async def alinks(self, id: str | None = None) -> list[Link]:
        """:meth:`links`, without blocking the event loop."""
        return await offload(self.links, id)

    def topics(self, filters: Mapping[str, Any] | None = None) -> nx.DiGraph[str]:
        """Topics over concepts over memories (by id), from who and what they speak of.

        Edges lead downwards; nodes have ``kind`` (``topic``, ``concept``, ``fact``) and ``label``.
        """
        with self._vault.snapshot(self.namespace) as view:
            cubes = self._told(view, filters)
        return self._organiser.topics(self.namespace, cubes)

    async def atopics(self, filters: Mapping[str, Any] | None = None) -> nx.DiGraph[str]:
        """:meth:`topics`, without blocking the event loop."""
        return await offload(self.topics, filters)

    def _told(self, view: Snapshot, filters: Mapping[str, Any] | None) -> list[MemCube]:
        clauses = self._vault.clauses(filters)
        cubes: list[MemCube] = []
        after: str | None = None
        while page := view.page(clauses, 1_000, after):
            cubes += [cube for cube in page if cube.state in _SHOWN and cube.text]
            after = page[-1].id
        return cubes

    def _merge_duplicates(self) -> list[str]:
        """Each group becomes one memory, with the words of the newest."""
        made = []
        for group in duplicates(self.links()):
            with self._vault.snapshot(self.namespace) as view:
                heads = [view.head(one) for one in group]
            cubes = [head.cube for head in heads if head is not None]
            cubes = [cube for cube in cubes if cube.state in _MERGEABLE]
            if len(cubes) > 1:
                made.append(self.merge(cubes, cubes[-1].text).id)
        return made


_SHOWN = (State.GENERATED, State.ACTIVATED, State.FROZEN)
_MERGEABLE = (State.GENERATED, State.ACTIVATED)
