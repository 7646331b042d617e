"""Erasing in SQL: what a set of memories is made of, and how its content goes from every table.

A tombstone stays: that there was a memory, how many versions it had, when they were written and by
whom. Every function takes the transaction it works in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.cube import Behaviour, Descriptive, Erased, Governance, Header, MemCube
from memos_integrations.errors import FrozenCubeError
from memos_integrations.infrastructure import receipts, records, transitions
from memos_integrations.infrastructure.driver import hot
from memos_integrations.infrastructure.lookups import NamespaceRow
from memos_integrations.infrastructure.receipts import Gone, Left, Receipt
from memos_integrations.infrastructure.schema import from_micros

ERASED = "erased"
"""What stands where words cannot be missing."""

_AMONG = "(SELECT value FROM json_each(?))"
_THEIR_VERSIONS = f"(SELECT pk FROM versions WHERE cube_pk IN {_AMONG})"
_THEIR_PAST = f"(SELECT pk FROM past WHERE cube_pk IN {_AMONG})"

# Few memories first, each with its few versions: SQLite joins a CROSS JOIN in the order written.
_DERIVED = (
    "WITH RECURSIVE doomed(pk) AS (SELECT value FROM json_each(?) UNION "
    "SELECT later.cube_pk FROM doomed "
    "CROSS JOIN versions AS earlier ON earlier.cube_pk = doomed.pk "
    "CROSS JOIN edges ON edges.object_pk = earlier.pk AND edges.relation = 'wasDerivedFrom' "
    "CROSS JOIN versions AS later ON later.pk = edges.subject_pk "
    # What was brought back out of an adapter has the words of one memory, not of all it knew.
    "WHERE earlier.memory_type != 'parameter' OR NOT EXISTS (SELECT 1 FROM edges AS others "
    "JOIN versions AS words ON words.pk = others.object_pk AND words.memory_type = 'plaintext' "
    "WHERE others.subject_pk = later.pk AND others.relation = 'wasDerivedFrom')) "
    "SELECT pk FROM doomed ORDER BY pk"
)
# An adapter cannot unlearn one of its sources, nor a KV cache: it goes with each of them, and its
# copies with it.
_MADE_OF = (
    "WITH RECURSIVE doomed(pk) AS (SELECT value FROM json_each(?) UNION "
    "SELECT later.cube_pk FROM doomed "
    "CROSS JOIN versions AS earlier ON earlier.cube_pk = doomed.pk "
    "CROSS JOIN edges ON edges.object_pk = earlier.pk AND edges.relation = 'wasDerivedFrom' "
    "CROSS JOIN versions AS later ON later.pk = edges.subject_pk "
    "AND later.memory_type IN ('activation', 'parameter')) SELECT pk FROM doomed"
)
_LEARNED = (
    "SELECT DISTINCT cubes.id FROM json_each(?) AS asked "
    "CROSS JOIN versions ON versions.cube_pk = asked.value AND memory_type = 'parameter' "
    "JOIN cubes ON cubes.pk = versions.cube_pk ORDER BY cubes.pk"
)
_SOURCES = (
    "SELECT DISTINCT earlier.cube_pk FROM json_each(?) AS asked "
    "CROSS JOIN versions AS later ON later.cube_pk = asked.value "
    "CROSS JOIN edges ON edges.subject_pk = later.pk AND edges.relation = 'wasDerivedFrom' "
    "CROSS JOIN versions AS earlier ON earlier.pk = edges.object_pk "
    f"WHERE earlier.cube_pk NOT IN {_AMONG} "
    "AND earlier.cube_pk NOT IN (SELECT cube_pk FROM tombstones) ORDER BY 1"
)
_CUBES = (
    "SELECT cubes.pk, cubes.id, cubes.namespace_pk, namespaces.path, namespaces.collection, "
    "namespaces.live, cubes.deleted_by, cubes.state, "
    "(SELECT count(*) FROM versions WHERE cube_pk = cubes.pk) FROM json_each(?) AS asked "
    "CROSS JOIN cubes ON cubes.pk = asked.value "
    "JOIN namespaces ON namespaces.pk = cubes.namespace_pk ORDER BY cubes.pk"
)
_VERSIONS = (
    "SELECT versions.pk, cubes.id, versions.version, namespaces.path, versions.created_at, "
    "versions.owner, versions.access FROM json_each(?) AS asked "
    "CROSS JOIN versions ON versions.cube_pk = asked.value "
    "JOIN cubes ON cubes.pk = versions.cube_pk "
    "JOIN namespaces ON namespaces.pk = cubes.namespace_pk"
)
_BLOBS = (
    "SELECT DISTINCT json_extract(body, '$.payload.blob') FROM versions "
    f"WHERE cube_pk IN {_AMONG} AND memory_type IN ('activation', 'parameter')"
)
_HELD_BLOBS = (
    "SELECT DISTINCT json_extract(body, '$.payload.blob') FROM versions "
    f"WHERE cube_pk NOT IN {_AMONG} AND memory_type IN ('activation', 'parameter')"
)
_EXPORTS = (
    "SELECT exports.cube_id, exports.version, exports.archive, exports.principal, exports.at "
    "FROM json_each(?) AS asked CROSS JOIN cubes ON cubes.pk = asked.value "
    "CROSS JOIN exports ON exports.cube_id = cubes.id ORDER BY exports.pk"
)
_COUNTS = {
    "vectors": (
        f"SELECT (SELECT count(*) FROM embeddings WHERE cube_pk IN {_AMONG}) + "
        f"(SELECT count(*) FROM facets WHERE cube_pk IN {_AMONG}) + "
        f"(SELECT count(*) FROM staged_embeddings WHERE cube_pk IN {_AMONG}) + "
        f"(SELECT count(*) FROM past WHERE vector IS NOT NULL AND cube_pk IN {_AMONG})"
    ),
    "words": (
        f"SELECT (SELECT count(*) FROM lexicon WHERE rowid IN {_AMONG}) + "
        f"(SELECT count(*) FROM past_lexicon WHERE rowid IN {_THEIR_PAST})"
    ),
    "keys": f"SELECT count(*) FROM keys WHERE cube_pk IN {_AMONG}",
    "links": (
        f"SELECT count(*) FROM links WHERE subject_pk IN {_THEIR_VERSIONS} "
        f"OR object_pk IN {_THEIR_VERSIONS}"
    ),
    "placements": f"SELECT count(*) FROM placements WHERE cube_pk IN {_AMONG}",
    "sealed": f"SELECT count(*) FROM sealed WHERE version_pk IN {_THEIR_VERSIONS}",
}
_GOES = (
    f"DELETE FROM past_lexicon WHERE rowid IN {_THEIR_PAST}",
    f"DELETE FROM lexicon WHERE rowid IN {_AMONG}",
    f"DELETE FROM past WHERE cube_pk IN {_AMONG}",
    f"DELETE FROM facets WHERE cube_pk IN {_AMONG}",
    f"DELETE FROM embeddings WHERE cube_pk IN {_AMONG}",
    f"DELETE FROM staged_embeddings WHERE cube_pk IN {_AMONG}",
    f"DELETE FROM keys WHERE cube_pk IN {_AMONG}",
    f"DELETE FROM links WHERE subject_pk IN {_THEIR_VERSIONS}",
    f"DELETE FROM links WHERE object_pk IN {_THEIR_VERSIONS}",
    f"DELETE FROM placements WHERE cube_pk IN {_AMONG}",
    f"DELETE FROM usage WHERE cube_pk IN {_AMONG}",
    f"DELETE FROM sealed WHERE version_pk IN {_THEIR_VERSIONS}",
    f"UPDATE transitions SET reason = '{ERASED}' WHERE cube_pk IN {_AMONG}",
    # What a job was about to do is void; why it was decided may quote the memory.
    f"UPDATE jobs SET reason = '{ERASED}', "
    f"outcome = CASE status WHEN 'done' THEN '' ELSE '{ERASED}' END, "
    "status = CASE status WHEN 'waiting' THEN 'skipped' ELSE status END "
    f"WHERE cube_pk IN {_AMONG}",
    # The key of a call may hold words. Where the call wrote other memories, too, it still keeps
    # these from being written twice; the digest of all it wrote goes in any case.
    "UPDATE activities SET digest = NULL, idempotency_key = CASE WHEN EXISTS (SELECT 1 "
    "FROM versions WHERE versions.activity_pk = activities.pk AND versions.cube_pk NOT IN "
    "(SELECT cube_pk FROM tombstones)) THEN idempotency_key END "
    f"WHERE pk IN (SELECT activity_pk FROM versions WHERE cube_pk IN {_AMONG})",
)
_TOMBSTONE = (
    "UPDATE versions SET body = ?, memory_type = 'erased', event_time = NULL, said_at = NULL, "
    f"expires_at = NULL, origin = '{ERASED}', role = NULL, speaker = NULL, source = NULL, "
    f"semantic_type = '{ERASED}', priority = 5, frozen = 0, context_fingerprint = NULL "
    "WHERE pk = ?"
)


@dataclass(frozen=True)
class _Cube:
    """A memory that is to go."""

    pk: int
    id: str
    space: NamespaceRow
    deleted: bool
    state: str
    versions: int


def survey(
    tx: sa.Connection, cube_pks: Collection[int], *, cascade: bool, receipt: Receipt
) -> tuple[Receipt, list[int]]:
    """What an erasure of these cubes takes away: the receipt, filled in, and the cubes' keys.

    With ``cascade`` all that was derived from them goes, too; without it, the adapters and KV
    caches that were made of them. :class:`FrozenCubeError` if a frozen memory is among what goes.
    """
    asked = sorted(set(cube_pks))
    reached = [pk for (pk,) in hot(tx, _DERIVED, json.dumps(asked))]
    later = _not_erased(tx, set(reached) - set(asked))
    made = {pk for (pk,) in hot(tx, _MADE_OF, json.dumps(asked))}
    doomed = [*asked, *(pk for pk in later if cascade or pk in made)]
    gone = _cubes(tx, doomed)
    for one in gone:
        if one.state == "frozen" and not one.deleted:
            raise FrozenCubeError(
                f"memory {one.id} is frozen: it cannot be erased until unfreeze; nothing was"
            )
    keys = json.dumps(doomed)
    sources = [pk for (pk,) in hot(tx, _SOURCES, keys, keys)]
    held = {blob for (blob,) in hot(tx, _HELD_BLOBS, keys)} if _has_blobs(tx, keys) else set()
    blobs = sorted({blob for (blob,) in hot(tx, _BLOBS, keys)} - held)
    order = {pk: place for place, pk in enumerate(doomed)}
    counts: dict[str, Any] = {name: _counted(tx, query, keys) for name, query in _COUNTS.items()}
    filled = replace(
        receipt,
        memories=tuple(
            Gone(one.id, one.space.path, one.versions, one.pk not in set(asked))
            for one in sorted(gone, key=lambda one: order[one.pk])
        ),
        kept_derived=tuple(one.id for one in _cubes(tx, set(later) - set(doomed))),
        kept_sources=tuple(one.id for one in _cubes(tx, sources)),
        blobs=tuple(blobs),
        adapters=tuple(id for (id,) in hot(tx, _LEARNED, keys)),
        exports=tuple(
            Left(id, version, archive, who, from_micros(at))
            for id, version, archive, who, at in hot(tx, _EXPORTS, keys)
        ),
        **counts,
    )
    return filled, doomed


def erase(
    tx: sa.Connection,
    receipt: Receipt,
    doomed: Sequence[int],
    activity: Callable[[], records.Activity],
) -> None:
    """Take the content of these cubes out of every table, and keep the receipt.

    ``activity`` gives each namespace that they stand in an activity of its own.
    """
    gone, keys = _cubes(tx, doomed), json.dumps(list(doomed))
    erasure_pk = receipts.write(tx, receipt)
    tx.exec_driver_sql("INSERT INTO tombstones VALUES (?, ?)", [(pk, erasure_pk) for pk in doomed])
    for statement in _GOES:
        tx.exec_driver_sql(statement, (keys,) * statement.count("?"))
    bodies = [(_tombstone(*row[1:]), row[0]) for row in hot(tx, _VERSIONS, keys)]
    tx.exec_driver_sql(_TOMBSTONE, bodies)
    for space in {one.space.pk: one.space for one in gone}.values():
        _end(tx, space, [one for one in gone if one.space.pk == space.pk], activity())


def erased_among(tx: sa.Connection, cube_pks: Iterable[int]) -> set[int]:
    """Those of these cubes that are tombstones."""
    query = f"SELECT cube_pk FROM tombstones WHERE cube_pk IN {_AMONG}"
    return {pk for (pk,) in hot(tx, query, json.dumps(list(cube_pks)))}


def is_indexed(tx: sa.Connection, cube_ids: Collection[str]) -> bool:
    """Whether one of these cubes stands in a namespace that has a vector index."""
    query = (
        "SELECT 1 FROM json_each(?) AS asked CROSS JOIN cubes ON cubes.id = asked.value "
        "JOIN namespaces ON namespaces.pk = cubes.namespace_pk "
        "WHERE namespaces.collection IS NOT NULL LIMIT 1"
    )
    return bool(hot(tx, query, json.dumps(list(cube_ids))))


def _end(
    tx: sa.Connection, space: NamespaceRow, gone: Sequence[_Cube], activity: records.Activity
) -> None:
    """Note that memories of one namespace have ended."""
    activity_pk = records.insert_activity(tx, space.pk, activity)
    tx.exec_driver_sql(
        "INSERT INTO transitions (cube_pk, activity_pk, before, after, reason) "
        f"VALUES (?, ?, ?, '{transitions.DELETED}', '{ERASED}')",
        [(one.pk, activity_pk, transitions.DELETED if one.deleted else one.state) for one in gone],
    )
    tx.exec_driver_sql(
        "UPDATE cubes SET deleted_by = coalesce(deleted_by, ?), expires_at = NULL, "
        "quarantined = NULL WHERE pk = ?",
        [(activity_pk, one.pk) for one in gone],
    )
    there = sum(not one.deleted for one in gone)
    records.changed(tx, space, [one.pk for one in gone], live=-there, churn=there)


def _cubes(tx: sa.Connection, cube_pks: Iterable[int]) -> list[_Cube]:
    return [
        _Cube(
            pk,
            id,
            NamespaceRow(space, live, collection, tuple(json.loads(path))),
            deleted_by is not None,
            state,
            count,
        )
        for pk, id, space, path, collection, live, deleted_by, state, count in hot(
            tx, _CUBES, json.dumps(list(cube_pks))
        )
    ]


def _not_erased(tx: sa.Connection, cube_pks: Collection[int]) -> list[int]:
    return sorted(set(cube_pks) - erased_among(tx, cube_pks))


def _counted(tx: sa.Connection, query: str, keys: str) -> int:
    return int(hot(tx, query, *[keys] * query.count("?"))[0][0])


def _has_blobs(tx: sa.Connection, keys: str) -> bool:
    return bool(hot(tx, f"{_BLOBS} LIMIT 1", keys))


def _tombstone(id: str, version: int, path: str, created_at: int, owner: str, access: Any) -> str:
    """A version of which only its place and time are left."""
    space: Namespace = tuple(json.loads(path))
    header = Header(
        descriptive=Descriptive(
            created_at=from_micros(created_at), origin=ERASED, semantic_type=ERASED
        ),
        governance=Governance(owner=owner, access=access),
        behaviour=Behaviour(previous_version=version - 1 if version > 1 else None),
    )
    cube = MemCube(id=id, version=version, namespace=space, header=header, payload=Erased())
    return cube.model_dump_json()
