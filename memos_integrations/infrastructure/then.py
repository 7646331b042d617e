"""What was there at a moment of the past, as conditions and statements of SQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from memos_integrations.cube import MemCube
from memos_integrations.infrastructure import lookups, transitions
from memos_integrations.infrastructure.driver import hot
from memos_integrations.infrastructure.filters import Clause
from memos_integrations.infrastructure.lookups import HIDDEN
from memos_integrations.infrastructure.moments import Moment
from memos_integrations.infrastructure.schema import cubes, to_micros, versions
from memos_integrations.infrastructure.schema import transitions as passages

# The same conditions as in `Then.alive`, for a few keys: asked several times in each search.
_VERSION = (
    "(SELECT each.pk FROM versions AS each WHERE each.cube_pk = cubes.pk "
    "AND each.activity_pk <= ? ORDER BY each.version DESC LIMIT 1)"
)
_AWAY = ", ".join(repr(one.value) for one in HIDDEN)
_GATE = (
    "SELECT cubes.pk FROM json_each(?) AS found CROSS JOIN cubes ON cubes.pk = found.value "
    f"CROSS JOIN versions ON versions.pk = {_VERSION} "
    "WHERE cubes.namespace_pk = ? AND (cubes.deleted_by IS NULL OR cubes.deleted_by > ?) "
    "AND cubes.quarantined IS NULL AND cubes.pk NOT IN (SELECT cube_pk FROM tombstones) "
    "AND coalesce((SELECT after FROM transitions WHERE cube_pk = cubes.pk AND activity_pk <= ? "
    f"ORDER BY pk DESC LIMIT 1), '') NOT IN ({_AWAY}, '{transitions.DELETED}') "
    "AND (versions.expires_at IS NULL OR max(versions.expires_at, cubes.expires_at) > ?)"
)
_LOAD = (
    "SELECT cubes.pk, versions.body, CASE WHEN versions.expires_at IS NULL THEN NULL "
    "ELSE max(versions.expires_at, cubes.expires_at) END "
    "FROM json_each(?) AS found CROSS JOIN cubes ON cubes.pk = found.value "
    f"CROSS JOIN versions ON versions.pk = {_VERSION}"
)


@dataclass(frozen=True)
class Then:
    """A moment, as what is asked of cubes and of their versions then."""

    moment: Moment

    def load(self, tx: sa.Connection, cube_pks: Sequence[int]) -> dict[int, MemCube]:
        """The versions of that moment by key, in their states then; without counters."""
        then, asked = self.moment.activity_pk, json.dumps(list(cube_pks))
        states = transitions.states_at(tx, asked, then)
        found = {
            pk: lookups.read_cube(body, expires_at, states[pk].value)
            for pk, body, expires_at in hot(tx, _LOAD, asked, then)
        }
        return {pk: found[pk] for pk in cube_pks if pk in found}

    def passing(self, tx: sa.Connection, space_pk: int, cube_pks: Sequence[int]) -> set[int]:
        """Those of these cubes that a search could see then."""
        then, asked = self.moment.activity_pk, json.dumps(list(cube_pks))
        values = asked, then, space_pk, then, then, to_micros(self.moment.at)
        return {pk for (pk,) in hot(tx, _GATE, *values)}

    def rows(self) -> sa.Join:
        """Every cube of that moment with its version then."""
        each = versions.alias("each")
        newest = (
            sa.select(each.c.pk)
            .where(each.c.cube_pk == cubes.c.pk, each.c.activity_pk <= self.moment.activity_pk)
            .order_by(each.c.version.desc())
            .limit(1)
            .scalar_subquery()
        )
        return cubes.join(versions, versions.c.pk == newest)

    def undeleted(self) -> Clause:
        """That it was neither deleted then nor is erased now."""
        there = sa.or_(cubes.c.deleted_by.is_(None), cubes.c.deleted_by > self.moment.activity_pk)
        erased = cubes.c.pk.in_(lookups.ERASED)
        return sa.and_(there, self._state() != transitions.DELETED, sa.not_(erased))

    def alive(self, space_pk: int) -> list[Clause]:
        """What a search could see then."""
        life = self._life()
        return [
            cubes.c.namespace_pk == space_pk,
            self.undeleted(),
            cubes.c.quarantined.is_(None),
            self._state().not_in([one.value for one in HIDDEN]),
            sa.or_(life.is_(None), life > to_micros(self.moment.at)),
        ]

    def _state(self) -> sa.ColumnElement[str]:
        """The state then; empty for one that was never moved."""
        state = (
            sa.select(passages.c.after)
            .where(
                passages.c.cube_pk == cubes.c.pk,
                passages.c.activity_pk <= self.moment.activity_pk,
            )
            .order_by(passages.c.pk.desc())
            .limit(1)
            .scalar_subquery()
        )
        return sa.func.coalesce(state, "")

    def _life(self) -> sa.ColumnElement[int | None]:
        """When it was to expire: a use may have prolonged that since."""
        longer = sa.func.max(versions.c.expires_at, cubes.c.expires_at)
        return sa.case((versions.c.expires_at.is_(None), None), else_=longer).label("life")
