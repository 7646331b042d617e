"""Memories that no search, cache or prompt has until somebody has looked at them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from memos_integrations.cube import MemCube
from memos_integrations.infrastructure import lookups, transitions
from memos_integrations.infrastructure.driver import hot
from memos_integrations.infrastructure.lookups import HEADS, Head, read_cube
from memos_integrations.infrastructure.schema import cubes, versions

RELEASED = "released from quarantine"

_PUT = "UPDATE cubes SET quarantined = ? WHERE id = ?"
_COPY = (
    "UPDATE cubes SET quarantined = (SELECT quarantined FROM cubes AS origin WHERE origin.pk = ?) "
    "WHERE pk = ? AND quarantined IS NULL"
)
_INHERIT = (
    "UPDATE cubes SET quarantined = (SELECT source.quarantined FROM json_each(?) AS asked "
    "CROSS JOIN cubes AS source ON source.id = asked.value "
    "WHERE source.quarantined IS NOT NULL LIMIT 1) WHERE id = ? AND quarantined IS NULL"
)


@dataclass(frozen=True)
class Quarantined:
    """A memory in quarantine, and what it looked like."""

    cube: MemCube
    why: str


def put(tx: sa.Connection, cube_id: str, why: str) -> None:
    """Keep a memory out of searches from now on."""
    hot(tx, _PUT, why, cube_id)


def copy(tx: sa.Connection, pairs: Iterable[tuple[int, int]]) -> None:
    """What is copied from a memory in quarantine is in quarantine: ``(from, to)``, cube keys."""
    tx.exec_driver_sql(_COPY, [*pairs])


def inherit(tx: sa.Connection, cube_id: str, source_ids: Iterable[str]) -> None:
    """What is made of a memory in quarantine is in quarantine."""
    hot(tx, _INHERIT, json.dumps([*source_ids]), cube_id)


def held(tx: sa.Connection, namespace_pk: int) -> list[Quarantined]:
    """Those of a namespace, oldest first."""
    where = [*lookups.readable(namespace_pk), cubes.c.quarantined.is_not(None)]
    columns = versions.c.body, cubes.c.expires_at, cubes.c.state, cubes.c.quarantined
    rows = tx.execute(sa.select(*columns).select_from(HEADS).where(*where).order_by(cubes.c.id))
    return [
        Quarantined(read_cube(body, expires_at, state), why)
        for body, expires_at, state, why in rows
    ]


def is_held(tx: sa.Connection, cube_pk: int) -> bool:
    """Whether a memory is in quarantine."""
    held = sa.select(cubes.c.quarantined).where(cubes.c.pk == cube_pk)
    return tx.execute(held).scalar() is not None


def release(tx: sa.Connection, activity_pk: int, head: Head) -> None:
    """Let searches find a memory again; it stands in its life who did it."""
    state = head.cube.state
    transitions.move(tx, activity_pk, [(head.cube_pk, state, state)], RELEASED)
    which = sa.update(cubes).where(cubes.c.pk == head.cube_pk)
    tx.execute(which.values(quarantined=None))
