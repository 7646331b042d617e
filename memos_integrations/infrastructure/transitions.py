"""Changes of state: written beside the versions, each with its activity and reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from memos_integrations.cube import State
from memos_integrations.infrastructure.driver import hot
from memos_integrations.infrastructure.schema import activities, cubes, from_micros, transitions

DELETED = "deleted"
"""No state, but written like one where a deleted memory was brought back."""


@dataclass(frozen=True)
class Passage:
    """One change of a memory's state."""

    verb: str
    principal: str
    at: datetime
    before: str
    after: str
    reason: str


def move(
    tx: sa.Connection,
    activity_pk: int,
    moves: Sequence[tuple[int, State, State]],
    reason: str,
) -> None:
    """Write changes of state: cube key, before, after."""
    if not moves:
        return
    tx.execute(
        sa.insert(transitions),
        [
            {
                "cube_pk": pk,
                "activity_pk": activity_pk,
                "before": before.value,
                "after": after.value,
                "reason": reason,
            }
            for pk, before, after in moves
        ],
    )
    for pk, _, after in moves:
        tx.execute(sa.update(cubes).where(cubes.c.pk == pk).values(state=after.value))


def undelete(tx: sa.Connection, activity_pk: int, cube_pk: int, state: State) -> None:
    """Bring a deleted cube back; that it was away meanwhile stays known."""
    row = tx.execute(sa.select(cubes.c.deleted_by).where(cubes.c.pk == cube_pk)).scalar_one()
    both = [(row, state.value, DELETED, "delete"), (activity_pk, DELETED, state.value, "rollback")]
    tx.execute(
        sa.insert(transitions),
        [
            {"cube_pk": cube_pk, "activity_pk": pk, "before": b, "after": a, "reason": reason}
            for pk, b, a, reason in both
        ],
    )
    back = sa.update(cubes).where(cubes.c.pk == cube_pk)
    tx.execute(back.values(deleted_by=None, state=state.value))


def generated_among(tx: sa.Connection, cube_pks: Iterable[int]) -> dict[int, list[int]]:
    """Of these cubes, those that were never used, by namespace."""
    found: dict[int, list[int]] = {}
    wanted = sa.select(cubes.c.namespace_pk, cubes.c.pk).where(
        cubes.c.pk.in_(list(cube_pks)),
        cubes.c.state == State.GENERATED.value,
        cubes.c.deleted_by.is_(None),
    )
    for namespace_pk, pk in tx.execute(wanted):
        found.setdefault(namespace_pk, []).append(pk)
    return found


def of(tx: sa.Connection, cube_pk: int, upto: int | None = None) -> list[Passage]:
    """Every change of a cube's state, oldest first; none after the activity ``upto``."""
    known = sa.true() if upto is None else activities.c.pk <= upto
    rows = tx.execute(
        sa.select(
            activities.c.verb,
            activities.c.principal,
            activities.c.at,
            transitions.c.before,
            transitions.c.after,
            transitions.c.reason,
        )
        .join(activities, activities.c.pk == transitions.c.activity_pk)
        .where(transitions.c.cube_pk == cube_pk, known)
        .order_by(transitions.c.pk)
    )
    return [
        Passage(verb, who, from_micros(at), before, after, reason)
        for verb, who, at, before, after, reason in rows
    ]


_STATES = (
    "SELECT found.value, (SELECT after FROM transitions WHERE cube_pk = found.value "
    "AND activity_pk <= ? ORDER BY pk DESC LIMIT 1) FROM json_each(?) AS found"
)


def states_at(tx: sa.Connection, cube_pks: str, activity_pk: int) -> dict[int, State]:
    """The states of these cubes (a JSON list of keys) right after an activity."""
    rows = hot(tx, _STATES, activity_pk, cube_pks)
    return {
        pk: State(after) if after and after != DELETED else State.GENERATED for pk, after in rows
    }
