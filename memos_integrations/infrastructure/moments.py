"""Moments of the past: an activity up to which everything counts, and nothing after it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.infrastructure.schema import (
    activities,
    from_micros,
    moments,
    namespaces,
    settings,
    to_micros,
)

LOADED = "loaded"
"""Setting of a store whose activities do not stand in the order of their times."""
BRANCH = "\N{BLACK RIGHT-POINTING TRIANGLE} branch"
"""The name of the moment at which a branch began; it is there for as long as the branch is."""


@dataclass(frozen=True)
class Moment:
    """A point in the order in which the store was written."""

    at: datetime
    activity_pk: int
    """The last activity that belongs to it; 0 before the first."""
    name: str | None = None
    """Of a named snapshot."""


def at(tx: sa.Connection, when: datetime) -> Moment:
    """The moment after the last activity at or before ``when``.

    Where older activities were loaded among younger ones, it is the one before the first activity
    after ``when``: what was loaded is known since it was loaded.
    """
    if tx.execute(sa.select(settings.c.value).where(settings.c.key == LOADED)).scalar():
        later = sa.select(sa.func.min(activities.c.pk)).where(activities.c.at > to_micros(when))
        first = tx.execute(later).scalar()
        return latest(tx, when) if first is None else Moment(when, first - 1)
    query = (
        sa.select(activities.c.pk)
        .where(activities.c.at <= to_micros(when))
        .order_by(activities.c.at.desc(), activities.c.pk.desc())
        .limit(1)
    )
    return Moment(when, tx.execute(query).scalar() or 0)


def latest(tx: sa.Connection, now: datetime) -> Moment:
    """The moment after the last activity of all."""
    return Moment(now, tx.execute(sa.select(sa.func.max(activities.c.pk))).scalar() or 0)


def named(tx: sa.Connection, namespace_pk: int, name: str) -> Moment | None:
    """The snapshot of this name, if there is one."""
    query = sa.select(moments).where(moments.c.namespace_pk == namespace_pk, moments.c.name == name)
    row = tx.execute(query).first()
    return None if row is None else Moment(from_micros(row.at), row.activity_pk, row.name)


def all_named(tx: sa.Connection, namespace_pk: int) -> list[Moment]:
    """Every snapshot of a namespace, oldest first."""
    mine = moments.c.namespace_pk == namespace_pk, moments.c.name != BRANCH
    query = sa.select(moments).where(*mine)
    rows = tx.execute(query.order_by(moments.c.activity_pk, moments.c.name))
    return [Moment(from_micros(row.at), row.activity_pk, row.name) for row in rows]


def with_name(tx: sa.Connection, name: str) -> list[tuple[Namespace, Moment]]:
    """The snapshots of this name in all namespaces, oldest first."""
    query = (
        sa.select(moments, namespaces.c.path)
        .join(namespaces, namespaces.c.pk == moments.c.namespace_pk)
        .where(moments.c.name == name)
        .order_by(moments.c.activity_pk)
    )
    return [
        (tuple(json.loads(row.path)), Moment(from_micros(row.at), row.activity_pk, row.name))
        for row in tx.execute(query)
    ]


def name(tx: sa.Connection, namespace_pk: int, moment: Moment) -> None:
    """Keep a moment under its name; the name is free."""
    tx.execute(
        sa.insert(moments).values(
            namespace_pk=namespace_pk,
            name=moment.name,
            activity_pk=moment.activity_pk,
            at=to_micros(moment.at),
        )
    )


def forget(tx: sa.Connection, namespace_pk: int, name: str) -> bool:
    """Forget a name; whether it was there."""
    where = moments.c.namespace_pk == namespace_pk, moments.c.name == name
    return tx.execute(sa.delete(moments).where(*where)).rowcount > 0
