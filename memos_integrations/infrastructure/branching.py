"""Branches in SQL: a namespace's memories copied below it, and what became of each since."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.cube import Behaviour, MemCube, State
from memos_integrations.infrastructure import lexical, lookups, quarantine, records
from memos_integrations.infrastructure.filters import Clause
from memos_integrations.infrastructure.lookups import Head, NamespaceRow
from memos_integrations.infrastructure.schema import (
    cubes,
    edges,
    embeddings,
    keys,
    versions,
)
from memos_integrations.protocols import IdSource

_GONE = (State.MERGED.value, State.EXPIRED.value)
_PAGE = 500
_DERIVED = (
    "INSERT INTO edges (subject_pk, object_pk, relation) SELECT copy.head_pk, origin.head_pk, "
    "'wasDerivedFrom' FROM cubes AS copy CROSS JOIN cubes AS origin "
    "WHERE copy.pk = ? AND origin.pk = ?"
)
_VECTORS = (
    "INSERT INTO embeddings (cube_pk, namespace_pk, vector) "
    "SELECT ?, ?, vector FROM embeddings WHERE cube_pk = ?"
)
_PARTS = (
    "INSERT INTO facets (cube_pk, namespace_pk, part, start, stop, vector) "
    "SELECT ?, ?, part, start, stop, vector FROM facets WHERE cube_pk = ?"
)
_WORDS = (
    "INSERT INTO lexicon (rowid, namespace, words) SELECT ?, ?, words FROM lexicon WHERE rowid = ?"
)


@dataclass(frozen=True)
class Twin:
    """A memory of a branch beside the one it was copied from; at least one has a head."""

    copy: Head | None
    """As it stands in the branch; ``None``: deleted there."""
    first: MemCube
    """As it was copied, or first written in the branch."""
    origin: Head | None
    """As it stands above; ``None``: deleted there, or it never was."""
    was: MemCube | None
    """The version that was copied; ``None``: it was written in the branch."""


def copy_all(
    tx: sa.Connection,
    source: NamespaceRow,
    path: Namespace,
    target: NamespaceRow,
    activity_pk: int,
    new_id: IdSource,
    kept: Sequence[Clause] = (),
) -> int:
    """Copy the memories of a namespace, with what they are found by; return how many.

    Left out: what is merged or expired, what retention has ended (``kept``: what it has not), and
    what stands under keys (conversations, stores).
    """
    wanted = [
        *kept,
        *lookups.readable(source.pk),
        cubes.c.state.not_in(_GONE),
        cubes.c.pk.not_in(sa.select(keys.c.cube_pk)),
    ]
    after, count = None, 0
    while page := lookups.page(tx, wanted, _PAGE, after):
        after, count = page[-1][1].id, count + len(page)
        old = [pk for pk, _ in page]
        fresh = [_copied(cube, path, new_id()) for _, cube in page]
        made = records.insert_rows(tx, target, activity_pk, fresh)
        pairs = list(zip(made, old, strict=True))
        tx.exec_driver_sql(_DERIVED, pairs)
        quarantine.copy(tx, [(one, pk) for pk, one in pairs])
        tx.exec_driver_sql(_VECTORS, [(pk, target.pk, one) for pk, one in pairs])
        tx.exec_driver_sql(_PARTS, [(pk, target.pk, one) for pk, one in pairs])
        tx.exec_driver_sql(_WORDS, [(pk, f"ns{target.pk}", one) for pk, one in pairs])
        records.changed(tx, target, made, live=len(made), churn=0)
    return count


def copy_searchable(
    tx: sa.Connection, origin_pk: int, target: NamespaceRow, cube_pk: int, cube: MemCube
) -> None:
    """Let a cube be found by what another is found by, unless that is in quarantine."""
    quarantine.copy(tx, [(origin_pk, cube_pk)])
    tx.exec_driver_sql(_VECTORS, (cube_pk, target.pk, origin_pk))
    tx.exec_driver_sql(_PARTS, (cube_pk, target.pk, origin_pk))
    searched = sa.select(embeddings.c.cube_pk).where(embeddings.c.cube_pk == cube_pk)
    if tx.execute(searched).first() is not None:
        lexical.insert(tx, target.pk, [(cube_pk, records.lexical_text(cube))])


def twins(
    tx: sa.Connection, branch: NamespaceRow, above: NamespaceRow, since_pk: int
) -> Iterator[Twin]:
    """The memories of a branch that are not as they were copied, by that activity; oldest first."""
    old, origin = versions.alias(), cubes.alias()
    copied = sa.select(edges.c.subject_pk, old.c.body, origin.c.id).join(
        old, old.c.pk == edges.c.object_pk
    )
    copied = copied.join(origin, origin.c.pk == old.c.cube_pk)
    above_it = copied.where(origin.c.namespace_pk == above.pk).subquery()
    query = (
        sa.select(
            cubes.c.id,
            versions.c.body,
            above_it.c.id.label("origin_id"),
            above_it.c.body.label("origin_body"),
        )
        .join(versions, sa.and_(versions.c.cube_pk == cubes.c.pk, versions.c.version == 1))
        .outerjoin(above_it, above_it.c.subject_pk == versions.c.pk)
        .where(
            cubes.c.namespace_pk == branch.pk,
            versions.c.activity_pk >= since_pk,
            cubes.c.pk.not_in(sa.select(keys.c.cube_pk)),
            sa.or_(
                cubes.c.head_pk != versions.c.pk,
                cubes.c.state != versions.c.state,
                cubes.c.deleted_by.is_not(None),
                above_it.c.id.is_(None),
            ),
        )
        .order_by(cubes.c.pk)
    )
    for row in tx.execute(query).all():
        copy = lookups.head(tx, branch.pk, row.id)
        if copy is None and row.origin_id is None:
            continue  # written there, and deleted there
        yield Twin(
            copy,
            MemCube.model_validate_json(row.body),
            lookups.head(tx, above.pk, row.origin_id) if row.origin_id else None,
            MemCube.model_validate_json(row.origin_body) if row.origin_id else None,
        )


def empty(tx: sa.Connection, branch: NamespaceRow, activity_pk: int) -> int:
    """Delete every memory of a branch; return how many."""
    found = tx.execute(lookups.select_pks(lookups.readable(branch.pk)))
    pks = [row.pk for row in found]
    records.mark_all_deleted(tx, branch, activity_pk, pks)
    return len(pks)


def note_source(tx: sa.Connection, cube_pk: int, source_pk: int) -> None:
    """The newest version of a cube comes from that version, too."""
    tx.execute(
        sa.insert(edges).values(
            subject_pk=_head_pk(tx, cube_pk), object_pk=source_pk, relation="wasDerivedFrom"
        )
    )


def replace_searchable(
    tx: sa.Connection, origin_pk: int, target: NamespaceRow, now: Sequence[Head], activity_pk: int
) -> None:
    """Let cubes be found by what another is found by, and no longer by what they were."""
    for head in now:
        records.remove_searchable(tx, head.cube_pk, activity_pk)
        copy_searchable(tx, origin_pk, target, head.cube_pk, head.cube)
        records.changed(tx, target, [head.cube_pk], live=0, churn=1)


def _copied(cube: MemCube, path: Namespace, cube_id: str) -> MemCube:
    behaviour = Behaviour(context_fingerprint=cube.header.behaviour.context_fingerprint)
    header = cube.header.model_copy(update={"behaviour": behaviour})
    return cube.model_copy(
        update={"id": cube_id, "version": 1, "namespace": path, "header": header}
    )


def _head_pk(tx: sa.Connection, cube_pk: int) -> int:
    return int(tx.execute(sa.select(cubes.c.head_pk).where(cubes.c.pk == cube_pk)).scalar_one())
