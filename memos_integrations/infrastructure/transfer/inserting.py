"""Staged memories as rows of the store: what one transaction of a loader writes.

Keys stay in order: what was written first gets the smaller key, so edges lead to the past.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.cube import Behaviour, MemCube, State
from memos_integrations.errors import ArchiveError
from memos_integrations.infrastructure import (
    audit,
    governance,
    lexical,
    lookups,
    records,
    transitions,
)
from memos_integrations.infrastructure.driver import hot
from memos_integrations.infrastructure.lookups import NamespaceRow
from memos_integrations.infrastructure.moments import LOADED
from memos_integrations.infrastructure.records import Activity
from memos_integrations.infrastructure.schema import from_micros, settings, versions
from memos_integrations.infrastructure.transfer.fates import namespaces_of
from memos_integrations.infrastructure.transfer.manner import Manner
from memos_integrations.infrastructure.transfer.staging import Staged
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.protocols import EmbedderFingerprint

BATCH = 256

_UNORDERED = "SELECT 1 FROM activities AS a JOIN activities AS b ON b.n = a.n + 1 AND b.at < a.at"
_WRITING = (
    "SELECT activity FROM versions JOIN memories USING (id) "
    "WHERE fate = 'new' OR (fate = 'onward' AND version > seen) UNION "
    "SELECT activity FROM transitions JOIN memories ON memory = memories.id WHERE fate = 'new'"
)


class Inserter:
    """One transaction of a loader."""

    def __init__(
        self,
        tx: sa.Connection,
        staged: Staged,
        vault: MemVault,
        manner: Manner,
        fingerprint: EmbedderFingerprint,
    ) -> None:
        self._tx, self._staged, self._vault, self._manner = tx, staged, vault, manner
        self._fingerprint = fingerprint
        self._spaces: dict[str, NamespaceRow] = {}
        self._loads: dict[str, int] = {}
        self._base = self._bases()
        self.grants = 0

    def write(self, activity: Callable[[], Activity]) -> bool:
        """Everything; whether the vector index follows."""
        self._vault.remember_embedder(self._tx, self._fingerprint)
        self._activities()
        for path in namespaces_of(self._staged):
            self._begin(path, activity())
        self._cubes()
        self._versions()
        self._pairs("edges")
        self._pairs("links")
        self._transitions()
        self._words()
        self._revisions()
        if self._manner.conflicts == "replace":
            self._restate()
        if self._manner.grants:
            self._grants()
        self._log()
        self._manner.also(self._tx, self._base["cubes"])
        follows = [self._vault.index_if_large(self._tx, one.path) for one in self._spaces.values()]
        return any(follows)

    def _bases(self) -> dict[str, int]:
        tables = ("activities", "cubes", "versions")
        return {
            name: hot(self._tx, f"SELECT coalesce(max(pk), 0) FROM {name}")[0][0] for name in tables
        }

    def _space(self, path: str) -> NamespaceRow:
        if path not in self._spaces:
            self._spaces[path] = records.ensure_namespace(self._tx, tuple(json.loads(path)))
        return self._spaces[path]

    def _activities(self) -> None:
        base = self._base["activities"]
        # What an activity wrote stands in the audit log for good: what is new is by a twin of it.
        twins = self._staged.rows(
            f"SELECT n FROM activities WHERE known > 0 AND id IN ({_WRITING})"
        )
        for (n,) in [*twins]:
            self._staged.change(
                "UPDATE activities SET known = NULL, twin = ? WHERE n = ?", [(str(uuid4()), n)]
            )
        for rows in self._coming():
            self._tx.exec_driver_sql(
                "INSERT INTO activities (pk, id, namespace_pk, verb, principal, at) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                [(base + n, id, self._space(path).pk, *said) for n, id, path, *said in rows],
            )
        if base or self._staged.one(_UNORDERED):  # clock and order part ways from here on
            self._tx.execute(sa.delete(settings).where(settings.c.key == LOADED))
            self._tx.execute(sa.insert(settings).values(key=LOADED, value="1"))

    def _few(self) -> int:
        """How many activities wrote about as much as is held in memory at a time."""
        count = "SELECT count(*) FROM {} WHERE {} IN (SELECT id FROM memories WHERE fate != 'same')"
        wrote = self._staged.one(count.format("versions", "id"))
        wrote += self._staged.one(count.format("transitions", "memory"))
        return max(
            1, int(BATCH * self._staged.one("SELECT count(*) FROM activities") // max(1, wrote))
        )

    def _coming(self, size: int = BATCH) -> Iterator[list[tuple[Any, ...]]]:
        """The activities that are to be written, in their order, many at a time."""
        query = (
            "SELECT n, coalesce(twin, id), path, verb, principal, at FROM activities WHERE known "
            f"IS NULL AND id IN ({_WRITING} UNION SELECT activity FROM links) ORDER BY n"
        )
        return _pages(self._staged.rows(query), size)

    def _log(self) -> None:
        """Each activity with what it wrote, in the audit log; those of this load follow."""
        base = self._base["activities"]
        for rows in self._coming(self._few()):
            wrote = audit.touched(self._tx, base + rows[0][0], base + rows[-1][0])
            entries = []
            for n, id, path, verb, who, at in rows:
                said = {"activity": id, "verb": verb, "who": who, "at": at}
                said |= {"in": json.loads(path), "decision": "allowed"}
                said |= {"loaded": self._manner.source}
                memories = wrote.get(base + n)
                entries.append(said | ({"memories": memories} if memories else {}))
            audit.append(self._tx, entries, self._vault.id)

    def _begin(self, path: Namespace, activity: Activity) -> None:
        key = json.dumps(path)
        pk = records.insert_activity(self._tx, self._space(key).pk, replace(activity, asker=None))
        self._loads[key] = pk

    def _activity_pk(self, n: int, known: int | None) -> int:
        return self._base["activities"] + n if known is None else known

    def _cubes(self) -> None:
        query = (
            "SELECT memories.n, memories.id, path, versions.n, memories.state, expires_at, "
            "quarantined, shelf, key, ttl FROM memories JOIN versions ON versions.id = memories.id "
            "AND versions.version = head WHERE fate = 'new' ORDER BY memories.n"
        )
        cube_base, version_base = self._base["cubes"], self._base["versions"]
        for page in _pages(self._staged.rows(query)):
            self._many(
                "INSERT INTO cubes (pk, id, namespace_pk, head_pk, state, expires_at, quarantined) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    (cube_base + n, id, self._space(path).pk, version_base + v, state, end, why)
                    for n, id, path, v, state, end, why, *_ in page
                ),
            )
            for n, _, path, *_, shelf, key, ttl in page:
                if shelf is not None:
                    self._key(cube_base + n, path, shelf, key, ttl)

    def _key(self, pk: int, path: str, shelf: str, key: str, ttl: int | None) -> None:
        space = self._space(path).pk
        taken = "SELECT 1 FROM keys WHERE namespace_pk = ? AND shelf = ? AND key = ?"
        if hot(self._tx, taken, space, shelf, key):
            raise ArchiveError(f"the key {key!r:.60} has another memory in this store")
        hot(self._tx, "INSERT INTO keys VALUES (?, ?, ?, ?, ?)", pk, space, shelf, key, ttl)

    def _versions(self) -> None:
        query = (
            "SELECT versions.n, body, memories.n, memories.cube_pk, activities.n, known "
            "FROM versions JOIN memories USING (id) "
            "JOIN activities ON activities.id = versions.activity "
            "WHERE fate = 'new' OR (fate = 'onward' AND version > seen) ORDER BY versions.n"
        )
        base = self._base["versions"]
        for page in _pages(self._staged.rows(query)):
            rows = [
                records.version_row(
                    base + n,
                    self._base["cubes"] + m if pk is None else pk,
                    self._activity_pk(a, known),
                    MemCube.model_validate_json(body),
                )
                for n, body, m, pk, a, known in page
            ]
            self._tx.execute(sa.insert(versions), rows)

    def _version_pk(self, cube_id: str, version: int) -> int | None:
        query = (
            "SELECT versions.n FROM versions JOIN memories USING (id) WHERE id = ? AND version = ? "
            "AND (fate = 'new' OR (fate = 'onward' AND version > seen))"
        )
        fresh = self._staged.one(query, cube_id, version)
        if fresh is not None:
            return int(self._base["versions"] + fresh)
        here = (
            "SELECT versions.pk FROM versions JOIN cubes ON cubes.pk = cube_pk "
            "WHERE cubes.id = ? AND version = ? "
            "AND cubes.pk NOT IN (SELECT cube_pk FROM tombstones)"
        )
        found = hot(self._tx, here, cube_id, version)
        return int(found[0][0]) if found else None

    def _pairs(self, table: str) -> None:
        """Edges and links whose later end is new here."""
        further = ", score, because, activity" if table == "links" else ""
        query = f"SELECT sid, sv, oid, ov, relation{further} FROM {table} ORDER BY rowid"
        first = self._base["versions"]
        for sid, sv, oid, ov, relation, *rest in self._staged.rows(query):
            s, o = self._version_pk(sid, sv), self._version_pk(oid, ov)
            if s is None or o is None or s <= first or o >= s:
                continue
            if rest:
                rest[2] = self._known_activity(rest[2])
            marks = ", ".join("?" * (3 + len(rest)))
            names = f"subject_pk, object_pk, relation{further.replace('activity', 'activity_pk')}"
            statement = f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})"
            hot(self._tx, statement, s, o, relation, *rest)

    def _known_activity(self, id: str) -> int:
        n, known = next(self._staged.rows("SELECT n, known FROM activities WHERE id = ?", id))
        return self._activity_pk(n, known)

    def _transitions(self) -> None:
        query = (
            "SELECT memories.n, activities.n, known, before, after, reason FROM transitions "
            "JOIN memories ON memory = memories.id JOIN activities ON activities.id = activity "
            "WHERE fate = 'new' ORDER BY transitions.n"
        )
        self._many(
            "INSERT INTO transitions (cube_pk, activity_pk, before, after, reason) "
            "VALUES (?, ?, ?, ?, ?)",
            (
                (self._base["cubes"] + n, self._activity_pk(a, known), *rest)
                for n, a, known, *rest in self._staged.rows(query)
            ),
        )

    def _words(self) -> None:
        """Let searches find the new memories."""
        query = (
            "SELECT memories.n, path, body, searched, parts FROM memories "
            "JOIN versions ON versions.id = memories.id AND versions.version = head "
            "WHERE fate = 'new' ORDER BY memories.n"
        )
        done, total = 0, self._staged.one("SELECT count(*) FROM memories WHERE fate = 'new'")
        for page in _pages(self._staged.rows(query)):
            by_space: dict[str, list[int]] = {}
            for n, path, body, searched, parts in page:
                pk = self._base["cubes"] + n
                by_space.setdefault(path, []).append(pk)
                if searched:
                    cube = MemCube.model_validate_json(body)
                    self._set_searchable(self._space(path), pk, cube, json.loads(parts))
            for path, pks in by_space.items():
                records.changed(self._tx, self._space(path), pks, live=len(pks), churn=0)
            done += len(page)
            self._manner.progress(done, total)

    def _set_searchable(
        self, space: NamespaceRow, pk: int, cube: MemCube, parts: list[list[int]]
    ) -> None:
        query = "SELECT vector FROM vectors WHERE memory = ? AND vector IS NOT NULL ORDER BY part"
        found = [bytes(one) for (one,) in self._staged.rows(query, cube.id)]
        if not found:
            return  # a memory without words
        first, *further = found
        hot(self._tx, "INSERT INTO embeddings VALUES (?, ?, ?)", pk, space.pk, first)
        for i, ((start, stop), vector) in enumerate(zip(parts, further, strict=True), 1):
            row = (pk, i, space.pk, start, stop, vector)
            hot(self._tx, "INSERT INTO facets VALUES (?, ?, ?, ?, ?, ?)", *row)
        lexical.insert(self._tx, space.pk, [(pk, records.lexical_text(cube))])

    def _revisions(self) -> None:
        """Memories that are here and go on."""
        query = (
            "SELECT memories.id, path, fate, memories.cube_pk, body, searched, parts, versions.n "
            "FROM memories JOIN versions ON versions.id = memories.id AND versions.version = head "
            "WHERE fate IN ('onward', 'next') ORDER BY memories.n"
        )
        for id, path, fate, pk, body, searched, parts, n in self._staged.rows(query):
            cube, space, load = (
                MemCube.model_validate_json(body),
                self._space(path),
                self._loads[path],
            )
            was_found = bool(hot(self._tx, "SELECT 1 FROM embeddings WHERE cube_pk = ?", pk))
            records.remove_searchable(self._tx, pk, load)
            if fate == "next":
                cube = self._next(space, load, id, cube)
            else:
                head = self._base["versions"] + n
                hot(self._tx, "UPDATE cubes SET head_pk = ? WHERE pk = ?", head, pk)
            if searched and was_found:
                self._set_searchable(space, pk, cube, json.loads(parts))
            records.changed(self._tx, space, [pk], live=0, churn=1)

    def _next(self, space: NamespaceRow, load: int, id: str, cube: MemCube) -> MemCube:
        head = lookups.head(self._tx, space.pk, id)
        assert head is not None  # confirmed in this transaction
        at = hot(self._tx, "SELECT at FROM activities WHERE pk = ?", load)[0][0]
        about = cube.header.descriptive.model_copy(update={"created_at": from_micros(at)})
        rules = cube.header.governance.model_copy(
            update={
                "owner": head.cube.header.governance.owner,
                "expires_at": head.cube.header.governance.expires_at,
            }
        )
        behaviour = Behaviour(
            previous_version=head.cube.version,
            context_fingerprint=cube.header.behaviour.context_fingerprint,
        )
        header = cube.header.model_copy(
            update={"descriptive": about, "governance": rules, "behaviour": behaviour}
        )
        after = cube.model_copy(
            update={"version": head.cube.version + 1, "header": header, "state": head.cube.state}
        )
        records.insert_version(self._tx, load, head, after)
        return after

    def _restate(self) -> None:
        """State and end of life of those that are here already become what is loaded."""
        query = (
            "SELECT path, cube_pk, state, expires_at FROM memories "
            "WHERE fate IN ('onward', 'next', 'restated')"
        )
        for path, pk, state, end in self._staged.rows(query):
            now = hot(self._tx, "SELECT state FROM cubes WHERE pk = ?", pk)[0]
            hot(self._tx, "UPDATE cubes SET expires_at = ? WHERE pk = ?", end, pk)
            if now[0] != state:
                move = [(pk, State(now[0]), State(state))]
                transitions.move(self._tx, self._loads[path], move, "loaded")

    def _grants(self) -> None:
        known = {one.id for one in governance.read_grants(self._tx)}
        for (body,) in self._staged.rows("SELECT body FROM grants ORDER BY n"):
            grant = governance.loaded_grant(json.loads(body))
            if grant.id not in known and (grant.via is None or grant.via in known):
                governance.insert_grant(self._tx, grant)
                self.grants += 1
            known.add(grant.id)

    def _many(self, statement: str, rows: Iterator[tuple[Any, ...]]) -> None:
        for page in _pages(rows):
            self._tx.exec_driver_sql(statement, page)


def _pages(rows: Iterator[tuple[Any, ...]], size: int = BATCH) -> Iterator[list[tuple[Any, ...]]]:
    page: list[tuple[Any, ...]] = []
    for row in rows:
        page.append(row)
        if len(page) == size:
            yield page
            page = []
    if page:
        yield page
