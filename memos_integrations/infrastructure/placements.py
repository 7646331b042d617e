"""Which memory stood in which prompt, and where: kept in memory, written with a later commit.

As with the counters of use: what was not written yet when a process dies is lost, memories
never are.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert as upsert

from memos_integrations.cube import MemCube
from memos_integrations.infrastructure.schema import (
    cubes,
    from_micros,
    placements,
    to_micros,
    tombstones,
)
from memos_integrations.query import Use

FLUSH_AT = 1_000
"""Placements noted before they are written on their own."""

_Row = tuple[int, int, int]
"""version, position, microseconds"""


class Placements:
    """Placements that are not in the database yet. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._new: dict[tuple[str, str], _Row] = {}

    def note(self, shown: Sequence[MemCube], prompt: str, at: datetime) -> bool:
        """``shown`` stood in ``prompt``, in this order; ``True`` when there is enough to write."""
        moment = to_micros(at)
        with self._lock:
            for position, cube in enumerate(shown):
                self._new[cube.id, prompt] = (cube.version, position, moment)
            return len(self._new) >= FLUSH_AT

    def flush(self, tx: sa.Connection) -> None:
        """Write and forget what was noted; noted again if the transaction fails."""
        with self._lock:
            fresh, self._new = self._new, {}
        if not fresh:
            return
        try:
            self._write(tx, fresh)
        except BaseException:  # whatever it was: what is not written is written later
            with self._lock:
                self._new = {**fresh, **self._new}
            raise

    def _write(self, tx: sa.Connection, fresh: dict[tuple[str, str], _Row]) -> None:
        wanted = sorted({cube_id for cube_id, _ in fresh})
        pks: dict[str, int] = {}
        for start in range(0, len(wanted), 500):
            page = wanted[start : start + 500]
            query = sa.select(cubes.c.id, cubes.c.pk).where(cubes.c.id.in_(page))
            found = tx.execute(query.where(cubes.c.pk.not_in(sa.select(tombstones.c.cube_pk))))
            pks.update((cube_id, pk) for cube_id, pk in found)
        rows = [
            {
                "cube_pk": pks[cube_id],
                "prompt": prompt,
                "version": version,
                "position": position,
                "at": at,
            }
            for (cube_id, prompt), (version, position, at) in fresh.items()
            if cube_id in pks
        ]
        if rows:
            statement = upsert(placements)
            changed = {name: statement.excluded[name] for name in ("version", "position", "at")}
            tx.execute(
                statement.on_conflict_do_update(
                    index_elements=[placements.c.cube_pk, placements.c.prompt], set_=changed
                ),
                rows,
            )

    def of(self, tx: sa.Connection, cube_pk: int, cube_id: str) -> list[Use]:
        """Every prompt that a cube stood in, oldest first."""
        rows = tx.execute(sa.select(placements).where(placements.c.cube_pk == cube_pk))
        known = {row.prompt: (row.version, row.position, row.at) for row in rows}
        with self._lock:
            known |= {prompt: row for (of, prompt), row in self._new.items() if of == cube_id}
        uses = [
            Use(prompt=prompt, position=position, version=version, at=from_micros(at))
            for prompt, (version, position, at) in known.items()
        ]
        return sorted(uses, key=lambda use: (use.at, use.prompt))
