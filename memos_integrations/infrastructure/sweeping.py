"""The sweep: what has outlived its retention is put away, in the state ``expired``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.cube import State
from memos_integrations.infrastructure import records, retention, transitions
from memos_integrations.infrastructure.access import at_or_below
from memos_integrations.infrastructure.retention import RetentionRules, Rule
from memos_integrations.infrastructure.schema import cubes, namespaces, tombstones
from memos_integrations.infrastructure.vault import MemVault

TOGETHER = 500
"""Memories that a sweep puts away in one transaction."""
_EXPIRING = (State.GENERATED, State.ACTIVATED, State.ARCHIVED)


@dataclass(frozen=True)
class Due:
    """A memory that has ended, and by which rule."""

    memory_id: str
    namespace: Namespace
    rule: Rule
    state: State
    pk: int
    """Internal."""

    def __str__(self) -> str:
        return f"{self.memory_id} ({'/'.join(self.namespace)}): {self.rule}"


def due(
    tx: sa.Connection,
    vault: MemVault,
    below: Namespace,
    *,
    states: tuple[State, ...] = _EXPIRING,
    deleted: bool = False,
    limit: int | None = None,
) -> list[Due]:
    """What has ended at and below a namespace, in the order it was made, and is not held."""
    rules: RetentionRules = vault.retention
    if all(one.kind == "hold" for one in rules.rules):
        return []
    which = rules.due(vault.now(), vault.usage.waiting())
    head = retention.CURRENT
    query = (
        sa.select(cubes.c.pk, cubes.c.id, namespaces.c.path, cubes.c.state, which.label("rule"))
        .join(namespaces, namespaces.c.pk == cubes.c.namespace_pk)
        .join(head, head.c.pk == cubes.c.head_pk)
        .where(
            *at_or_below(below),
            cubes.c.state.in_([one.value for one in states]),
            cubes.c.pk.not_in(sa.select(tombstones.c.cube_pk)),
            which.is_not(None),
        )
        .order_by(cubes.c.pk)
        .limit(limit)
    )
    if not deleted:
        query = query.where(cubes.c.deleted_by.is_(None))
    return [_due(row, rules) for row in tx.execute(query)]


def _due(row: sa.Row[Any], rules: RetentionRules) -> Due:
    path = tuple(json.loads(row.path))
    return Due(row.id, path, rules.rules[row.rule], State(row.state), row.pk)


def sweep(vault: MemVault, below: Namespace, activity: Callable[[], records.Activity]) -> list[Due]:
    """Put away what has ended at and below a namespace; return it."""

    def work(tx: sa.Connection) -> tuple[list[Due], bool]:
        found = due(tx, vault, below, limit=TOGETHER)
        for path in dict.fromkeys(one.namespace for one in found):
            activity_pk = records.insert_activity(
                tx, records.ensure_namespace(tx, path).pk, activity()
            )
            for rule in dict.fromkeys(one.rule for one in found if one.namespace == path):
                moves = [
                    (one.pk, one.state, State.EXPIRED)
                    for one in found
                    if (one.namespace, one.rule) == (path, rule)
                ]
                transitions.move(tx, activity_pk, moves, f"retention {rule.id}: {rule.kind}")
        return found, False

    swept: list[Due] = []
    with vault.reading() as (tx, _):
        nothing = not due(tx, vault, below, limit=1)
    while not nothing and (found := vault.commit(work)):
        vault.tell([one.memory_id for one in found])
        swept += found
    return swept
