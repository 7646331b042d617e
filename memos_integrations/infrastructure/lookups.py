"""Reading cubes from SQL. Every function takes the transaction it reads in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.cube import MemCube, State
from memos_integrations.infrastructure.driver import hot
from memos_integrations.infrastructure.filters import Clause
from memos_integrations.infrastructure.schema import (
    activities,
    cubes,
    from_micros,
    namespaces,
    to_micros,
    tombstones,
    versions,
)

HIDDEN = (State.MERGED, State.ARCHIVED, State.EXPIRED)
"""States that searches leave out."""


@dataclass(frozen=True)
class NamespaceRow:
    """A namespace as it stands in one transaction."""

    pk: int
    live: int
    collection: str | None
    path: Namespace


@dataclass(frozen=True)
class Head:
    """The current version of a cube, with its internal keys."""

    cube_pk: int
    version_pk: int
    cube: MemCube


_NAMESPACE = "SELECT pk, live, collection FROM namespaces WHERE path = ?"
_PENDING = "SELECT DISTINCT cube_pk FROM outbox WHERE namespace_pk = ? LIMIT ?"


def find_namespace(tx: sa.Connection, path: Namespace) -> NamespaceRow | None:
    """The namespace, or ``None`` if nothing was ever written there."""
    for pk, live, collection in hot(tx, _NAMESPACE, json.dumps(path)):
        return NamespaceRow(pk, live, collection, path)
    return None


def pending(tx: sa.Connection, namespace_pk: int, limit: int) -> set[int]:
    """Up to ``limit`` cubes whose entry in the vector index is out of date."""
    return {row[0] for row in hot(tx, _PENDING, namespace_pk, limit)}


def find_keyed(tx: sa.Connection, namespace_pk: int, key: str) -> tuple[int, str | None] | None:
    """The activity that used an idempotency key: its key and the digest of its content.

    There is no digest any more if a part of the content was erased.
    """
    row = tx.execute(
        sa.select(activities.c.pk, activities.c.digest).where(
            activities.c.namespace_pk == namespace_pk, activities.c.idempotency_key == key
        )
    ).first()
    return (row.pk, row.digest) if row else None


ERASED = sa.select(tombstones.c.cube_pk)
"""The memories that were erased."""

HEADS = cubes.join(versions, versions.c.pk == cubes.c.head_pk)
"""Every cube with its current version."""


def readable(namespace_pk: int) -> list[Clause]:
    """What ``get``, ``list`` and ``count`` may see: the namespace's cubes that are not deleted."""
    return [cubes.c.namespace_pk == namespace_pk, cubes.c.deleted_by.is_(None)]


def searchable(namespace_pk: int, now: datetime) -> list[Clause]:
    """What searches may see: readable, alive and not expired."""
    return [*readable(namespace_pk), *alive(now)]


def alive(now: datetime) -> list[Clause]:
    """What a memory must be to be shown: neither away, nor past its time, nor in quarantine."""
    return [cubes.c.quarantined.is_(None), *living(now)]


def living(now: datetime) -> list[Clause]:
    """The same, also in quarantine."""
    return [
        cubes.c.state.not_in([state.value for state in HIDDEN]),
        sa.or_(cubes.c.expires_at.is_(None), cubes.c.expires_at > to_micros(now)),
    ]


def listed(pks: Iterable[int]) -> sa.Select[Any]:
    """Keys as one parameter: there may be more than SQLite takes one by one."""
    each = sa.func.json_each(json.dumps(list(pks))).table_valued("value")
    return sa.select(each.c.value)


def select_pks(where: Sequence[Clause]) -> sa.Select[tuple[int]]:
    """The keys of the cubes whose current version fulfils all conditions."""
    return sa.select(cubes.c.pk).select_from(HEADS).where(*where)


# The gate stands in every search: a constant statement, with the keys as one JSON parameter.
# SQLite joins a CROSS JOIN in the order written: few keys first, each looked up once.
_GATE = (
    "SELECT cubes.pk FROM json_each(?) AS found CROSS JOIN cubes ON cubes.pk = found.value "
    "WHERE cubes.namespace_pk = ? AND cubes.deleted_by IS NULL AND cubes.quarantined IS NULL "
    f"AND cubes.state NOT IN ({', '.join(repr(state.value) for state in HIDDEN)}) "
    "AND (cubes.expires_at IS NULL OR cubes.expires_at > ?)"
)
_VECTORS = (
    "SELECT embeddings.cube_pk, embeddings.vector FROM json_each(?) AS found "
    "CROSS JOIN embeddings ON embeddings.cube_pk = found.value WHERE embeddings.namespace_pk = ?"
)
_LOAD = (
    "SELECT cubes.pk, versions.body, cubes.expires_at, cubes.state FROM json_each(?) AS found "
    "CROSS JOIN cubes ON cubes.pk = found.value CROSS JOIN versions ON versions.pk = cubes.head_pk"
)


def passing(
    tx: sa.Connection,
    namespace_pk: int,
    cube_pks: Iterable[int],
    now: datetime,
    filters: Sequence[Clause] = (),
) -> set[int]:
    """The gate: those of these cubes that a search may show now (see :func:`searchable`)."""
    keys = list(cube_pks)
    if filters:
        where = [*searchable(namespace_pk, now), *filters, cubes.c.pk.in_(keys)]
        return {row.pk for row in tx.execute(select_pks(where))}
    return {row[0] for row in hot(tx, _GATE, json.dumps(keys), namespace_pk, to_micros(now))}


_CURRENT = (
    "SELECT cubes.id, versions.version FROM json_each(?) AS asked "
    "CROSS JOIN cubes ON cubes.id = json_extract(asked.value, '$[0]') "
    "CROSS JOIN versions ON versions.pk = cubes.head_pk "
    "AND versions.version = json_extract(asked.value, '$[1]') "
    "WHERE cubes.deleted_by IS NULL AND cubes.quarantined IS NULL "
    f"AND cubes.state NOT IN ({', '.join(repr(state.value) for state in HIDDEN)}) "
    "AND (cubes.expires_at IS NULL OR cubes.expires_at > ?)"
)


def current(
    tx: sa.Connection, asked: Iterable[tuple[str, int]], now: datetime
) -> set[tuple[str, int]]:
    """Those of these versions (cube id, version) that are the latest, and may be shown now."""
    pairs = json.dumps([list(pair) for pair in asked])
    return {(id, version) for id, version in hot(tx, _CURRENT, pairs, to_micros(now))}


_SHOWN = (
    "SELECT cubes.pk FROM json_each(?) AS asked CROSS JOIN cubes ON cubes.id = asked.value "
    "WHERE cubes.deleted_by IS NULL AND cubes.quarantined IS NULL "
    f"AND cubes.state NOT IN ({', '.join(repr(state.value) for state in HIDDEN)}) "
    "AND (cubes.expires_at IS NULL OR cubes.expires_at > ?)"
)


def shown(tx: sa.Connection, cube_ids: Iterable[str], now: datetime) -> list[int]:
    """The keys of those of these cubes, of any namespace, that may be shown now."""
    return [pk for (pk,) in hot(tx, _SHOWN, json.dumps(list(cube_ids)), to_micros(now))]


def of_type(tx: sa.Connection, memory_type: str) -> list[str]:
    """The ids of a type's memories, of any namespace, that are not deleted; oldest first."""
    where = cubes.c.deleted_by.is_(None), versions.c.memory_type == memory_type
    found = sa.select(cubes.c.id).select_from(HEADS).where(*where).order_by(cubes.c.id)
    return list(tx.execute(found).scalars())


def among(tx: sa.Connection, cube_ids: Iterable[str], where: Sequence[Clause]) -> set[str]:
    """Those of these cubes, of any namespace, that fulfil conditions on both."""
    each = sa.func.json_each(json.dumps(sorted(cube_ids))).table_valued("value")
    query = (
        sa.select(cubes.c.id)
        .join(namespaces, namespaces.c.pk == cubes.c.namespace_pk)
        .where(cubes.c.id.in_(sa.select(each.c.value)), *where)
    )
    return set(tx.execute(query).scalars())


def vectors(tx: sa.Connection, namespace_pk: int, cube_pks: Iterable[int]) -> dict[int, bytes]:
    """Stored vectors by key."""
    return dict(hot(tx, _VECTORS, json.dumps(list(cube_pks)), namespace_pk))


def read_cube(body: str, expires_at: int | None, state: str) -> MemCube:
    """A version as it stands: its state and the end of its life may have changed since."""
    cube = MemCube.model_validate_json(body)
    rules = cube.header.governance
    moment = None if expires_at is None else from_micros(expires_at)
    changes: dict[str, object] = {} if cube.state == state else {"state": State(state)}
    if rules.expires_at != moment:
        governance = rules.model_copy(update={"expires_at": moment})
        changes["header"] = cube.header.model_copy(update={"governance": governance})
    return cube.model_copy(update=changes) if changes else cube


def load(tx: sa.Connection, cube_pks: Sequence[int]) -> dict[int, MemCube]:
    """Current versions by key."""
    rows = hot(tx, _LOAD, json.dumps(list(cube_pks)))
    return {pk: read_cube(body, expires_at, state) for pk, body, expires_at, state in rows}


def head(
    tx: sa.Connection, namespace_pk: int, cube_id: str, *, deleted: bool = False
) -> Head | None:
    """The current version of one cube; of a deleted one only if ``deleted``."""
    clauses: list[Clause] = [cubes.c.id == cube_id, cubes.c.namespace_pk == namespace_pk]
    if not deleted:
        clauses.append(cubes.c.deleted_by.is_(None))
    row = tx.execute(
        sa.select(cubes.c.pk, cubes.c.head_pk, versions.c.body, cubes.c.expires_at, cubes.c.state)
        .select_from(HEADS)
        .where(*clauses)
    ).first()
    if row is None:
        return None
    return Head(row.pk, row.head_pk, read_cube(row.body, row.expires_at, row.state))


def key_of(tx: sa.Connection, cube_id: str, version: int) -> int | None:
    """The key of a version that has words; ``None`` if there is none, or they were erased."""
    query = (
        sa.select(versions.c.pk)
        .join(cubes, cubes.c.pk == versions.c.cube_pk)
        .where(
            cubes.c.id == cube_id,
            versions.c.version == version,
            versions.c.memory_type == "plaintext",
        )
    )
    return tx.execute(query).scalar()


def said(tx: sa.Connection, namespace_pk: int, fingerprints: Iterable[str | None]) -> set[str]:
    """Those of these fingerprints of words that memories of a namespace have now."""
    words = versions.c.context_fingerprint
    asked = words.in_([one for one in fingerprints if one is not None])
    query = sa.select(words).select_from(HEADS).where(*readable(namespace_pk), asked)
    return set(tx.execute(query).scalars())


def chain(tx: sa.Connection, cube_pk: int) -> list[MemCube]:
    """Every version of a cube, oldest first."""
    rows = tx.execute(
        sa.select(versions.c.body).where(versions.c.cube_pk == cube_pk).order_by(versions.c.version)
    )
    return [MemCube.model_validate_json(body) for body in rows.scalars()]


def page(
    tx: sa.Connection, where: Sequence[Clause], limit: int, after: str | None
) -> list[tuple[int, MemCube]]:
    """Up to ``limit`` cubes in the order of their ids (oldest first), after the id ``after``."""
    columns = cubes.c.pk, versions.c.body, cubes.c.expires_at, cubes.c.state
    query = sa.select(*columns).select_from(HEADS).where(*where)
    if after is not None:
        query = query.where(cubes.c.id > after)
    rows = tx.execute(query.order_by(cubes.c.id).limit(limit))
    return [(pk, read_cube(body, expires_at, state)) for pk, body, expires_at, state in rows]


def count(tx: sa.Connection, where: Sequence[Clause]) -> int:
    """How many cubes fulfil all conditions."""
    query = sa.select(sa.func.count()).select_from(HEADS).where(*where)
    return int(tx.execute(query).scalar_one())


def generated_by(tx: sa.Connection, activity_pk: int) -> list[MemCube]:
    """The versions that an activity wrote and that were not erased, in the order it wrote them."""
    rows = tx.execute(
        sa.select(versions.c.body)
        .where(versions.c.activity_pk == activity_pk, versions.c.cube_pk.not_in(ERASED))
        .order_by(versions.c.pk)
    )
    return [MemCube.model_validate_json(body) for body in rows.scalars()]
