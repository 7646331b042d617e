"""Going back: new versions with old words, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from memos_integrations.checks import Namespace, fingerprint
from memos_integrations.cube import Behaviour, MemCube, State
from memos_integrations.errors import VersionConflictError
from memos_integrations.infrastructure import lookups, records, transitions
from memos_integrations.infrastructure.lookups import Head, NamespaceRow
from memos_integrations.infrastructure.records import Activity
from memos_integrations.infrastructure.schema import edges, embeddings, past, versions
from memos_integrations.protocols import Vectors

_LIVING = {State.GENERATED, State.ACTIVATED}


@dataclass(frozen=True)
class Return:
    """What one memory is to be again."""

    cube_id: str
    seen: MemCube | None
    """As it stands, when the way back was planned; ``None``: deleted."""
    to: MemCube | None
    """As it was; ``None``: it was not there yet, and is deleted."""
    vector: Vectors | None
    """Of ``to``: float32, ``(dimension,)``, unit length."""


def write_returns(
    tx: sa.Connection, *, path: Namespace, activity: Activity, returns: Sequence[Return]
) -> tuple[None, bool]:
    """Write all of them; :class:`VersionConflictError` if a memory has changed since."""
    namespace = records.ensure_namespace(tx, path)
    activity_pk = records.insert_activity(tx, namespace.pk, activity)
    for one in returns:
        head = lookups.head(tx, namespace.pk, one.cube_id, deleted=True)
        assert head is not None  # it was there in the past, and nothing is ever taken out
        alive = lookups.head(tx, namespace.pk, one.cube_id) is not None
        expected = one.seen.version if one.seen is not None else head.cube.version
        erased = head.cube.memory_type == "erased"
        if erased or head.cube.version != expected or alive != (one.seen is not None):
            raise VersionConflictError(one.cube_id, expected=expected, actual=head.cube.version)
        if one.to is None:
            records.mark_deleted(tx, namespace, activity_pk, head)
        else:
            _write(tx, namespace, activity_pk, activity, head, one.to, one.vector, alive)
    return None, namespace.collection is not None


def _write(
    tx: sa.Connection,
    namespace: NamespaceRow,
    activity_pk: int,
    activity: Activity,
    head: Head,
    to: MemCube,
    vector: Vectors | None,
    alive: bool,
) -> None:
    searched, state = _is_searched(tx, head.cube_pk), to.state
    records.insert_version(tx, activity_pk, head, _again(to, head.cube, activity))
    _note_source(tx, head.cube_pk, to.version)
    if alive:
        records.remove_searchable(tx, head.cube_pk, activity_pk)
        if head.cube.state != state and {head.cube.state, state} != _LIVING:
            transitions.move(tx, activity_pk, [(head.cube_pk, head.cube.state, state)], "rollback")
    else:
        transitions.undelete(tx, activity_pk, head.cube_pk, state)
    if vector is not None and searched:
        records.set_searchable(tx, namespace, [(head.cube_pk, to)], vector.reshape(1, -1))
    records.changed(tx, namespace, [head.cube_pk], live=int(not alive), churn=1)


def _is_searched(tx: sa.Connection, cube_pk: int) -> bool:
    """Whether searches find, or found, it at all: not every message of a conversation is."""
    now = sa.select(embeddings.c.cube_pk).where(embeddings.c.cube_pk == cube_pk)
    before = sa.select(past.c.cube_pk).where(past.c.cube_pk == cube_pk)
    return tx.execute(sa.union_all(now, before).limit(1)).first() is not None


def _again(to: MemCube, now: MemCube, activity: Activity) -> MemCube:
    """The old words as the next version."""
    header = to.header.model_copy(
        update={
            "descriptive": to.header.descriptive.model_copy(update={"created_at": activity.at}),
            "behaviour": Behaviour(
                previous_version=now.version,
                context_fingerprint=fingerprint(to.text) if to.text else None,
            ),
        }
    )
    return to.model_copy(update={"version": now.version + 1, "header": header})


def _note_source(tx: sa.Connection, cube_pk: int, version: int) -> None:
    """The new version is derived from the old one, too."""
    pks = dict(
        tx.execute(
            sa.select(versions.c.version, versions.c.pk).where(versions.c.cube_pk == cube_pk)
        ).all()
    )
    newest = pks[max(pks)]
    tx.execute(
        sa.insert(edges).values(
            subject_pk=newest, object_pk=pks[version], relation="wasDerivedFrom"
        )
    )
