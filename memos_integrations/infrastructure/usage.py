"""Behaviour counters: kept beside the versions, counted in memory, written with a later commit.

A use is a recall by search. Counts that were not written yet when a process dies are lost;
memories never are.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert as upsert

from memos_integrations.cube import Behaviour, MemCube, State
from memos_integrations.infrastructure import crashpoints
from memos_integrations.infrastructure.driver import hot
from memos_integrations.infrastructure.schema import from_micros, to_micros, usage

HALF_LIFE_DAYS = 7.0
_HALF_LIFE = HALF_LIFE_DAYS * 86_400 * 1_000_000
FLUSH_AT = 256
"""Distinct memories recalled before the counters are written on their own."""

_STORED = (
    "SELECT usage.cube_pk, usage.uses, usage.last_used_at, usage.heat FROM json_each(?) AS found "
    "CROSS JOIN usage ON usage.cube_pk = found.value"
)

Count = tuple[int, int, float]
"""uses, microseconds of the last use, heat at the last use"""


class UsageCounters:
    """Uses that are not in the database yet. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._new: dict[int, Count] = {}

    def record(self, cube_pks: Iterable[int], at: datetime) -> bool:
        """Count one use each; ``True`` when there is enough to write."""
        moment = to_micros(at)
        with self._lock:
            for pk in cube_pks:
                self._new[pk] = _sum(self._new.get(pk), (1, moment, 1.0))
            return len(self._new) >= FLUSH_AT

    def waiting(self) -> dict[int, int]:
        """The last uses that are not written yet: microseconds, by key."""
        with self._lock:
            return {pk: count[1] for pk, count in self._new.items()}

    def flush(self, tx: sa.Connection) -> list[int]:
        """Write and forget what was counted; return whose. Counted again if it fails."""
        with self._lock:
            fresh, self._new = self._new, {}
        if not fresh:
            return []
        try:
            stored = _stored(tx, fresh)
            rows = [_row(pk, _sum(stored.get(pk), new)) for pk, new in fresh.items()]
            statement = upsert(usage)
            tx.execute(
                statement.on_conflict_do_update(
                    index_elements=[usage.c.cube_pk],
                    set_={
                        name: statement.excluded[name] for name in ("uses", "last_used_at", "heat")
                    },
                ),
                rows,
            )
            crashpoints.reach("usage-flushed")
        except BaseException:  # whatever it was: what is not written is counted again later
            with self._lock:
                for pk, count in fresh.items():
                    self._new[pk] = _sum(self._new.get(pk), count)
            raise
        return list(fresh)

    def attach(
        self, tx: sa.Connection, found: dict[int, MemCube], now: datetime
    ) -> dict[int, MemCube]:
        """The cubes with their counters as of ``now``."""
        stored = _stored(tx, found)
        with self._lock:
            fresh = {pk: self._new[pk] for pk in found if pk in self._new}
        return {
            pk: _with(cube, _sum(stored.get(pk), fresh[pk]) if pk in fresh else stored.get(pk), now)
            for pk, cube in found.items()
        }


def _stored(tx: sa.Connection, pks: Iterable[int]) -> dict[int, Count]:
    rows = hot(tx, _STORED, json.dumps(list(pks)))
    return {pk: (uses, last_used_at, heat) for pk, uses, last_used_at, heat in rows}


def _row(pk: int, count: Count) -> dict[str, object]:
    return {"cube_pk": pk, "uses": count[0], "last_used_at": count[1], "heat": count[2]}


def _sum(one: Count | None, other: Count) -> Count:
    if one is None:
        return other
    last = max(one[1], other[1])
    return one[0] + other[0], last, _cooled(one, last) + _cooled(other, last)


def _cooled(count: Count, moment: int) -> float:
    """Heat halves every :data:`HALF_LIFE_DAYS`."""
    return float(count[2] * 0.5 ** (max(0, moment - count[1]) / _HALF_LIFE))


def _with(cube: MemCube, count: Count | None, now: datetime) -> MemCube:
    if count is None:
        return cube
    before = cube.header.behaviour
    behaviour = Behaviour(
        uses=count[0],
        last_used_at=from_micros(count[1]),
        heat=_cooled(count, to_micros(now)),
        context_fingerprint=before.context_fingerprint,
        previous_version=before.previous_version,
    )
    header = cube.header.model_copy(update={"behaviour": behaviour})
    # The first use activates; the record of it is written with the counters.
    state = State.ACTIVATED if cube.state is State.GENERATED else cube.state
    return cube.model_copy(update={"header": header, "state": state})
