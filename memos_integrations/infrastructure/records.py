"""Reading and writing cubes in SQL. Every function takes the transaction it works in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from memos_integrations.cube import MemCube, Namespace, State
from memos_integrations.infrastructure import crashpoints, lexical
from memos_integrations.infrastructure.filters import Clause
from memos_integrations.infrastructure.schema import (
    activities,
    cubes,
    edges,
    embeddings,
    namespaces,
    outbox,
    settings,
    to_micros,
    versions,
)
from memos_integrations.infrastructure.vectors import encode
from memos_integrations.protocols import Vectors

HIDDEN = (State.MERGED, State.ARCHIVED, State.EXPIRED)
"""States that searches leave out."""


@dataclass(frozen=True)
class NamespaceRow:
    """A namespace as it stands in one transaction."""

    pk: int
    live: int
    collection: str | None


@dataclass(frozen=True)
class Activity:
    """One verb of one principal: a PROV activity."""

    id: str
    verb: str
    principal: str
    at: datetime
    idempotency_key: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class Head:
    """The current version of a cube, with its internal keys."""

    cube_pk: int
    version_pk: int
    cube: MemCube


def hot(tx: sa.Connection, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Run one of the few statements that every search runs, on the driver's own connection.

    SQLAlchemy's compilation and row objects would take longer than these queries do.
    """
    driver: Any = tx.connection.driver_connection
    rows: list[tuple[Any, ...]] = driver.execute(statement, values).fetchall()
    return rows


# Namespaces and activities ---------------------------------------------------------------------


_NAMESPACE = "SELECT pk, live, collection FROM namespaces WHERE path = ?"
_PENDING = "SELECT DISTINCT cube_pk FROM outbox WHERE namespace_pk = ? LIMIT ?"


def find_namespace(tx: sa.Connection, path: Namespace) -> NamespaceRow | None:
    """The namespace, or ``None`` if nothing was ever written there."""
    for pk, live, collection in hot(tx, _NAMESPACE, json.dumps(path)):
        return NamespaceRow(pk, live, collection)
    return None


def pending(tx: sa.Connection, namespace_pk: int, limit: int) -> set[int]:
    """Up to ``limit`` cubes whose entry in the vector index is out of date."""
    return {row[0] for row in hot(tx, _PENDING, namespace_pk, limit)}


def ensure_namespace(tx: sa.Connection, path: Namespace) -> NamespaceRow:
    """The namespace, made if it is new."""
    found = find_namespace(tx, path)
    if found is None:
        tx.execute(sa.insert(namespaces).values(path=json.dumps(path), live=0, churn=0))
        found = find_namespace(tx, path)
        assert found is not None
    return found


def insert_activity(tx: sa.Connection, namespace_pk: int, activity: Activity) -> int:
    """Record a verb; return its key."""
    inserted = tx.execute(
        sa.insert(activities).values(
            id=activity.id,
            namespace_pk=namespace_pk,
            verb=activity.verb,
            principal=activity.principal,
            at=to_micros(activity.at),
            idempotency_key=activity.idempotency_key,
            digest=activity.digest,
        )
    )
    return int(inserted.inserted_primary_key[0])  # type: ignore[index]


def find_keyed(tx: sa.Connection, namespace_pk: int, key: str) -> tuple[int, str] | None:
    """The activity that used an idempotency key: its key and the digest of its content."""
    row = tx.execute(
        sa.select(activities.c.pk, activities.c.digest).where(
            activities.c.namespace_pk == namespace_pk, activities.c.idempotency_key == key
        )
    ).first()
    return (row.pk, row.digest) if row else None


# Writing ---------------------------------------------------------------------------------------


def insert_cubes(
    tx: sa.Connection,
    namespace: NamespaceRow,
    activity_pk: int,
    new: Sequence[MemCube],
    vectors: Vectors,
) -> None:
    """Write new cubes with their vectors (float32, ``(len(new), dimension)``, unit length)."""
    first_cube, first_version = _next(tx, cubes.c.pk), _next(tx, versions.c.pk)
    tx.execute(
        sa.insert(cubes),
        [
            {
                "pk": first_cube + i,
                "id": cube.id,
                "namespace_pk": namespace.pk,
                "head_pk": first_version + i,
                "state": cube.state.value,
                "expires_at": _micros(cube.header.governance.expires_at),
            }
            for i, cube in enumerate(new)
        ],
    )
    crashpoints.reach("cubes-written")
    tx.execute(
        sa.insert(versions),
        [
            _version_row(first_version + i, first_cube + i, activity_pk, cube)
            for i, cube in enumerate(new)
        ],
    )
    crashpoints.reach("versions-written")
    _set_searchable(tx, namespace, [(first_cube + i, cube) for i, cube in enumerate(new)], vectors)
    _changed(tx, namespace, [first_cube + i for i in range(len(new))], live=len(new), churn=0)


def insert_revision(
    tx: sa.Connection,
    namespace: NamespaceRow,
    activity_pk: int,
    before: Head,
    after: MemCube,
    vector: Vectors | None,
) -> None:
    """Write the next version of a cube; ``vector`` is ``None`` if it is searched as before."""
    version_pk = _next(tx, versions.c.pk)
    tx.execute(sa.insert(versions), [_version_row(version_pk, before.cube_pk, activity_pk, after)])
    tx.execute(
        sa.insert(edges).values(
            subject_pk=version_pk, object_pk=before.version_pk, relation="wasRevisionOf"
        )
    )
    tx.execute(
        sa.update(cubes)
        .where(cubes.c.pk == before.cube_pk)
        .values(
            head_pk=version_pk,
            state=after.state.value,
            expires_at=_micros(after.header.governance.expires_at),
        )
    )
    if vector is not None:
        _remove_searchable(tx, before.cube_pk)
        _set_searchable(tx, namespace, [(before.cube_pk, after)], vector.reshape(1, -1))
        _changed(tx, namespace, [before.cube_pk], live=0, churn=1)


def mark_deleted(tx: sa.Connection, namespace: NamespaceRow, activity_pk: int, head: Head) -> None:
    """Take a cube out of every read but its history."""
    tx.execute(sa.update(cubes).where(cubes.c.pk == head.cube_pk).values(deleted_by=activity_pk))
    _remove_searchable(tx, head.cube_pk)
    _changed(tx, namespace, [head.cube_pk], live=-1, churn=1)


def index_namespace(tx: sa.Connection, namespace: NamespaceRow) -> None:
    """Give a namespace a collection of its own and queue all of its vectors for it."""
    tx.execute(
        sa.update(namespaces)
        .where(namespaces.c.pk == namespace.pk)
        .values(collection=f"ns-{namespace.pk:08d}", churn=0)
    )
    tx.execute(
        sa.insert(outbox).from_select(
            ["namespace_pk", "cube_pk"],
            sa.select(embeddings.c.namespace_pk, embeddings.c.cube_pk).where(
                embeddings.c.namespace_pk == namespace.pk
            ),
        )
    )


def queue_everything(tx: sa.Connection, folder: str) -> None:
    """Name the index folder, and queue every vector of every indexed namespace for it."""
    tx.execute(sa.delete(outbox))
    tx.execute(
        sa.insert(outbox).from_select(
            ["namespace_pk", "cube_pk"],
            sa.select(embeddings.c.namespace_pk, embeddings.c.cube_pk)
            .join(namespaces, namespaces.c.pk == embeddings.c.namespace_pk)
            .where(namespaces.c.collection.is_not(None)),
        )
    )
    tx.execute(sa.update(namespaces).values(churn=0))
    tx.execute(sa.delete(settings).where(settings.c.key == "index_folder"))
    tx.execute(sa.insert(settings).values(key="index_folder", value=folder))


def _next(tx: sa.Connection, column: sa.Column[Any]) -> int:
    return int(tx.execute(sa.select(sa.func.coalesce(sa.func.max(column), 0))).scalar_one()) + 1


def _version_row(pk: int, cube_pk: int, activity_pk: int, cube: MemCube) -> dict[str, Any]:
    about, rules = cube.header.descriptive, cube.header.governance
    return {
        "pk": pk,
        "cube_pk": cube_pk,
        "version": cube.version,
        "activity_pk": activity_pk,
        "state": cube.state.value,
        "memory_type": cube.memory_type,
        "created_at": to_micros(about.created_at),
        "event_time": _micros(about.event_time),
        "said_at": _micros(about.said_at),
        "expires_at": _micros(rules.expires_at),
        "origin": about.origin,
        "role": about.role,
        "speaker": about.speaker,
        "source": about.source,
        "semantic_type": about.semantic_type,
        "owner": rules.owner,
        "access": rules.access,
        "priority": rules.priority,
        "frozen": rules.frozen,
        "context_fingerprint": cube.header.behaviour.context_fingerprint,
        "body": cube.model_dump_json(),
    }


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else to_micros(moment)


def _set_searchable(
    tx: sa.Connection,
    namespace: NamespaceRow,
    rows: Sequence[tuple[int, MemCube]],
    vectors: Vectors,
) -> None:
    tx.execute(
        sa.insert(embeddings),
        [
            {"cube_pk": pk, "namespace_pk": namespace.pk, "vector": encode(vector)}
            for (pk, _), vector in zip(rows, vectors, strict=True)
        ],
    )
    crashpoints.reach("embeddings-written")
    lexical.insert(tx, namespace.pk, [(pk, lexical_text(cube)) for pk, cube in rows])


def _remove_searchable(tx: sa.Connection, cube_pk: int) -> None:
    tx.execute(sa.delete(embeddings).where(embeddings.c.cube_pk == cube_pk))
    lexical.delete(tx, [cube_pk])


def lexical_text(cube: MemCube) -> str:
    """What the words of a cube are searched by: the speaker, the text, the tags."""
    return " ".join(filter(None, [cube.header.descriptive.speaker, cube.text, *cube.tags]))


def _changed(
    tx: sa.Connection, namespace: NamespaceRow, cube_pks: Sequence[int], *, live: int, churn: int
) -> None:
    tx.execute(
        sa.update(namespaces)
        .where(namespaces.c.pk == namespace.pk)
        .values(live=namespaces.c.live + live, churn=namespaces.c.churn + churn)
    )
    if namespace.collection is not None:
        rows = [{"namespace_pk": namespace.pk, "cube_pk": pk} for pk in cube_pks]
        tx.execute(sa.insert(outbox), rows)


# Reading ---------------------------------------------------------------------------------------

_HEADS = cubes.join(versions, versions.c.pk == cubes.c.head_pk)


def readable(namespace_pk: int) -> list[Clause]:
    """What ``get``, ``list`` and ``count`` may see: the namespace's cubes that are not deleted."""
    return [cubes.c.namespace_pk == namespace_pk, cubes.c.deleted_by.is_(None)]


def searchable(namespace_pk: int, now: datetime) -> list[Clause]:
    """What searches may see: readable, alive and not expired."""
    return [
        *readable(namespace_pk),
        cubes.c.state.not_in([state.value for state in HIDDEN]),
        sa.or_(cubes.c.expires_at.is_(None), cubes.c.expires_at > to_micros(now)),
    ]


def select_pks(where: Sequence[Clause]) -> sa.Select[tuple[int]]:
    """The keys of the cubes whose current version fulfils all conditions."""
    return sa.select(cubes.c.pk).select_from(_HEADS).where(*where)


# The gate stands in every search: a constant statement, with the keys as one JSON parameter.
# SQLite joins a CROSS JOIN in the order written: few keys first, each looked up once.
_GATE = (
    "SELECT cubes.pk FROM json_each(?) AS found CROSS JOIN cubes ON cubes.pk = found.value "
    "WHERE cubes.namespace_pk = ? AND cubes.deleted_by IS NULL "
    f"AND cubes.state NOT IN ({', '.join(repr(state.value) for state in HIDDEN)}) "
    "AND (cubes.expires_at IS NULL OR cubes.expires_at > ?)"
)
_VECTORS = (
    "SELECT embeddings.cube_pk, embeddings.vector FROM json_each(?) AS found "
    "CROSS JOIN embeddings ON embeddings.cube_pk = found.value WHERE embeddings.namespace_pk = ?"
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


def vectors(tx: sa.Connection, namespace_pk: int, cube_pks: Iterable[int]) -> dict[int, bytes]:
    """Stored vectors by key."""
    return dict(hot(tx, _VECTORS, json.dumps(list(cube_pks)), namespace_pk))


def load(tx: sa.Connection, cube_pks: Sequence[int]) -> dict[int, MemCube]:
    """Current versions by key."""
    rows = tx.execute(
        sa.select(cubes.c.pk, versions.c.body)
        .select_from(_HEADS)
        .where(cubes.c.pk.in_(list(cube_pks)))
    )
    return {pk: MemCube.model_validate_json(body) for pk, body in rows}


def head(
    tx: sa.Connection, namespace_pk: int, cube_id: str, *, deleted: bool = False
) -> Head | None:
    """The current version of one cube; of a deleted one only if ``deleted``."""
    clauses: list[Clause] = [cubes.c.id == cube_id, cubes.c.namespace_pk == namespace_pk]
    if not deleted:
        clauses.append(cubes.c.deleted_by.is_(None))
    row = tx.execute(
        sa.select(cubes.c.pk, cubes.c.head_pk, versions.c.body).select_from(_HEADS).where(*clauses)
    ).first()
    return Head(row.pk, row.head_pk, MemCube.model_validate_json(row.body)) if row else None


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
    query = sa.select(cubes.c.pk, versions.c.body).select_from(_HEADS).where(*where)
    if after is not None:
        query = query.where(cubes.c.id > after)
    rows = tx.execute(query.order_by(cubes.c.id).limit(limit))
    return [(pk, MemCube.model_validate_json(body)) for pk, body in rows]


def count(tx: sa.Connection, where: Sequence[Clause]) -> int:
    """How many cubes fulfil all conditions."""
    query = sa.select(sa.func.count()).select_from(_HEADS).where(*where)
    return int(tx.execute(query).scalar_one())


def generated_by(tx: sa.Connection, activity_pk: int) -> list[MemCube]:
    """The versions that an activity wrote, in the order it wrote them."""
    rows = tx.execute(
        sa.select(versions.c.body)
        .where(versions.c.activity_pk == activity_pk)
        .order_by(versions.c.pk)
    )
    return [MemCube.model_validate_json(body) for body in rows.scalars()]
