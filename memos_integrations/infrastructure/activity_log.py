"""Reading the activities of a namespace: who did what, when, to which memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.infrastructure.filters import Clause
from memos_integrations.infrastructure.schema import (
    activities,
    cubes,
    from_micros,
    namespaces,
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
    namespace: Namespace = ()
    """Where."""


def read(
    tx: sa.Connection,
    namespace_pks: Sequence[int],
    *,
    limit: int,
    after: str | None,
    since: datetime | None,
    until: datetime | None,
    principals: Sequence[str],
    verbs: Sequence[str],
    memory_id: str | None,
    types: Sequence[str] = (),
    upto: int | None = None,
) -> list[LogEntry]:
    """Up to ``limit`` activities, newest first, that lie before the activity ``after``.

    ``types``: touching a memory of one of these semantic types, as it was after that. ``upto``:
    none after this activity.
    """
    where: list[Clause] = [activities.c.namespace_pk.in_(_listed(namespace_pks))]
    if upto is not None:
        where.append(activities.c.pk <= upto)
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
    if types:
        where.append(_of_types(types))
    query = (
        sa.select(activities, namespaces.c.path)
        .join(namespaces, namespaces.c.pk == activities.c.namespace_pk)
        .where(*where)
        .order_by(activities.c.pk.desc())
        .limit(limit)
    )
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
            tuple(json.loads(row.path)),
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


def _of_types(types: Sequence[str]) -> Clause:
    """Whether an activity wrote a version of these types, or moved or deleted one."""
    fits = versions.c.semantic_type.in_(list(types))
    wrote = sa.select(sa.literal(1)).where(versions.c.activity_pk == activities.c.pk, fits)
    head = cubes.join(versions, versions.c.pk == cubes.c.head_pk)
    moved = (
        sa.select(sa.literal(1))
        .select_from(head.join(transitions, transitions.c.cube_pk == cubes.c.pk))
        .where(transitions.c.activity_pk == activities.c.pk, fits)
    )
    deleted = sa.select(sa.literal(1)).select_from(head)
    deleted = deleted.where(cubes.c.deleted_by == activities.c.pk, fits)
    return sa.or_(sa.exists(wrote), sa.exists(moved), sa.exists(deleted))


def _listed(pks: Sequence[int]) -> sa.Select[Any]:
    each = sa.func.json_each(json.dumps(list(pks))).table_valued("value")
    return sa.select(each.c.value)


def below(tx: sa.Connection, path: Namespace) -> list[tuple[int, Namespace]]:
    """The namespaces under a path, without itself; the key and the path of each."""
    rows = tx.execute(sa.select(namespaces.c.pk, namespaces.c.path))
    found = [(pk, tuple(json.loads(told))) for pk, told in rows]
    return [one for one in found if len(one[1]) > len(path) and one[1][: len(path)] == path]


def _touched(tx: sa.Connection, activity_pks: Sequence[int]) -> dict[int, dict[str, int | None]]:
    """By activity: the memories that it touched, each with the version that it wrote."""
    found: dict[int, dict[str, int | None]] = {}
    asked = _listed(activity_pks)
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
    wrote = wrote.where(versions.c.activity_pk.in_(asked)).order_by(versions.c.version)
    for pk, id, version in tx.execute(wrote):  # of several versions, the last
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


def hit_rates(tx: sa.Connection, namespace_pk: int) -> dict[str, float]:
    """The shares of the memories that a search ever found, and that ever stood in a prompt."""
    used = sa.exists().where(usage.c.cube_pk == cubes.c.pk, usage.c.uses > 0)
    shown = sa.exists().where(placements.c.cube_pk == cubes.c.pk)
    there = cubes.c.namespace_pk == namespace_pk, cubes.c.deleted_by.is_(None)
    rates = {}
    for name, condition in (("recalled", used), ("shown", shown)):
        share = sa.func.avg(sa.case((condition, 1.0), else_=0.0))
        rates[name] = round(tx.execute(sa.select(share).where(*there)).scalar() or 0.0, 4)
    return rates


def growth(tx: sa.Connection, namespace_pk: int) -> dict[str, int]:
    """How many memories there were at the end of each day on which that changed."""

    def by_day(activity: sa.ColumnElement[int], *where: Clause) -> dict[str, int]:
        day = sa.func.date(activities.c.at / 1_000_000, "unixepoch")
        query = (
            sa.select(day, sa.func.count())
            .select_from(versions.join(cubes, cubes.c.pk == versions.c.cube_pk))
            .join(activities, activities.c.pk == activity)
            .where(versions.c.version == 1, cubes.c.namespace_pk == namespace_pk, *where)
            .group_by(day)
        )
        return {str(at): int(count) for at, count in tx.execute(query)}

    came = by_day(versions.c.activity_pk)
    went = by_day(sa.type_coerce(cubes.c.deleted_by, sa.Integer))
    found: dict[str, int] = {}
    there = 0
    for at in sorted({*came, *went}):
        there += came.get(at, 0) - went.get(at, 0)
        found[at] = there
    return found
