"""Reading the activities of a namespace: who did what, when, to which memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from memos_integrations.infrastructure.filters import Clause
from memos_integrations.infrastructure.schema import (
    activities,
    cubes,
    from_micros,
    placements,
    to_micros,
    transitions,
    usage,
    versions,
)


@dataclass(frozen=True)
class LogEntry:
    """One activity."""

    id: str
    at: datetime
    verb: str
    principal: str
    memories: tuple[tuple[str, int | None], ...]
    """What it touched: memory id, and the version that it wrote (``None``: it wrote none)."""
    idempotency_key: str | None = None
    """Of the call, if it had one: adapters put the message there."""


def read(
    tx: sa.Connection,
    namespace_pk: int,
    *,
    limit: int,
    after: str | None,
    since: datetime | None,
    until: datetime | None,
    principals: Sequence[str],
    verbs: Sequence[str],
    memory_id: str | None,
) -> list[LogEntry]:
    """Up to ``limit`` activities, newest first, that lie before the activity ``after``."""
    where: list[Clause] = [activities.c.namespace_pk == namespace_pk]
    if since is not None:
        where.append(activities.c.at >= to_micros(since))
    if until is not None:
        where.append(activities.c.at < to_micros(until))
    if principals:
        where.append(activities.c.principal.in_(list(principals)))
    if verbs:
        where.append(activities.c.verb.in_(list(verbs)))
    if after is not None:
        place = sa.select(activities.c.pk).where(activities.c.id == after).scalar_subquery()
        where.append(activities.c.pk < place)
    if memory_id is not None:
        where.append(activities.c.pk.in_(_touching(memory_id)))
    query = sa.select(activities).where(*where).order_by(activities.c.pk.desc()).limit(limit)
    rows = tx.execute(query).all()
    touched = _touched(tx, [row.pk for row in rows])
    return [
        LogEntry(
            row.id,
            from_micros(row.at),
            row.verb,
            row.principal,
            tuple(sorted(touched.get(row.pk, {}).items())),
            row.idempotency_key,
        )
        for row in rows
    ]


def _touching(memory_id: str) -> sa.CompoundSelect[Any]:
    cube = sa.select(cubes.c.pk).where(cubes.c.id == memory_id).scalar_subquery()
    return sa.union(
        sa.select(versions.c.activity_pk).where(versions.c.cube_pk == cube),
        sa.select(transitions.c.activity_pk).where(transitions.c.cube_pk == cube),
        sa.select(cubes.c.deleted_by).where(
            cubes.c.id == memory_id, cubes.c.deleted_by.is_not(None)
        ),
    )


def _touched(tx: sa.Connection, activity_pks: Sequence[int]) -> dict[int, dict[str, int | None]]:
    """By activity: the memories that it touched, each with the version that it wrote."""
    found: dict[int, dict[str, int | None]] = {}
    listed = sa.func.json_each(json.dumps(list(activity_pks))).table_valued("value")
    asked = sa.select(listed.c.value)
    moved = sa.select(transitions.c.activity_pk, cubes.c.id).join(
        cubes, cubes.c.pk == transitions.c.cube_pk
    )
    for pk, id in tx.execute(moved.where(transitions.c.activity_pk.in_(asked))):
        found.setdefault(pk, {})[id] = None
    gone = sa.select(cubes.c.deleted_by, cubes.c.id).where(cubes.c.deleted_by.in_(asked))
    for pk, id in tx.execute(gone):
        found.setdefault(pk, {})[id] = None
    wrote = sa.select(versions.c.activity_pk, cubes.c.id, versions.c.version).join(
        cubes, cubes.c.pk == versions.c.cube_pk
    )
    for pk, id, version in tx.execute(wrote.where(versions.c.activity_pk.in_(asked))):
        found.setdefault(pk, {})[id] = version
    return found


def summary(tx: sa.Connection, namespace_pk: int) -> dict[str, dict[str, int]]:
    """How often each verb was used, by whom, and how many activities each day saw."""
    day = sa.func.date(activities.c.at / 1_000_000, "unixepoch")
    columns = {"verbs": activities.c.verb, "principals": activities.c.principal, "days": day}
    return {
        name: {
            str(value): int(count)
            for value, count in tx.execute(
                sa.select(column, sa.func.count())
                .where(activities.c.namespace_pk == namespace_pk)
                .group_by(column)
                .order_by(column)
            )
        }
        for name, column in columns.items()
    }


def usage_summary(tx: sa.Connection, namespace_pk: int) -> dict[str, int]:
    """How much of a namespace is used: recalls by searches, and appearances in prompts."""
    mine = cubes.c.namespace_pk == namespace_pk
    recalls = sa.select(sa.func.coalesce(sa.func.sum(usage.c.uses), 0), sa.func.count())
    recalls = recalls.join(cubes, cubes.c.pk == usage.c.cube_pk).where(mine)
    shown = sa.select(sa.func.count(), sa.func.count(placements.c.prompt.distinct()))
    shown = shown.join(cubes, cubes.c.pk == placements.c.cube_pk).where(mine)
    recalled, memories = tx.execute(recalls).one()
    places, prompts = tx.execute(shown).one()
    names = ("recalls", "memories_recalled", "appearances", "prompts")
    return dict(zip(names, map(int, (recalled, memories, places, prompts)), strict=True))
