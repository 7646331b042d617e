"""What is to be loaded, on disk and checked, before a store hears of it.

A private SQLite database without a name: it spills to a file that nobody else can open, and that
is gone when the process ends. So an archive of any size is checked as a whole in little memory.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from memos_integrations.checks import Namespace, check_id, check_namespace, check_text, freeze_json
from memos_integrations.cube import MemCube, State
from memos_integrations.errors import ArchiveError, InvalidInputError

_TABLES = """
CREATE TABLE activities (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, path TEXT NOT NULL,
  verb TEXT NOT NULL, principal TEXT NOT NULL, at INTEGER NOT NULL, known INTEGER,
  twin TEXT);
CREATE TABLE memories (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, path TEXT NOT NULL,
  state TEXT NOT NULL, expires_at INTEGER, quarantined TEXT, shelf TEXT, key TEXT, ttl INTEGER,
  searched INTEGER NOT NULL, parts TEXT NOT NULL, head INTEGER, fate TEXT, cube_pk INTEGER,
  seen INTEGER, UNIQUE (path, shelf, key));
CREATE TABLE versions (n INTEGER PRIMARY KEY, id TEXT NOT NULL, version INTEGER NOT NULL,
  activity TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (id, version));
CREATE TABLE edges (sid TEXT NOT NULL, sv INTEGER NOT NULL, oid TEXT NOT NULL, ov INTEGER NOT NULL,
  relation TEXT NOT NULL, UNIQUE (sid, sv, oid, ov, relation));
CREATE TABLE links (sid TEXT NOT NULL, sv INTEGER NOT NULL, oid TEXT NOT NULL, ov INTEGER NOT NULL,
  relation TEXT NOT NULL, score REAL NOT NULL, because TEXT NOT NULL, activity TEXT NOT NULL,
  UNIQUE (sid, sv, oid, ov, relation));
CREATE TABLE transitions (n INTEGER PRIMARY KEY, memory TEXT NOT NULL, activity TEXT NOT NULL,
  before TEXT NOT NULL, after TEXT NOT NULL, reason TEXT NOT NULL);
CREATE TABLE grants (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL);
CREATE TABLE vectors (n INTEGER PRIMARY KEY, memory TEXT NOT NULL, part INTEGER NOT NULL,
  vector BLOB, UNIQUE (memory, part));
"""
_WRONG = (
    (
        "a version belongs to no memory",
        "SELECT id FROM versions WHERE id NOT IN (SELECT id FROM memories) LIMIT 1",
    ),
    (
        "a memory has no version, or not all of them",
        "SELECT memories.id FROM memories LEFT JOIN versions ON versions.id = memories.id "
        "GROUP BY memories.id HAVING count(version) != coalesce(max(version), -1) LIMIT 1",
    ),
    (
        "versions are not in order",
        "SELECT a.id FROM versions AS a JOIN versions AS b ON b.id = a.id "
        "AND b.version = a.version + 1 AND b.n < a.n LIMIT 1",
    ),
    (
        "an activity is missing",
        "SELECT activity FROM (SELECT activity FROM versions UNION SELECT activity FROM links "
        "UNION SELECT activity FROM transitions) WHERE activity NOT IN "
        "(SELECT id FROM activities) LIMIT 1",
    ),
    (
        "a change of state belongs to no memory",
        "SELECT memory FROM transitions WHERE memory NOT IN (SELECT id FROM memories) LIMIT 1",
    ),
    *(
        (
            f"a row of {table} does not lead from a later version to an earlier one",
            f"SELECT sid FROM {table} LEFT JOIN versions AS s ON s.id = sid AND s.version = sv "
            f"LEFT JOIN versions AS o ON o.id = oid AND o.version = ov "
            "WHERE s.n IS NULL OR o.n IS NULL OR o.n >= s.n LIMIT 1",
        )
        for table in ("edges", "links")
    ),
    (
        "a vector belongs to no memory, or to no part of it",
        "SELECT memory FROM vectors LEFT JOIN memories ON memories.id = memory "
        "WHERE memories.id IS NULL OR part < 0 OR part > json_array_length(parts) LIMIT 1",
    ),
)
_RIGHTS = {"read", "write", "share", "administer"}
_RELATIONS = ("wasRevisionOf", "wasDerivedFrom")

Rename = Callable[[str], str]


class Staged:
    """Rows of memories to come, in the order in which they were written."""

    def __init__(self, root: Namespace) -> None:
        self.root = root
        """Where they are to go; their own namespaces are relative to it."""
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.executescript("PRAGMA synchronous=OFF; PRAGMA cache_size=-16384; BEGIN;")
        for statement in filter(str.strip, _TABLES.split(";")):
            self._db.execute(statement)

    def close(self) -> None:
        """Let go of it; nothing of it is left anywhere."""
        self._db.close()

    def __enter__(self) -> Staged:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Filling ------------------------------------------------------------------------------

    def activity(self, row: dict[str, Any]) -> None:
        """Who did what, when; ``at`` in microseconds."""
        with _readable("an activity", row, "id namespace verb principal at"):
            named = [check_id(row["id"]), self._path(row["namespace"])]
            said = [check_text(row[name], what=name, max_bytes=1024) for name in _SAID]
            self._insert(
                "activities (id, path, verb, principal, at)", [*named, *said, _int(row, "at")]
            )

    def memory(self, row: dict[str, Any]) -> None:
        """Where a memory stands, and in which state."""
        with _readable(
            "a memory", row, "id namespace state expires_at quarantined key searched parts"
        ):
            key = row["key"] or {"shelf": None, "key": None, "ttl": None}
            if row["key"] is not None:
                check_text(key["shelf"], what="shelf", max_bytes=256)
                if not isinstance(key["key"], str) or "\x00" in key["key"]:
                    raise InvalidInputError("a key is no string")
            self._insert(
                "memories (id, path, state, expires_at, quarantined, shelf, key, ttl, searched, "
                "parts)",
                [
                    check_id(row["id"]),
                    self._path(row["namespace"]),
                    State(row["state"]).value,
                    _int(row, "expires_at", or_none=True),
                    None if row["quarantined"] is None else check_text(row["quarantined"]),
                    key["shelf"],
                    key["key"],
                    _int(key, "ttl", or_none=True),
                    _flag(row, "searched"),
                    json.dumps(_spans(row["parts"])),
                ],
            )

    def version(self, row: dict[str, Any]) -> None:
        """A version, checked as a :class:`MemCube`."""
        with _readable("a version", row, "id version state header payload activity"):
            found = self._db.execute("SELECT path FROM memories WHERE id = ?", (row["id"],))
            path = found.fetchone()
            if path is None:
                raise InvalidInputError("it belongs to no memory")
            body = {name: value for name, value in row.items() if name != "activity"}
            cube = MemCube.model_validate({**body, "namespace": json.loads(path[0])})
            behind = cube.version - 1 or None
            if cube.memory_type == "erased":
                raise InvalidInputError("it was erased")
            if cube.header.behaviour.previous_version != behind or cube.id != row["id"]:
                raise InvalidInputError("its number and the one before it do not fit")
            self._insert(
                "versions (id, version, activity, body)",
                [cube.id, cube.version, check_id(row["activity"]), cube.model_dump_json()],
            )

    def edge(self, row: dict[str, Any]) -> None:
        """That a version came from another."""
        with _readable("an edge", row, "s o relation"):
            if row["relation"] not in _RELATIONS:
                raise InvalidInputError(f"it says {row['relation']!r:.40}")
            self._insert("edges (sid, sv, oid, ov, relation)", [*_ends(row), row["relation"]])

    def link(self, row: dict[str, Any]) -> None:
        """That a version has to do with another."""
        with _readable("a link", row, "s o relation score because activity"):
            score = row["score"]
            if isinstance(score, bool) or not isinstance(score, int | float):
                raise InvalidInputError("its score is no number")
            said = [check_text(row["relation"], max_bytes=64), float(score)]
            values = [*_ends(row), *said, _string(row, "because"), check_id(row["activity"])]
            self._insert("links (sid, sv, oid, ov, relation, score, because, activity)", values)

    def transition(self, row: dict[str, Any]) -> None:
        """A change of state."""
        with _readable("a change of state", row, "memory activity before after reason"):
            states = {*(state.value for state in State), "deleted"}
            if not {row["before"], row["after"]} <= states:
                raise InvalidInputError("it names no state")
            ends = [check_id(row["memory"]), check_id(row["activity"])]
            self._insert(
                "transitions (memory, activity, before, after, reason)",
                [*ends, row["before"], row["after"], _string(row, "reason")],
            )

    def grant(self, row: dict[str, Any]) -> None:
        """A grant, as it was; whether it counts is another question."""
        with _readable("a grant", row, _GRANT):
            strings = {"principal", "role", "tag", "semantic_type", "memory", "purpose", "via"}
            for name in sorted(strings | {"granted_by"}):
                if row[name] is not None or name == "granted_by":
                    check_text(row[name], what=name, max_bytes=1024)
            _int(row, "expires_at", or_none=True)
            _int(row, "at")
            check_id(row["via"] or row["id"])
            if (row["principal"] is None) == (row["role"] is None) or not row["rights"]:
                raise InvalidInputError("it names nobody, or no right")
            if not {*row["rights"]} <= _RIGHTS:
                raise InvalidInputError("it gives a right that there is not")
            body = json.dumps({**row, "path": self._path(row["namespace"])})
            self._insert("grants (id, body)", [check_id(row["id"]), body])

    def vector(self, memory: str, part: int, vector: bytes | None) -> None:
        """What a memory, or a part of it, is found by."""
        with _readable("a vector"):
            self._insert("vectors (memory, part, vector)", [memory, part, vector])

    def check(self) -> None:
        """Refuse what does not fit together."""
        for what, query in _WRONG:
            found = self._db.execute(query).fetchone()
            if found is not None:
                raise ArchiveError(f"{what}: {found[0]!r:.60}")
        self._db.execute(
            "UPDATE memories SET head = (SELECT max(version) FROM versions "
            "WHERE versions.id = memories.id)"
        )

    # Reading ------------------------------------------------------------------------------

    def rows(self, query: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, one by one."""
        yield from self._db.execute(query, values)

    def pages(self, table: str, columns: str) -> Iterator[list[tuple[Any, ...]]]:
        """The rows of a table by ``n``, which is the first column, many at a time."""
        last = 0
        query = f"SELECT {columns} FROM {table} WHERE n > ? ORDER BY n LIMIT 500"
        while page := list(self.rows(query, last)):
            yield page
            last = page[-1][0]

    def one(self, query: str, *values: object) -> Any:
        """The first value of a query."""
        found = self._db.execute(query, values).fetchone()
        return None if found is None else found[0]

    def change(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        """Write something down beside the rows."""
        self._db.executemany(statement, rows)

    def _insert(self, what: str, values: Sequence[object]) -> None:
        marks = ", ".join("?" * len(values))
        self._db.execute(f"INSERT INTO {what} VALUES ({marks})", values)

    def _path(self, relative: object) -> str:
        if not isinstance(relative, list | tuple):
            raise InvalidInputError("a namespace is no list")
        return json.dumps(check_namespace((*self.root, *relative)))


_SAID = ("verb", "principal")


_GRANT = (
    "id principal role rights namespace tag semantic_type memory purpose expires_at granted_by "
    "via at"
)


class _readable:
    """What goes wrong within is an :class:`ArchiveError` that says in what."""

    def __init__(self, what: str, row: dict[str, Any] | None = None, names: str = "") -> None:
        self._what, self._row, self._names = what, row, set(names.split())

    def __enter__(self) -> None:
        if self._row is not None and set(self._row) != self._names:
            wrong = ", ".join(sorted(set(self._row) ^ self._names))
            raise ArchiveError(f"{self._what} has other fields than it should: {wrong:.100}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        wrong = (ValidationError, InvalidInputError, sqlite3.IntegrityError, sqlite3.DataError)
        other = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
        if isinstance(error, (*wrong, *other, sqlite3.ProgrammingError, sqlite3.InterfaceError)):
            raise ArchiveError(f"{self._what} cannot be read: {error!s:.300}") from None


def _int(row: dict[str, Any], name: str, *, or_none: bool = False) -> int | None:
    value = row[name]
    if value is None and or_none:
        return None
    if type(value) is not int or not -(2**55) < value < 2**58:  # the years 1 to 9999
        raise InvalidInputError(f"{name} is no number")
    return value


def _string(row: dict[str, Any], name: str) -> str:
    if not isinstance(row[name], str) or "\x00" in row[name]:
        raise InvalidInputError(f"{name} is no string, or holds a NUL")
    return str(freeze_json(row[name]))


def _flag(row: dict[str, Any], name: str) -> int:
    if not isinstance(row[name], bool):
        raise InvalidInputError(f"{name} is neither true nor false")
    return int(row[name])


def _ends(row: dict[str, Any]) -> list[Any]:
    (sid, sv), (oid, ov) = row["s"], row["o"]
    if not (type(sv) is type(ov) is int and type(sid) is type(oid) is str):
        raise InvalidInputError("its ends are no versions")
    return [sid, sv, oid, ov]


def _spans(parts: Any) -> list[list[int]]:
    spans = [[start, stop] for start, stop in parts]
    for start, stop in spans:
        if type(start) is not int or type(stop) is not int or not 0 <= start < stop < 2**31:
            raise InvalidInputError("a part of the text is no part")
    return spans
