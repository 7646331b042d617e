"""The audit log: who did what to which memories, each entry chained to the one before it.

An entry is canonical JSON of ids, names and HMACs; no text of a memory and no question stands in
it, so an erasure leaves it whole. What changes a memory is written in the transaction of the
change; what was read or refused is kept in memory and written with a later commit.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.infrastructure import crashpoints
from memos_integrations.infrastructure.access import AccessRules, Asker, Right, Scope
from memos_integrations.infrastructure.driver import hot
from memos_integrations.infrastructure.schema import from_micros, settings, to_micros

Fields = dict[str, Any]
"""What an entry says, JSON-plain."""

SECRET = "audit_secret"
MOST_IDS = 1_000
"""Memories that one entry about a reading names; how many more there were stands beside them."""
WRITE_AT = 256
"""Readings kept in memory before they are written on their own."""
_NOTED = "audited"


@dataclass(frozen=True)
class Entry:
    """One line of the log."""

    seq: int
    at: datetime
    verb: str
    principal: str
    namespace: Namespace
    decision: str
    """``allowed``, ``denied``, or ``not found``: there was no such memory."""
    memories: tuple[tuple[str, int], ...]
    """Ids, with the version that was written or read; 0: about none in particular."""
    fields: Mapping[str, Any]
    """All that stands in it: also ``because``, ``roles``, ``purpose``, ``activity``, ``about``."""
    hash: str

    def as_dict(self) -> Fields:
        """JSON-plain, as it stands in the log, with its hash."""
        return {**self.fields, "hash": self.hash}


@dataclass
class Call:
    """A verb that is under way in this thread of control."""

    wrote: bool = False
    """Whether what it did stands in the log already, with its commit."""


CALL: ContextVar[Call | None] = ContextVar("memos_audit_call", default=None)


# The chain -------------------------------------------------------------------------------------


def genesis(store: str) -> bytes:
    """What the first entry of a store follows."""
    return hashlib.sha256(b"memos audit\0" + store.encode()).digest()


def canonical(fields: Mapping[str, Any]) -> str:
    """The one way to write an entry down."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def chained(before: bytes, entry: str) -> bytes:
    """The hash of an entry that follows the one with the hash ``before``."""
    return hashlib.sha256(before + entry.encode()).digest()


def begin_log(tx: sa.Connection, store: str, now: datetime) -> None:
    """The first entry, in a store that has none: what was done before it has no entries."""
    begun = sa.select(settings.c.key).where(settings.c.key == SECRET)
    if tx.execute(begun).first() is not None:
        return
    tx.execute(sa.insert(settings).values(key=SECRET, value=secrets.token_hex(32)))
    [(last,)] = hot(tx, "SELECT coalesce(max(pk), 0) FROM activities")
    first = {"verb": "begin", "store": store, "after": last, "who": "system", "in": []}
    append(tx, [{**first, "at": to_micros(now), "decision": "allowed"}], store)


def append(tx: sa.Connection, entries: Sequence[Fields], store: str) -> None:
    """Write entries at the end of the chain."""
    if not entries:
        return
    last = hot(tx, "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
    seq, before = last[0] if last else (0, genesis(store))
    rows = []
    for fields in entries:
        seq += 1
        text = canonical({**fields, "seq": seq})
        before = chained(before, text)
        rows.append((seq, text, before))
    tx.exec_driver_sql("INSERT INTO audit (seq, entry, hash) VALUES (?, ?, ?)", rows)
    crashpoints.reach("audit-written")


# What changes ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Deed:
    """An activity that was written in this unit of work."""

    activity_pk: int
    namespace_pk: int
    fields: Fields
    asker: Asker | None


_TOUCHED = (
    "SELECT touched.activity_pk, cubes.id, max(touched.version) FROM ("
    "SELECT activity_pk, cube_pk, version FROM versions WHERE activity_pk BETWEEN ?1 AND ?2 "
    "UNION ALL SELECT activity_pk, cube_pk, 0 FROM transitions "
    "WHERE activity_pk BETWEEN ?1 AND ?2 "
    "UNION ALL SELECT deleted_by, pk, 0 FROM cubes WHERE deleted_by BETWEEN ?1 AND ?2 "
    ") AS touched JOIN cubes ON cubes.pk = touched.cube_pk "
    "GROUP BY touched.activity_pk, touched.cube_pk ORDER BY touched.activity_pk, touched.cube_pk"
)


def touched(tx: sa.Connection, first: int, last: int) -> dict[int, list[list[Any]]]:
    """By activity: the memories that it wrote (with the version), moved or deleted (0)."""
    found: dict[int, list[list[Any]]] = {}
    for activity_pk, cube_id, version in hot(tx, _TOUCHED, first, last):
        found.setdefault(activity_pk, []).append([cube_id, version])
    return found


def begin(tx: sa.Connection) -> None:
    """A unit of work begins: nothing was done in it yet."""
    tx.info[_NOTED] = []


def note(tx: sa.Connection, deed: Deed) -> None:
    """Something is done in this unit of work: :func:`settle` writes it down."""
    tx.info.setdefault(_NOTED, []).append(deed)


def noted(tx: sa.Connection) -> list[Deed]:
    """What was done in this unit of work so far."""
    return tx.info.get(_NOTED) or []


def settle(tx: sa.Connection, rules: AccessRules, store: str, now: datetime) -> bool:
    """Write down what was done in this unit of work, before its commit; whether there was any."""
    deeds = tx.info.pop(_NOTED, None) or []
    if not deeds:
        return False
    keys = [deed.activity_pk for deed in deeds]
    found = touched(tx, min(keys), max(keys))
    [paths] = hot(
        tx,
        "SELECT json_group_object(pk, json(path)) FROM namespaces "
        "WHERE pk IN (SELECT value FROM json_each(?))",
        json.dumps(sorted({deed.namespace_pk for deed in deeds})),
    )
    spaces = json.loads(paths[0])
    entries = []
    for deed in deeds:
        path = spaces[str(deed.namespace_pk)]
        entry = {**deed.fields, "in": path, "decision": "allowed"}
        if memories := found.get(deed.activity_pk):
            entry["memories"] = memories
        if deed.asker is not None:
            entry |= context(deed.asker)
            entry |= reason(rules, deed.asker, "write", tuple(path), now)
        entries.append(entry)
    append(tx, entries, store)
    return True


def context(asker: Asker) -> Fields:
    """In which roles somebody asked, and what for."""
    roles = {"roles": list(asker.principal.roles)} if asker.principal.roles else {}
    return {**roles, **({"purpose": asker.purpose} if asker.purpose else {})}


def reason(
    rules: AccessRules, asker: Asker, right: Right, path: Namespace, now: datetime
) -> Fields:
    """The rules that spoke for it, where access is governed."""
    return because(rules.scope(asker, right, path, now)) if rules.enforced else {}


def because(scope: Scope) -> Fields:
    """What a scope rests on; of many rules, the first three."""
    said = [scope.because] if scope.everything else [one.because for one in scope.reasons]
    return {"because": list(dict.fromkeys(said))[:3]} if said else {}


# What is read or refused -----------------------------------------------------------------------


class Readings:
    """Entries that are not in the database yet. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Fields] = []

    def note(self, entry: Fields) -> bool:
        """Keep one; ``True`` when there are enough to write."""
        with self._lock:
            self._waiting.append(entry)
            return len(self._waiting) >= WRITE_AT

    def take(self) -> list[Fields]:
        """All of them, to be written: :meth:`put_back` what was not."""
        with self._lock:
            taken, self._waiting = self._waiting, []
            return taken

    def put_back(self, taken: Sequence[Fields]) -> None:
        """The commit failed."""
        with self._lock:
            self._waiting = [*taken, *self._waiting]


def mac(secret: bytes, text: str) -> str:
    """A name for a text that only who has the store's secret can check: 16 bytes in hex."""
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()[:32]


def read_secret(tx: sa.Connection) -> bytes:
    """The store's secret."""
    query = sa.select(settings.c.value).where(settings.c.key == SECRET)
    return bytes.fromhex(tx.execute(query).scalar_one())


# Reading the log -------------------------------------------------------------------------------


def entries(tx: sa.Connection, *, after: int = 0, newest_first: bool = False) -> Iterator[Entry]:
    """The log, in its order or from its end; ``after``: beyond this entry."""
    order, beyond = ("DESC", "<") if newest_first else ("ASC", ">")
    bound = after or ((1 << 62) if newest_first else 0)
    driver: Any = tx.connection.driver_connection
    rows: Iterable[tuple[int, str, bytes]] = driver.execute(
        f"SELECT seq, entry, hash FROM audit WHERE seq {beyond} ? ORDER BY seq {order}", (bound,)
    )
    for seq, text, digest in rows:
        yield _entry(seq, text, digest)


def _entry(seq: int, text: str, digest: bytes) -> Entry:
    fields = json.loads(text)
    return Entry(
        seq=seq,
        at=from_micros(fields["at"]),
        verb=fields["verb"],
        principal=fields["who"],
        namespace=tuple(fields["in"]),
        decision=fields["decision"],
        memories=tuple((id, version) for id, version in fields.get("memories", ())),
        fields=fields,
        hash=digest.hex(),
    )
