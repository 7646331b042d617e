"""What happened to memories since somebody last asked, in every namespace of a store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from memos_integrations.cube import State
from memos_integrations.infrastructure.schema import (
    activities,
    cubes,
    embeddings,
    from_micros,
    placements,
    to_micros,
    transitions,
    usage,
    versions,
)


@dataclass(frozen=True)
class Since:
    """A place in the history: what comes after it is new."""

    activity_pk: int = 0
    micros: int = 0

    def __str__(self) -> str:
        return json.dumps([self.activity_pk, self.micros])

    @classmethod
    def read(cls, text: str | None) -> Since:
        """The inverse of ``str``; the beginning for ``None``."""
        return cls(*json.loads(text)) if text else cls()


@dataclass(frozen=True)
class Touched:
    """A memory that was written, deleted or whose state changed, as it is now."""

    cube_id: str
    version: int
    at: datetime
    activity_pk: int
    """The activity that wrote it."""
    state: State
    is_deleted: bool
    size: int
    """Bytes."""
    labels: tuple[str, ...]
    priority: int
    expires_at: datetime | None
    vector: bytes | None
    """float32, little-endian, unit length."""


@dataclass(frozen=True)
class Together:
    """Memories that stood in one prompt, in their order, or that were recalled at one moment."""

    cube_ids: tuple[str, ...]
    at: datetime


@dataclass(frozen=True)
class Happenings:
    """All that is new, and up to where."""

    touched: list[Touched]
    prompts: list[Together]
    recalls: list[Together]
    upto: Since


def count(tx: sa.Connection) -> int:
    """How many memories there are, deleted ones among them."""
    return tx.execute(sa.select(sa.func.count()).select_from(cubes)).scalar_one()


def read(
    tx: sa.Connection, since: Since, now: datetime, *, vectors: bool, also: Sequence[str] = ()
) -> Happenings:
    """What is new up to ``now``; each list oldest first. ``also``: memories, new or not."""
    newest = tx.execute(sa.select(sa.func.max(activities.c.pk))).scalar() or 0
    upto = Since(newest, max(since.micros, to_micros(now)))
    return Happenings(
        _touched(tx, since, vectors, also),
        _prompts(tx, since, upto),
        _recalls(tx, since, upto),
        upto,
    )


def _touched(tx: sa.Connection, since: Since, vectors: bool, also: Sequence[str]) -> list[Touched]:
    asked = sa.func.json_each(json.dumps(list(also))).table_valued("value")
    moved = sa.select(transitions.c.cube_pk).where(transitions.c.activity_pk > since.activity_pk)
    query = (
        sa.select(
            cubes.c.id,
            cubes.c.state,
            cubes.c.deleted_by,
            cubes.c.expires_at,
            versions.c.version,
            versions.c.priority,
            sa.func.length(versions.c.body).label("size"),
            sa.func.json_extract(versions.c.body, "$.header.descriptive.tags").label("tags"),
            versions.c.activity_pk,
            activities.c.at,
            embeddings.c.vector if vectors else sa.null().label("vector"),
        )
        .join(versions, versions.c.pk == cubes.c.head_pk)
        .join(activities, activities.c.pk == versions.c.activity_pk)
        .where(
            versions.c.memory_type == "plaintext",
            sa.or_(
                versions.c.activity_pk > since.activity_pk,
                cubes.c.deleted_by > since.activity_pk,
                cubes.c.pk.in_(moved),
                cubes.c.id.in_(sa.select(asked.c.value)),
            ),
        )
        .order_by(activities.c.at, cubes.c.pk)
    )
    if vectors:
        query = query.outerjoin(embeddings, embeddings.c.cube_pk == cubes.c.pk)
    return [
        Touched(
            row.id,
            row.version,
            from_micros(row.at),
            row.activity_pk,
            State(row.state),
            row.deleted_by is not None,
            row.size,
            tuple(json.loads(row.tags or "[]")),
            row.priority,
            None if row.expires_at is None else from_micros(row.expires_at),
            row.vector,
        )
        for row in tx.execute(query)
    ]


def _prompts(tx: sa.Connection, since: Since, upto: Since) -> list[Together]:
    rows = tx.execute(
        sa.select(placements.c.prompt, placements.c.at, cubes.c.id)
        .join(cubes, cubes.c.pk == placements.c.cube_pk)
        .where(placements.c.at > since.micros, placements.c.at <= upto.micros)
        .order_by(placements.c.at, placements.c.prompt, placements.c.position, cubes.c.id)
    )
    found: dict[tuple[str, int], list[str]] = {}
    for prompt, at, cube_id in rows:
        found.setdefault((prompt, at), []).append(cube_id)
    return [Together(tuple(ids), from_micros(at)) for (_, at), ids in found.items()]


def _recalls(tx: sa.Connection, since: Since, upto: Since) -> list[Together]:
    rows = tx.execute(
        sa.select(usage.c.last_used_at, cubes.c.id)
        .join(cubes, cubes.c.pk == usage.c.cube_pk)
        .where(usage.c.last_used_at > since.micros, usage.c.last_used_at <= upto.micros)
        .order_by(usage.c.last_used_at, cubes.c.id)
    )
    found: dict[int, list[str]] = {}
    for at, cube_id in rows:
        found.setdefault(at, []).append(cube_id)
    return [Together(tuple(ids), from_micros(at)) for at, ids in found.items()]
