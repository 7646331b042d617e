"""Context of what was found: the turns that were said around it."""

from __future__ import annotations

from collections.abc import Sequence

from memos_integrations.cube import MemCube
from memos_integrations.infrastructure.filters import Clause
from memos_integrations.infrastructure.snapshot import Snapshot
from memos_integrations.operation.retrieving.pool import one_talk

MOST = 2
"""So many turns on each side are known."""


def turns_around(
    view: Snapshot, cube_ids: Sequence[str], turns: int, filters: Sequence[Clause] = ()
) -> list[list[MemCube]]:
    """For each id, the turns before and after it in its talk, oldest first; not itself.

    They pass the gate and the filters, and so does the memory itself pass the gate.
    """
    heads = {one: head.cube_pk for one in cube_ids if (head := view.head(one)) is not None}
    rows = {row[MOST]: row for row in view.around(sorted(set(heads.values())))}
    near = {pk for row in rows.values() for pk in row if pk is not None}
    fit = view.shown(near, filters)
    about = view.about(fit | view.shown(heads.values()))
    wanted = {
        here: [
            pk
            for pk in row[MOST - turns : MOST + turns + 1]
            if here is not None and pk in fit and pk != here and one_talk(about, pk, here)
        ]
        for here, row in rows.items()
    }
    cubes = view.load(sorted({pk for pks in wanted.values() for pk in pks}))
    return [[cubes[pk] for pk in wanted.get(heads.get(one), ())] for one in cube_ids]
