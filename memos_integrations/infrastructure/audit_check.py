"""Whether the audit log is what was written: its chain, and what it says against the records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import zip_longest
from typing import Any, Protocol, Self

import sqlalchemy as sa

from memos_integrations.errors import InvalidInputError, MissingExtraError
from memos_integrations.infrastructure import audit
from memos_integrations.infrastructure.driver import hot

PAGE = 2_000
"""Entries that are compared with the records at once."""


class Signer(Protocol):
    """Such as an ``Ed25519PrivateKey`` of the package ``cryptography``."""

    def sign(self, data: bytes, /) -> bytes:
        """The signature of some bytes."""
        ...


class Verifier(Protocol):
    """Such as an ``Ed25519PublicKey`` of the package ``cryptography``."""

    def verify(self, signature: bytes, data: bytes, /) -> None:
        """Raises ``InvalidSignature``."""
        ...


@dataclass(frozen=True)
class Head:
    """Where the log ends: kept outside of the store, an anchor that a shortened log contradicts."""

    store: str
    seq: int
    hash: str
    signature: str | None = None
    """In hex, over all the rest."""

    def signed(self, key: Signer) -> Self:
        """The same, signed."""
        return type(self)(self.store, self.seq, self.hash, key.sign(self._bytes()).hex())

    def is_signed_by(self, key: Verifier) -> bool:
        """Whether the signature is of this key, and of this head."""
        try:
            from cryptography.exceptions import InvalidSignature
        except ImportError as error:
            raise MissingExtraError(
                "signatures take the package cryptography: pip install cryptography"
            ) from error
        try:
            key.verify(bytes.fromhex(self.signature or ""), self._bytes())
        except (InvalidSignature, ValueError):
            return False
        return True

    def as_dict(self) -> dict[str, Any]:
        """JSON-plain."""
        return asdict(self)

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> Self:
        """The inverse; :class:`InvalidInputError` for what is no head."""
        try:
            head = cls(**given)
            bytes.fromhex(head.hash)
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"this is no head of an audit log: {error}") from None
        if not isinstance(head.seq, int) or not isinstance(head.store, str):
            raise InvalidInputError("this is no head of an audit log: seq is no number")
        return head

    def _bytes(self) -> bytes:
        return audit.canonical({"store": self.store, "seq": self.seq, "hash": self.hash}).encode()


@dataclass(frozen=True)
class Verdict:
    """What :func:`verify` found. True as a condition if nothing is wrong."""

    entries: int
    """Entries, up to the first that is wrong, that are as they were written."""
    seq: int | None = None
    """The first entry that is not."""
    problem: str = ""

    def __bool__(self) -> bool:
        return not self.problem

    def __str__(self) -> str:
        if self:
            return f"{self.entries:,} entries, none changed, removed or out of order"
        return f"entry {self.seq}: {self.problem} ({self.entries:,} entries before it are whole)"


class _Wrong(Exception):
    def __init__(self, seq: int, problem: str) -> None:
        super().__init__(problem)
        self.seq, self.problem = seq, problem


def head(tx: sa.Connection, store: str) -> Head:
    """Where the log ends."""
    rows = hot(tx, "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
    seq, digest = rows[0] if rows else (0, audit.genesis(store))
    return Head(store, seq, digest.hex())


def verify(tx: sa.Connection, store: str, *, anchor: Head | None = None) -> Verdict:
    """Look at every entry: its hash, its place, and the activity that it is about.

    ``anchor``: a head that was kept elsewhere; the log must still hold it. Without one, entries
    that were cut off at the end cannot be missed, unless their activities are still there.
    """
    walk = _Walk(tx, store, anchor)
    try:
        walk.through()
    except _Wrong as wrong:
        return Verdict(wrong.seq - 1, wrong.seq, wrong.problem)
    return Verdict(walk.seq)


class _Walk:
    """One pass over the log and, beside it, over the activities: both are in the same order."""

    def __init__(self, tx: sa.Connection, store: str, anchor: Head | None) -> None:
        self._tx, self._store, self._anchor = tx, store, anchor
        self._activity_pk: int | None = None
        self.seq, self._before = 0, audit.genesis(store)

    def through(self) -> None:
        """To the end; raises at the first entry that is wrong."""
        anchor = self._anchor
        if anchor is not None and anchor.store != self._store:
            raise _Wrong(1, f"the anchor is of another store, {anchor.store}")
        driver: Any = self._tx.connection.driver_connection
        rows = driver.execute("SELECT seq, entry, hash FROM audit ORDER BY seq")
        while page := rows.fetchmany(PAGE):
            good: list[str] = []
            try:
                for seq, text, digest in page:
                    self._link(seq, text, digest)
                    good.append(text)
            finally:  # what is wrong further in front is told first
                self._compare(self.seq - len(good) + 1, good)
        if anchor is not None and self.seq < anchor.seq:
            raise _Wrong(self.seq + 1, f"it is missing: the anchor is entry {anchor.seq}")
        if self._activity_pk is None:
            raise _Wrong(1, "the log is empty: even its first entry is gone")
        if left := hot(self._tx, f"{_ACTIVITIES} LIMIT 1", self._activity_pk):
            raise _Wrong(self.seq + 1, f"it is missing: activity {left[0][1]} has no entry")

    def _link(self, seq: int, text: object, digest: bytes) -> None:
        expected = self.seq + 1
        if seq != expected:
            raise _Wrong(expected, f"it is missing: what comes next is entry {seq}")
        if not isinstance(text, str) or audit.chained(self._before, text) != digest:
            raise _Wrong(seq, "it, or its hash, is not what was written")
        anchor = self._anchor
        if anchor is not None and seq == anchor.seq and digest.hex() != anchor.hash:
            raise _Wrong(seq, "it is not the one that the anchor names")
        self.seq, self._before = seq, digest

    def _compare(self, first: int, texts: Sequence[str]) -> None:
        """Entries that are well chained with the activities that they are about."""
        about = []
        for seq, text in enumerate(texts, first):
            if seq == 1:
                self._activity_pk = _number(_parsed(seq, text).get("after"))
            elif _ABOUT in text:
                about.append((seq, _parsed(seq, text)))
        if not about or self._activity_pk is None:
            return
        rows = hot(self._tx, f"{_ACTIVITIES} LIMIT ?", self._activity_pk, len(about))
        memories = audit.touched(self._tx, rows[0][0], rows[-1][0]) if rows else {}
        for (seq, fields), row in zip_longest(about, rows):
            if row is None or fields["activity"] != row[1]:
                raise _Wrong(seq, "the activity that it is about is not there, or another is")
            pk, _, verb, who, at, path = row
            told = [fields.get(name) for name in ("verb", "who", "at", "in")]
            if told != [verb, who, at, _space(path)]:
                raise _Wrong(seq, f"activity {fields['activity']} is not what it says")
            if fields.get("memories", []) != memories.get(pk, []):
                raise _Wrong(seq, f"activity {fields['activity']} is about other memories")
            self._activity_pk = pk


_ACTIVITIES = (
    "SELECT activities.pk, activities.id, verb, principal, at, path FROM activities "
    "JOIN namespaces ON namespaces.pk = activities.namespace_pk WHERE activities.pk > ? "
    "ORDER BY activities.pk"
)


_ABOUT = '"activity":'
"""Stands in an entry about an activity; inside of a name the quotes would be escaped."""


@lru_cache(maxsize=1_000)
def _space(path: str) -> list[str]:
    found: list[str] = json.loads(path)
    return found


def _parsed(seq: int, text: str) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    if not isinstance(fields, dict) or fields.get("seq") != seq:
        raise _Wrong(seq, "it is no entry, or stands elsewhere than it says")
    return fields


def _number(given: object) -> int:
    if not isinstance(given, int):
        raise _Wrong(1, "it does not say where the log begins")
    return given
