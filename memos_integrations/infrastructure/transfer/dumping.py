"""MemDumper: what somebody may read of a namespace and all below it, as an archive."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.errors import ArchiveError
from memos_integrations.infrastructure import lookups, records
from memos_integrations.infrastructure.access import Sight, at_or_below
from memos_integrations.infrastructure.filters import Clause
from memos_integrations.infrastructure.records import Activity
from memos_integrations.infrastructure.schema import (
    cubes,
    namespaces,
    to_micros,
    tombstones,
    transitions,
    versions,
)
from memos_integrations.infrastructure.transfer.format import ROWS, Manifest, dumped
from memos_integrations.infrastructure.transfer.redaction import redacted_version
from memos_integrations.infrastructure.transfer.writing import ArchiveWriter, writing
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.infrastructure.vectors import decode

Progress = Callable[[int, int], None]
Row = sa.Row[Any]


@dataclass(frozen=True)
class Wanted:
    """What is to be in an archive."""

    root: Namespace
    filters: Sequence[Clause] = ()
    below: bool = True
    until: int | None = None
    """The last activity of the moment that is asked for; ``None``: now."""
    as_of: datetime | None = None
    vectors: bool = False
    blobs: bool = False
    grants: bool = False
    audit: bool = False
    redacted: bool = False


@dataclass(frozen=True)
class Dumped:
    """An archive that was written."""

    id: str
    path: Path
    memories: int
    versions: int
    bytes: int
    digest: str
    """SHA-256 of the manifest, and so of all that is in the archive."""


_chosen = sa.Table(
    "dump_chosen",
    sa.MetaData(),
    sa.Column("cube_pk", sa.Integer, primary_key=True),
    sa.Column("head_pk", sa.Integer),
    sa.Column("state", sa.Text),
    prefixes=["TEMPORARY"],
)

# Read in the order of the keys, so that nothing is sorted in memory.
# Every version that goes into the archive: of the chosen memories, none after the moment.
_IN = "versions.cube_pk IN (SELECT cube_pk FROM dump_chosen) AND versions.activity_pk <= :until"
_VERSIONS = (
    "SELECT cubes.id, activities.id AS activity, versions.body FROM versions NOT INDEXED "
    "CROSS JOIN cubes ON cubes.pk = versions.cube_pk CROSS JOIN activities "
    f"ON activities.pk = versions.activity_pk WHERE {_IN} ORDER BY versions.pk"
)
_MEMORIES = (
    "SELECT cubes.pk, cubes.id, namespaces.path, dump_chosen.state, cubes.expires_at, "
    "cubes.quarantined, keys.shelf, keys.key, keys.ttl, versions.body, versions.version, "
    "EXISTS (SELECT 1 FROM embeddings WHERE cube_pk = cubes.pk) AS searched, "
    "(SELECT json_group_array(json_array(start, stop)) FROM (SELECT start, stop FROM facets "
    "WHERE cube_pk = cubes.pk ORDER BY part)) AS parts, versions.pk = cubes.head_pk AS present "
    "FROM dump_chosen CROSS JOIN cubes ON cubes.pk = dump_chosen.cube_pk "
    "CROSS JOIN namespaces ON namespaces.pk = cubes.namespace_pk "
    "CROSS JOIN versions ON versions.pk = dump_chosen.head_pk "
    "LEFT JOIN keys ON keys.cube_pk = cubes.pk ORDER BY dump_chosen.cube_pk"
)
_TRANSITIONS = (
    "SELECT cubes.id AS memory, activities.id AS activity, transitions.before, transitions.after, "
    "transitions.reason FROM transitions JOIN cubes ON cubes.pk = transitions.cube_pk "
    "JOIN activities ON activities.pk = transitions.activity_pk "
    "WHERE transitions.cube_pk IN (SELECT cube_pk FROM dump_chosen) "
    "AND transitions.activity_pk <= :until ORDER BY transitions.pk"
)
_BOTH_ENDS = (
    "JOIN versions AS s ON s.pk = subject_pk JOIN versions AS o ON o.pk = object_pk "
    "JOIN cubes AS sc ON sc.pk = s.cube_pk JOIN cubes AS oc ON oc.pk = o.cube_pk "
    "WHERE s.cube_pk IN (SELECT cube_pk FROM dump_chosen) AND s.activity_pk <= :until "
    "AND o.cube_pk IN (SELECT cube_pk FROM dump_chosen) AND o.activity_pk <= :until"
)
_EDGES = (
    "SELECT sc.id AS sid, s.version AS sv, oc.id AS oid, o.version AS ov, relation FROM edges "
    f"{_BOTH_ENDS} ORDER BY subject_pk, object_pk, relation"
)
_LINKS = (
    "SELECT sc.id AS sid, s.version AS sv, oc.id AS oid, o.version AS ov, relation, score, "
    "because, activities.id AS activity FROM links "
    f"JOIN activities ON activities.pk = links.activity_pk {_BOTH_ENDS} "
    "AND links.activity_pk <= :until ORDER BY subject_pk, object_pk, relation"
)
_ACTIVITIES = (
    "SELECT activities.id, namespaces.path, verb, principal, at FROM activities "
    "JOIN namespaces ON namespaces.pk = activities.namespace_pk WHERE activities.pk IN ("
    f"SELECT activity_pk FROM versions WHERE {_IN} UNION "
    "SELECT activity_pk FROM transitions WHERE cube_pk IN (SELECT cube_pk FROM dump_chosen) "
    "AND activity_pk <= :until UNION "
    f"SELECT links.activity_pk FROM links {_BOTH_ENDS} AND links.activity_pk <= :until"
    ") ORDER BY activities.pk"
)
_VECTORS = tuple(
    f"SELECT cubes.id, {part} AS part, {table}.vector FROM dump_chosen "
    "CROSS JOIN cubes ON cubes.pk = dump_chosen.cube_pk AND cubes.head_pk = dump_chosen.head_pk "
    f"CROSS JOIN {table} ON {table}.cube_pk = dump_chosen.cube_pk "
    f"ORDER BY dump_chosen.cube_pk{', facets.part' if table == 'facets' else ''}"
    for table, part in (("embeddings", "0"), ("facets", "facets.part"))
)
_BLOBS = (
    "SELECT DISTINCT json_extract(versions.body, '$.payload.blob') FROM versions WHERE "
    f"{_IN} AND versions.memory_type IN ('activation', 'parameter') ORDER BY 1"
)


class MemDumper:
    """Writes one archive from one moment of the store."""

    def __init__(self, vault: MemVault, wanted: Wanted, progress: Progress | None = None) -> None:
        self._vault, self._wanted = vault, wanted
        self._progress = progress or (lambda done, total: None)
        self._until = (1 << 62) if wanted.until is None else wanted.until
        self._left: tuple[array[int], array[int]] = array("q"), array("q")

    def dump(self, target: Path, activity: Activity) -> Dumped:
        """Write it; what left stands in ``exports`` before the archive is in its place."""
        wanted, vault = self._wanted, self._vault
        manifest = Manifest(
            id=activity.id,
            created_at=activity.at.isoformat(),
            root=wanted.root,
            redacted=wanted.redacted,
            as_of=None if wanted.as_of is None else wanted.as_of.isoformat(),
            embedder=self._embedder(),
        )
        with writing(target) as writer:
            with vault.reading() as (tx, _):
                try:
                    self._choose(tx, vault.sight())
                    self._write(tx, writer)
                finally:
                    _chosen.drop(tx, checkfirst=True)
            done = writer.finish(manifest)
            vault.commit(partial(self._note, activity))
        counts = done.counts
        return Dumped(
            done.id,
            target,
            counts.get("memories", 0),
            counts.get("versions", 0),
            target.stat().st_size,
            _digest(done),
        )

    def _embedder(self) -> dict[str, Any] | None:
        made = self._vault.embedder if self._wanted.vectors else None
        return None if made is None else asdict(made)

    def _choose(self, tx: sa.Connection, sight: Sight) -> None:
        """The memories that ``get`` would give, each with the version and state of the moment."""
        wanted = self._wanted
        there = at_or_below(wanted.root)
        if not wanted.below:
            there = [namespaces.c.path == json.dumps(wanted.root)]
        rows = (
            sa.select(cubes.c.pk, versions.c.pk, self._state())
            .select_from(self._then())
            .join(namespaces, namespaces.c.pk == cubes.c.namespace_pk)
            .where(
                *there,
                *wanted.filters,
                *sight.everywhere().clauses_below(),
                *self._vault.kept(),
                sa.or_(cubes.c.deleted_by.is_(None), cubes.c.deleted_by > self._until),
                cubes.c.pk.not_in(lookups.ERASED),
                self._state() != "deleted",
            )
        )
        if not wanted.blobs:
            rows = rows.where(versions.c.memory_type == "plaintext")
        _chosen.create(tx)
        tx.execute(sa.insert(_chosen).from_select(["cube_pk", "head_pk", "state"], rows))

    def _then(self) -> sa.Join:
        if self._wanted.until is None:
            return lookups.HEADS
        each = versions.alias("each")
        newest = (
            sa.select(each.c.pk)
            .where(each.c.cube_pk == cubes.c.pk, each.c.activity_pk <= self._until)
            .order_by(each.c.version.desc())
            .limit(1)
            .scalar_subquery()
        )
        return cubes.join(versions, versions.c.pk == newest)

    def _state(self) -> sa.ColumnElement[str]:
        if self._wanted.until is None:
            return cubes.c.state
        last = (
            sa.select(transitions.c.after)
            .where(transitions.c.cube_pk == cubes.c.pk, transitions.c.activity_pk <= self._until)
            .order_by(transitions.c.pk.desc())
            .limit(1)
            .scalar_subquery()
        )
        return sa.func.coalesce(last, "generated")

    # Members ------------------------------------------------------------------------------

    def _write(self, tx: sa.Connection, writer: ArchiveWriter) -> None:
        wanted = self._wanted
        total = int(tx.execute(sa.text("SELECT count(*) FROM dump_chosen")).scalar_one())
        ask = self._asked
        writer.lines("activities", map(self._activity, ask(tx, _ACTIVITIES)))
        writer.lines("memories", self._memories(tx, total))
        writer.lines("versions", map(self._version, ask(tx, _VERSIONS)))
        writer.lines("edges", (dumped(_ends(row)) for row in ask(tx, _EDGES)))
        if not wanted.redacted:
            writer.lines("links", (dumped(_link(row)) for row in ask(tx, _LINKS)))
        writer.lines("transitions", map(self._transition, ask(tx, _TRANSITIONS)))
        if wanted.grants:
            writer.lines("grants", self._grants())
        if wanted.audit:
            writer.lines("audit", self._audit(tx))
        if wanted.vectors:
            self._vectors(tx, writer)
        if wanted.blobs:
            for digest in [row[0] for row in ask(tx, _BLOBS)]:
                writer.member(f"blobs/{digest}", [self._vault.blobs.get(digest)])

    def _asked(self, tx: sa.Connection, query: str) -> Iterator[Row]:
        """Row by row: a result is never held whole."""
        given = {"until": self._until} if ":until" in query else {}
        return iter(
            tx.execution_options(stream_results=True, max_row_buffer=256).execute(
                sa.text(query), given
            )
        )

    def _activity(self, row: Row) -> bytes:
        who = "redacted" if self._wanted.redacted else row.principal
        said = {"id": row.id, "verb": row.verb, "principal": who, "at": row.at}
        return dumped({**said, "namespace": self._relative(row.path)})

    def _memories(self, tx: sa.Connection, total: int) -> Iterator[bytes]:
        pks, numbers = self._left
        for done, row in enumerate(self._asked(tx, _MEMORIES), 1):
            pks.append(row.pk)
            numbers.append(row.version)
            if done % 256 == 0 or done == total:
                self._progress(done, total)
            key = {"shelf": row.shelf, "key": row.key, "ttl": row.ttl}
            named = row.shelf is not None and not self._wanted.redacted
            yield dumped(
                {
                    "id": row.id,
                    "namespace": self._relative(row.path),
                    "state": row.state,
                    "expires_at": row.expires_at,
                    "quarantined": row.quarantined,
                    "key": key if named else None,
                    "searched": bool(row.searched),
                    "parts": json.loads(row.parts) if row.present else [],
                }
            )

    def _version(self, row: Row) -> bytes:
        cube = json.loads(row.body)
        if self._wanted.redacted:
            cube = redacted_version(cube)
        kept = {name: cube[name] for name in ("id", "version", "state", "header", "payload")}
        return dumped({**kept, "activity": row.activity})

    def _transition(self, row: Row) -> bytes:
        said = dict(row._mapping)
        return dumped({**said, "reason": ""} if self._wanted.redacted else said)

    def _grants(self) -> Iterator[bytes]:
        now, root = self._vault.sight().now, self._wanted.root
        for one in self._vault.rules.active(now):
            if one.namespace[: len(root)] == root:
                yield dumped(
                    {
                        "id": one.id,
                        "principal": one.principal,
                        "role": one.role,
                        "rights": sorted(one.rights),
                        "namespace": one.namespace[len(root) :],
                        "tag": one.tag,
                        "semantic_type": one.semantic_type,
                        "memory": one.memory_id,
                        "purpose": one.purpose,
                        "expires_at": None if one.expires_at is None else to_micros(one.expires_at),
                        "granted_by": one.granted_by,
                        "via": one.via,
                        "at": to_micros(one.at),
                    }
                )

    def _audit(self, tx: sa.Connection) -> Iterator[bytes]:
        for row in self._asked(tx, "SELECT seq, entry, hash FROM audit ORDER BY seq"):
            yield dumped({"seq": row.seq, "entry": row.entry, "hash": bytes(row.hash).hex()})

    def _vectors(self, tx: sa.Connection, writer: ArchiveWriter) -> None:
        from safetensors.numpy import save

        for number, page in enumerate(_pages(self._all_vectors(tx), ROWS)):
            rows = decode([bytes(row.vector) for row in page])
            writer.member(f"vectors/{number:05d}.safetensors", [save({"vectors": rows})])
        names = (dumped({"memory": r.id, "part": r.part}) for r in self._all_vectors(tx))
        writer.lines("vectors", names)

    def _all_vectors(self, tx: sa.Connection) -> Iterator[Row]:
        return chain.from_iterable(self._asked(tx, query) for query in _VECTORS)

    def _relative(self, path: str) -> list[str]:
        full = json.loads(path)
        return list(full[len(self._wanted.root) :])

    # Afterwards ---------------------------------------------------------------------------

    def _note(self, activity: Activity, tx: sa.Connection) -> tuple[None, bool]:
        """Write down what leaves; refuse if one of these was erased meanwhile."""
        gone = set(tx.execute(sa.select(tombstones.c.cube_pk)).scalars())
        if not gone.isdisjoint(self._left[0]):
            raise ArchiveError("a memory was erased while it was written: dump again")
        namespace = records.ensure_namespace(tx, self._wanted.root)
        records.insert_activity(tx, namespace.pk, replace(activity, asker=None))
        note_exports(tx, zip(*self._left, strict=True), activity.id, activity)
        return None, False


def note_exports(
    tx: sa.Connection, left: Iterator[tuple[int, int]], archive: str, activity: Activity
) -> None:
    """Write down that memories (keys and versions) left the store, and in what."""
    where = (archive, activity.principal, to_micros(activity.at))
    while rows := [(version, *where, pk) for pk, version in islice(left, 1000)]:
        tx.exec_driver_sql(
            "INSERT INTO exports (cube_id, version, archive, principal, at) "
            "SELECT id, ?, ?, ?, ? FROM cubes WHERE pk = ?",
            rows,
        )


def _ends(row: Row) -> dict[str, Any]:
    return {"s": [row.sid, row.sv], "o": [row.oid, row.ov], "relation": row.relation}


def _link(row: Row) -> dict[str, Any]:
    about = {"score": row.score, "because": row.because, "activity": row.activity}
    return {**_ends(row), **about}


def _pages(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    page: list[Row] = []
    for row in rows:
        page.append(row)
        if len(page) == size:
            yield page
            page = []
    if page:
        yield page


def _digest(manifest: Manifest) -> str:
    return hashlib.sha256(manifest.written()).hexdigest()
