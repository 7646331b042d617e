"""What the scheduler decided, written before it is done: nothing is lost, nothing done twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.infrastructure.schema import (
    cubes,
    from_micros,
    jobs,
    namespaces,
    settings,
    to_micros,
)

Status = Literal["waiting", "done", "skipped", "failed"]

ATTEMPTS = 3
"""How often a job is tried."""

_CURSOR = "scheduler"
_REFUSED = "untrained:"


@dataclass(frozen=True)
class Job:
    """One decision about one memory, and what came of it; as a string, a line to read."""

    pk: int
    cube_id: str
    namespace: Namespace
    kind: str
    source: str
    target: str | None
    reason: str
    at: datetime
    status: Status
    attempts: int
    outcome: str
    """Why it was skipped or failed; empty otherwise."""

    def __str__(self) -> str:
        came = f"{self.status}: {self.outcome}" if self.outcome else self.status
        return (
            f"{self.at:%Y-%m-%d %H:%M} {self.kind} {self.source} → {self.target or 'out'} "
            f"({self.reason}): {came}"
        )


@dataclass(frozen=True)
class NewJob:
    """A decision to be written."""

    cube_id: str
    kind: str
    source: str
    target: str | None
    reason: str
    at: datetime


def write(tx: sa.Connection, new: Sequence[NewJob], cursor: str) -> None:
    """Write decisions, and up to where the events are decided."""
    wanted = sorted({one.cube_id for one in new})
    pks: dict[str, int] = {}
    for start in range(0, len(wanted), 500):
        page = wanted[start : start + 500]
        found = tx.execute(sa.select(cubes.c.id, cubes.c.pk).where(cubes.c.id.in_(page)))
        pks.update((cube_id, pk) for cube_id, pk in found)
    rows = [
        {
            "cube_pk": pks[one.cube_id],
            "kind": one.kind,
            "source": one.source,
            "target": one.target,
            "reason": one.reason,
            "at": to_micros(one.at),
            "status": "waiting",
            "attempts": 0,
            "outcome": "",
        }
        for one in new
    ]
    if rows:
        tx.execute(sa.insert(jobs), rows)
    tx.execute(sa.delete(settings).where(settings.c.key == _CURSOR))
    tx.execute(sa.insert(settings).values(key=_CURSOR, value=cursor))


def cursor(tx: sa.Connection) -> str | None:
    """Up to where the events are decided."""
    return tx.execute(sa.select(settings.c.value).where(settings.c.key == _CURSOR)).scalar()


def waiting(tx: sa.Connection) -> list[Job]:
    """What is still to be done, in the order of the decisions."""
    return _read(tx, jobs.c.status == "waiting")


def of(tx: sa.Connection, cube_id: str) -> list[Job]:
    """Every decision about a memory, oldest first."""
    return _read(tx, cubes.c.id == cube_id)


def latest(tx: sa.Connection, limit: int) -> list[Job]:
    """The latest decisions, oldest first."""
    return _read(tx, sa.true(), limit)


def end(tx: sa.Connection, pk: int, status: Status, outcome: str, at: datetime) -> None:
    """A job is over; what was done stays done, whoever comes later."""
    changed = {"status": status, "outcome": outcome, "finished_at": to_micros(at)}
    waits = jobs.c.pk == pk, jobs.c.status == "waiting"
    tx.execute(sa.update(jobs).where(*waits).values(**changed))


def refuse(tx: sa.Connection, path: Namespace, what: str, why: str) -> None:
    """What was trained last in a namespace was not kept; ``what`` tells it from other trainings."""
    forgive(tx, path)
    note = json.dumps([what, why])
    tx.execute(sa.insert(settings).values(key=_REFUSED + json.dumps(path), value=note))


def forgive(tx: sa.Connection, path: Namespace) -> None:
    """Forget it."""
    tx.execute(sa.delete(settings).where(settings.c.key == _REFUSED + json.dumps(path)))


def refused(tx: sa.Connection) -> dict[Namespace, tuple[str, str]]:
    """By namespace: what was trained last and not kept, and why."""
    rows = tx.execute(sa.select(settings).where(settings.c.key.startswith(_REFUSED)))
    found = {}
    for key, note in rows:
        what, why = json.loads(note)
        found[tuple(json.loads(key.removeprefix(_REFUSED)))] = what, why
    return found


def count_attempt(tx: sa.Connection, pk: int) -> None:
    """A job is begun."""
    more = sa.update(jobs).where(jobs.c.pk == pk).values(attempts=jobs.c.attempts + 1)
    tx.execute(more)


def find(tx: sa.Connection, pk: int) -> Job | None:
    """One job."""
    found = _read(tx, jobs.c.pk == pk)
    return found[0] if found else None


def _read(tx: sa.Connection, where: sa.ColumnElement[bool], limit: int | None = None) -> list[Job]:
    query = (
        sa.select(jobs, cubes.c.id.label("cube_id"), namespaces.c.path)
        .join(cubes, cubes.c.pk == jobs.c.cube_pk)
        .join(namespaces, namespaces.c.pk == cubes.c.namespace_pk)
        .where(where)
        .order_by(jobs.c.pk.desc())
        .limit(limit)
    )
    return [
        Job(
            row.pk,
            row.cube_id,
            tuple(json.loads(row.path)),
            row.kind,
            row.source,
            row.target,
            row.reason,
            from_micros(row.at),
            row.status,
            row.attempts,
            row.outcome,
        )
        for row in reversed(tx.execute(query).all())
    ]
