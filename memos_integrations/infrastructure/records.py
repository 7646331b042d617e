"""Writing cubes to SQL. Every function takes the transaction it works in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.cube import MemCube
from memos_integrations.infrastructure import audit, crashpoints, governance, lexical, past_forms
from memos_integrations.infrastructure.access import Asker
from memos_integrations.infrastructure.driver import hot
from memos_integrations.infrastructure.lookups import Head, NamespaceRow, find_namespace
from memos_integrations.infrastructure.schema import (
    activities,
    cubes,
    edges,
    embeddings,
    facets,
    namespaces,
    outbox,
    settings,
    to_micros,
    versions,
)
from memos_integrations.infrastructure.vectors import encode
from memos_integrations.protocols import Vectors


@dataclass(frozen=True)
class Parts:
    """What one cube is found by: pieces of its text, each with its vector."""

    spans: Sequence[tuple[int, int]]
    """Where each piece stands in the text: ``text[start:stop]``."""
    vectors: Vectors
    """float32, ``(len(spans), dimension)``, unit length."""


@dataclass(frozen=True)
class Activity:
    """One verb of one principal: a PROV activity."""

    id: str
    verb: str
    principal: str
    at: datetime
    idempotency_key: str | None = None
    digest: str | None = None
    asker: Asker | None = None
    """Whose rights are looked at before the commit; ``None``: the store's own work."""
    joins: bool = False
    """Of several verbs that are one activity: what was begun under this id goes on."""
    about: str | None = None
    """The id of what it is about besides memories, such as a grant."""


_LAST_KEYS = (
    "SELECT (SELECT coalesce(max(pk), 0) FROM cubes), (SELECT coalesce(max(pk), 0) FROM versions)"
)
_CHANGED = "UPDATE namespaces SET live = live + ?, churn = churn + ? WHERE pk = ?"

# Namespaces and activities ---------------------------------------------------------------------


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
    activity_pk = _begun(tx, activity) if activity.joins else None
    if activity_pk is None:
        activity_pk = _insert_activity(tx, namespace_pk, activity)
    if activity.asker is not None:
        governance.note(tx, activity_pk, namespace_pk, activity.verb, activity.asker)
    return activity_pk


def _begun(tx: sa.Connection, activity: Activity) -> int | None:
    query = sa.select(activities.c.pk).where(activities.c.id == activity.id)
    return tx.execute(query).scalar()


def _insert_activity(tx: sa.Connection, namespace_pk: int, activity: Activity) -> int:
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
    activity_pk = int(inserted.inserted_primary_key[0])  # type: ignore[index]
    fields = {
        "activity": activity.id,
        "verb": activity.verb,
        "who": activity.principal,
        "at": to_micros(activity.at),
        **({"about": activity.about} if activity.about else {}),
    }
    audit.note(tx, audit.Deed(activity_pk, namespace_pk, fields, activity.asker))
    return activity_pk


# Writing ---------------------------------------------------------------------------------------


def insert_cubes(
    tx: sa.Connection,
    namespace: NamespaceRow,
    activity_pk: int,
    new: Sequence[MemCube],
    vectors: Vectors,
) -> None:
    """Write new cubes with their vectors (float32, ``(len(new), dimension)``, unit length)."""
    keys = insert_rows(tx, namespace, activity_pk, new)
    set_searchable(tx, namespace, list(zip(keys, new, strict=True)), vectors)
    changed(tx, namespace, keys, live=len(new), churn=0)


def insert_rows(
    tx: sa.Connection, namespace: NamespaceRow, activity_pk: int, new: Sequence[MemCube]
) -> list[int]:
    """Write new cubes that no search finds yet; return their keys."""
    [(last_cube, last_version)] = hot(tx, _LAST_KEYS)
    first_cube, first_version = last_cube + 1, last_version + 1
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
            version_row(first_version + i, first_cube + i, activity_pk, cube)
            for i, cube in enumerate(new)
        ],
    )
    crashpoints.reach("versions-written")
    return [first_cube + i for i in range(len(new))]


def insert_revision(
    tx: sa.Connection,
    namespace: NamespaceRow,
    activity_pk: int,
    before: Head,
    after: MemCube,
    vector: Vectors | None,
) -> None:
    """Write the next version of a cube; ``vector`` is ``None`` if it is searched as before."""
    insert_version(tx, activity_pk, before, after)
    if vector is not None:
        remove_searchable(tx, before.cube_pk, activity_pk)
        set_searchable(tx, namespace, [(before.cube_pk, after)], vector.reshape(1, -1))
        changed(tx, namespace, [before.cube_pk], live=0, churn=1)


def insert_version(tx: sa.Connection, activity_pk: int, before: Head, after: MemCube) -> None:
    """Write the next version of a cube; what searches find it by stays as it is."""
    [(_, last_version)] = hot(tx, _LAST_KEYS)
    version_pk = last_version + 1
    tx.execute(sa.insert(versions), [version_row(version_pk, before.cube_pk, activity_pk, after)])
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
            expires_at=_micros(after.header.governance.expires_at),
        )
    )


def derive(tx: sa.Connection, cube_id: str, source_pks: Sequence[int]) -> None:
    """Write down which versions a new cube comes from."""
    subject = sa.select(cubes.c.head_pk).where(cubes.c.id == cube_id)
    version_pk = tx.execute(subject).scalar_one()
    tx.execute(
        sa.insert(edges),
        [
            {"subject_pk": version_pk, "object_pk": pk, "relation": "wasDerivedFrom"}
            for pk in source_pks
        ],
    )


def prolong(tx: sa.Connection, cube_pks: Sequence[int], until: datetime | None) -> None:
    """Give cubes another end of their lives."""
    which = cubes.c.pk.in_(list(cube_pks))
    tx.execute(sa.update(cubes).where(which).values(expires_at=_micros(until)))


def mark_deleted(tx: sa.Connection, namespace: NamespaceRow, activity_pk: int, head: Head) -> None:
    """Take a cube out of every read but its history."""
    tx.execute(sa.update(cubes).where(cubes.c.pk == head.cube_pk).values(deleted_by=activity_pk))
    remove_searchable(tx, head.cube_pk, activity_pk)
    changed(tx, namespace, [head.cube_pk], live=-1, churn=1)


def mark_all_deleted(
    tx: sa.Connection, namespace: NamespaceRow, activity_pk: int, cube_pks: Sequence[int]
) -> None:
    """The same for many cubes of one namespace."""
    if not cube_pks:
        return
    for pk in cube_pks:
        past_forms.keep(tx, pk, activity_pk)
    pks = [(pk,) for pk in cube_pks]
    tx.exec_driver_sql(
        "UPDATE cubes SET deleted_by = ? WHERE pk = ?", [(activity_pk, pk) for pk in cube_pks]
    )
    tx.exec_driver_sql("DELETE FROM facets WHERE cube_pk = ?", pks)
    tx.exec_driver_sql("DELETE FROM embeddings WHERE cube_pk = ?", pks)
    lexical.delete(tx, cube_pks)
    changed(tx, namespace, cube_pks, live=-len(cube_pks), churn=len(cube_pks))


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


def version_row(pk: int, cube_pk: int, activity_pk: int, cube: MemCube) -> dict[str, Any]:
    """A version as a row of its table."""
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


def set_searchable(
    tx: sa.Connection,
    namespace: NamespaceRow,
    rows: Sequence[tuple[int, MemCube]],
    vectors: Vectors,
) -> None:
    """Let searches find cubes, by their words and by one vector each."""
    tx.execute(
        sa.insert(embeddings),
        [
            {"cube_pk": pk, "namespace_pk": namespace.pk, "vector": encode(vector)}
            for (pk, _), vector in zip(rows, vectors, strict=True)
        ],
    )
    crashpoints.reach("embeddings-written")
    lexical.insert(tx, namespace.pk, [(pk, lexical_text(cube)) for pk, cube in rows])


def set_parts(tx: sa.Connection, namespace: NamespaceRow, cube_pk: int, parts: Parts) -> None:
    """Add the vectors of the further pieces of a cube; the first stands in ``embeddings``."""
    rows = [
        {
            "cube_pk": cube_pk,
            "part": i,
            "namespace_pk": namespace.pk,
            "start": start,
            "stop": stop,
            "vector": encode(vector),
        }
        for i, ((start, stop), vector) in enumerate(zip(parts.spans, parts.vectors, strict=True))
        if i > 0
    ]
    if rows:
        tx.execute(sa.insert(facets), rows)


def remove_searchable(tx: sa.Connection, cube_pk: int, activity_pk: int) -> None:
    """Let no search find a cube any more, but those of the time before this activity."""
    past_forms.keep(tx, cube_pk, activity_pk)
    tx.execute(sa.delete(facets).where(facets.c.cube_pk == cube_pk))
    tx.execute(sa.delete(embeddings).where(embeddings.c.cube_pk == cube_pk))
    lexical.delete(tx, [cube_pk])


def lexical_text(cube: MemCube) -> str:
    """What the words of a cube are searched by: the speaker, the text, the tags."""
    return " ".join(filter(None, [cube.header.descriptive.speaker, cube.text, *cube.tags]))


def changed(
    tx: sa.Connection, namespace: NamespaceRow, cube_pks: Sequence[int], *, live: int, churn: int
) -> None:
    """Count what changed in a namespace, and queue it for the vector index."""
    hot(tx, _CHANGED, live, churn, namespace.pk)
    if namespace.collection is not None:
        rows = [{"namespace_pk": namespace.pk, "cube_pk": pk} for pk in cube_pks]
        tx.execute(sa.insert(outbox), rows)
