"""Retention: how long memories may be found, and which must not go.

What has outlived a rule is left out inside the query that looks for candidates, at that second;
:mod:`memos_integrations.infrastructure.sweeping` puts it away later. Of several rules of a kind
the closest counts: one for the memory, then one of a deeper namespace, then one for its type, then
the newest. A legal hold stands above them all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.errors import LegalHoldError
from memos_integrations.infrastructure import audit
from memos_integrations.infrastructure.access import AccessRules, Asker, at_or_below
from memos_integrations.infrastructure.driver import hot
from memos_integrations.infrastructure.filters import Clause
from memos_integrations.infrastructure.schema import (
    cubes,
    from_micros,
    namespaces,
    retention,
    to_micros,
    usage,
    versions,
)

Kind = Literal["ttl", "decay", "hold"]
"""``ttl``: so long after it was last written; ``decay``: so long after it was last used."""
Recent = Mapping[int, int]
"""Uses that are counted in memory: microseconds of the last one, by key."""

_MICROS = 1_000_000
CURRENT = versions.alias("retained")
"""A cube's current version."""


@dataclass(frozen=True)
class Rule:
    """One rule, over a namespace and all below it, or a part of that."""

    id: str
    kind: Kind
    namespace: Namespace
    reason: str
    set_by: str
    at: datetime
    seconds: int | None = None
    """``None``, but for a hold: without end, where a wider rule says otherwise."""
    semantic_type: str | None = None
    memory_id: str | None = None
    lifted_by: str | None = None
    lifted_at: datetime | None = None

    @property
    def closeness(self) -> tuple[bool, int, bool]:
        """Of two rules, the one that counts has the greater."""
        return self.memory_id is not None, len(self.namespace), self.semantic_type is not None

    def fits(self, path: Namespace, memory_id: str, semantic_type: str) -> bool:
        """Whether it is about this memory."""
        return (
            path[: len(self.namespace)] == self.namespace
            and self.memory_id in (None, memory_id)
            and self.semantic_type in (None, semantic_type)
        )

    def __str__(self) -> str:
        about = [
            "/".join(self.namespace),
            *([f"type {self.semantic_type}"] if self.semantic_type else []),
            *([f"memory {self.memory_id}"] if self.memory_id else []),
        ]
        ends = "for ever" if self.seconds is None else f"{self.seconds} s"
        said = {"ttl": f"kept {ends}", "decay": f"kept {ends} unused", "hold": "legal hold"}
        return f"{said[self.kind]} ({', '.join(about)}): {self.reason}"


@dataclass(frozen=True)
class RetentionRules:
    """The rules in force, oldest first."""

    rules: tuple[Rule, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.rules)

    def at(self, path: Namespace) -> RetentionRules:
        """Those that speak of one namespace."""
        there = [one for one in self.rules if path[: len(one.namespace)] == one.namespace]
        return replace(self, rules=tuple(there))

    @property
    def holds(self) -> list[Rule]:
        """The legal holds."""
        return [one for one in self.rules if one.kind == "hold"]

    def kept(self, now: datetime, recent: Recent, *, below: bool = False) -> list[Clause]:
        """The condition on a query over ``cubes``; none if no rule speaks of what it looks at.

        ``below``: the query is over ``cubes`` and ``namespaces`` of any path; otherwise over one
        namespace, and these are the rules of :meth:`at`.
        """
        if all(one.kind == "hold" for one in self.rules):
            return []
        over = sa.select(sa.literal(1)).where(
            CURRENT.c.pk == cubes.c.head_pk, self.due(now, recent, below=below).is_not(None)
        )
        return [sa.not_(sa.exists(over.correlate(cubes, namespaces)))]

    def due(
        self, now: datetime, recent: Recent, *, below: bool = True
    ) -> sa.ColumnElement[int | None]:
        """In a query over ``cubes`` and their current version: the place in ``rules`` of the rule
        by which a memory has ended; NULL if none has, or if it is held."""
        held = [self._about(one, below) for one in self.holds if one.memory_id is None]
        named = [one for one in self.holds if one.memory_id is not None]
        if named:
            held.append(cubes.c.id.in_(_each([one.memory_id for one in named])))
        ended = [
            ending
            for kind in ("ttl", "decay")
            if (ending := self._ending(kind, now, recent, below)) is not None
        ]
        first: Any = sa.func.coalesce(*ended, sa.null()) if ended else sa.null()
        return sa.case((sa.or_(*held), None), else_=first) if held else first

    def _ending(
        self, kind: str, now: datetime, recent: Recent, below: bool
    ) -> sa.ColumnElement[int | None] | None:
        """The place of the closest rule of a kind, if what it gives is over."""
        placed = [(place, one) for place, one in enumerate(self.rules) if one.kind == kind]
        if not placed:
            return None
        placed.sort(key=lambda pair: (pair[1].closeness, pair[0]), reverse=True)
        return sa.case(
            *(
                (self._about(one, below), sa.case((_over(one, now, recent), place), else_=None))
                for place, one in placed
            ),
            else_=None,
        )

    def _about(self, rule: Rule, below: bool) -> Clause:
        conditions: list[Clause] = [sa.true()]
        if below:
            conditions += at_or_below(rule.namespace)
        if rule.memory_id is not None:
            conditions.append(cubes.c.id == rule.memory_id)
        if rule.semantic_type is not None:
            conditions.append(CURRENT.c.semantic_type == rule.semantic_type)
        return sa.and_(*conditions)


def _over(rule: Rule, now: datetime, recent: Recent) -> Clause:
    if rule.seconds is None:
        return sa.false()
    since = to_micros(now) - rule.seconds * _MICROS
    if rule.kind == "ttl":
        return CURRENT.c.created_at <= since
    of_it = sa.select(usage.c.last_used_at).where(usage.c.cube_pk == cubes.c.pk)
    last = of_it.correlate(cubes).scalar_subquery()
    unused = sa.and_(CURRENT.c.created_at <= since, sa.func.coalesce(last, 0) <= since)
    later = [pk for pk, at in recent.items() if at > since]
    return sa.and_(unused, cubes.c.pk.not_in(_each(later))) if later else unused


def _each(values: Iterable[object]) -> sa.Select[Any]:
    each = sa.func.json_each(json.dumps(list(values))).table_valued("value")
    return sa.select(each.c.value)


# Rows ------------------------------------------------------------------------------------------


def read_rules(tx: sa.Connection, *, lifted: bool = False) -> RetentionRules:
    """The rules in force; with ``lifted`` also those that were."""
    query = sa.select(retention).order_by(retention.c.pk)
    if not lifted:
        query = query.where(retention.c.lifted_at.is_(None))
    return RetentionRules(tuple(map(_rule, tx.execute(query))))


def insert_rule(tx: sa.Connection, rule: Rule) -> None:
    """Write a rule down."""
    tx.execute(
        sa.insert(retention).values(
            id=rule.id,
            path=json.dumps(rule.namespace),
            semantic_type=rule.semantic_type,
            cube_id=rule.memory_id,
            kind=rule.kind,
            seconds=rule.seconds,
            reason=rule.reason,
            set_by=rule.set_by,
            at=to_micros(rule.at),
        )
    )


def lift_rule(tx: sa.Connection, rule_id: str, by: str, at: datetime) -> None:
    """End a rule; the row stays and says who did it, and when."""
    which = retention.c.id == rule_id, retention.c.lifted_at.is_(None)
    tx.execute(sa.update(retention).where(*which).values(lifted_by=by, lifted_at=to_micros(at)))


def _rule(row: sa.Row[Any]) -> Rule:
    return Rule(
        id=row.id,
        kind=row.kind,
        namespace=tuple(json.loads(row.path)),
        reason=row.reason,
        set_by=row.set_by,
        at=from_micros(row.at),
        seconds=row.seconds,
        semantic_type=row.semantic_type,
        memory_id=row.cube_id,
        lifted_by=row.lifted_by,
        lifted_at=None if row.lifted_at is None else from_micros(row.lifted_at),
    )


# Holds -----------------------------------------------------------------------------------------

_ENDED = (
    "SELECT cubes.id, path, semantic_type FROM cubes JOIN namespaces ON namespaces.pk = "
    "cubes.namespace_pk JOIN versions ON versions.pk = cubes.head_pk WHERE deleted_by = ?"
)
_RETYPED = (
    "SELECT cubes.id, path, before.semantic_type, after.semantic_type FROM versions AS after "
    "JOIN versions AS before ON before.cube_pk = after.cube_pk "
    "AND before.version = after.version - 1 JOIN cubes ON cubes.pk = after.cube_pk "
    "JOIN namespaces ON namespaces.pk = cubes.namespace_pk "
    "WHERE after.activity_pk = ? AND before.semantic_type != after.semantic_type"
)
_THESE = (
    "SELECT cubes.id, namespaces.path, semantic_type FROM json_each(?) AS asked "
    "CROSS JOIN cubes ON cubes.pk = asked.value JOIN namespaces ON namespaces.pk = "
    "cubes.namespace_pk JOIN versions ON versions.pk = cubes.head_pk"
)


def holder(rules: RetentionRules, path: Namespace, memory_id: str, kind: str) -> Rule | None:
    """The hold that keeps a memory, if one does."""
    return next((one for one in rules.holds if one.fits(path, memory_id, kind)), None)


def check(tx: sa.Connection, rules: RetentionRules, access: AccessRules, now: datetime) -> None:
    """Refuse a unit of work that took away what is held, or took it out of its hold."""
    if not rules.holds:
        return
    for deed in audit.noted(tx):
        for id, path, kind in hot(tx, _ENDED, deed.activity_pk):
            space = tuple(json.loads(path))
            if (hold := holder(rules, space, id, kind)) is not None:
                raise refusal(hold, id, space, deed.asker, access, now)
        for id, path, before, after in hot(tx, _RETYPED, deed.activity_pk):
            space = tuple(json.loads(path))
            hold = holder(rules, space, id, before)
            if hold is not None and holder(rules, space, id, after) is None:
                raise refusal(hold, id, space, deed.asker, access, now)


def held_among(
    tx: sa.Connection, rules: RetentionRules, cube_pks: Sequence[int]
) -> list[tuple[str, Namespace, Rule]]:
    """Those of these cubes that are held: id, namespace, hold."""
    if not rules.holds:
        return []
    rows = [
        (id, tuple(json.loads(path)), kind)
        for id, path, kind in hot(tx, _THESE, json.dumps(list(cube_pks)))
    ]
    found = ((id, path, holder(rules, path, id, kind)) for id, path, kind in rows)
    return [(id, path, hold) for id, path, hold in found if hold is not None]


def guard(
    rules: Callable[[], RetentionRules], access: AccessRules, asker: Asker | None, now: datetime
) -> Callable[[sa.Connection, Sequence[int]], None]:
    """Refuses an erasure that takes in something that is held."""

    def refuse(tx: sa.Connection, cube_pks: Sequence[int]) -> None:
        for id, path, hold in held_among(tx, rules(), cube_pks):
            if asker is None or not access.scope(asker, "write", path, now).empty:
                raise refusal(hold, id, path, asker, access, now)
            # Who may not write there is refused by the check of access, and learns no more.

    return refuse


def refusal(
    hold: Rule,
    memory_id: str,
    path: Namespace,
    asker: Asker | None,
    access: AccessRules,
    now: datetime,
) -> LegalHoldError:
    """Who set it, when and why is told to who may administer the place."""
    said = f"memory {memory_id} is under a legal hold: it stays until that is lifted"
    if asker is None or access.scope(asker, "administer", path, now).full:
        since = f"{hold.at:%Y-%m-%d %H:%M} UTC"
        return LegalHoldError(
            f"{said} (hold {hold.id}, set by {hold.set_by} on {since}: {hold.reason})", hold.id
        )
    return LegalHoldError(f"{said}; ask who administers {'/'.join(path)}")
