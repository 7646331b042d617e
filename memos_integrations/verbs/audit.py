"""What a session can do with the audit log: read it, and see whether it is whole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from memos_integrations.checks import Namespace, check_id, check_text, check_time
from memos_integrations.cube import Principal
from memos_integrations.errors import InvalidInputError, StoreNotWritableError
from memos_integrations.infrastructure import audit, audit_check, governance
from memos_integrations.infrastructure.audit import Entry
from memos_integrations.infrastructure.audit_check import Head, Signer, Verdict, Verifier
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.offload import offload

MOST = 100_000
"""The most entries that one call returns."""


@dataclass(frozen=True)
class _Wanted:
    """Which entries."""

    below: Namespace
    since: datetime | None
    until: datetime | None
    principal: str | None
    verb: str | None
    memory_id: str | None
    decision: str | None
    question: str | None

    def fits(self, entry: Entry) -> bool:
        return (
            entry.namespace[: len(self.below)] == self.below
            and (self.since is None or entry.at >= self.since)
            and (self.until is None or entry.at < self.until)
            and self.principal in (None, entry.principal)
            and self.verb in (None, entry.verb)
            and self.decision in (None, entry.decision)
            and (self.question is None or entry.fields.get("question") == self.question)
            and (self.memory_id is None or self.memory_id in {id for id, _ in entry.memories})
        )


class AuditVerbs:
    """Verbs of the audit log; see :mod:`memos_integrations.infrastructure.audit`.

    They take the right to administer the session's namespace, or, ``everywhere``, the store.
    """

    principal: Principal
    namespace: Namespace
    purpose: str | None
    _vault: MemVault

    def audit(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        principal: str | None = None,
        verb: str | None = None,
        memory_id: str | None = None,
        decision: str | None = None,
        question: str | None = None,
        everywhere: bool = False,
        limit: int = 100,
    ) -> list[Entry]:
        """Who did, read, or was refused what, in this namespace and below; newest first.

        ``decision``: ``allowed``, ``denied`` or ``not found``. ``question``: searches for these
        very words; the log does not hold them, but can tell. ``everywhere``: in the whole store.
        Raises :class:`AccessDeniedError`.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST:
            raise InvalidInputError(f"limit is {limit!r}: give a number from 1 to {MOST:,}")
        asked = None if question is None else check_text(question, what="question")
        wanted = _Wanted(
            self._audited_place(everywhere),
            None if since is None else check_time(since, what="since"),
            None if until is None else check_time(until, what="until"),
            principal,
            verb,
            None if memory_id is None else check_id(memory_id),
            decision,
            None if asked is None else self._vault.audit_mac(asked),
        )
        self._vault.flush_counters()
        with self._vault.database.read() as tx:
            found = audit.entries(tx, newest_first=True)
            return list(islice(filter(wanted.fits, found), limit))

    async def aaudit(self, **options: Any) -> list[Entry]:
        """:meth:`audit`, without blocking the event loop."""
        return await offload(self.audit, **options)

    def audit_head(self, *, sign_with: Signer | None = None) -> Head:
        """Where the log ends now. Keep it elsewhere: :meth:`verify_audit` takes it as an anchor.

        ``sign_with``: such as an ``Ed25519PrivateKey`` of ``cryptography``.
        """
        self._audited_place(everywhere=False)
        self._vault.flush_counters()
        with self._vault.database.read() as tx:
            head = audit_check.head(tx, self._vault.id)
        return head if sign_with is None else head.signed(sign_with)

    async def aaudit_head(self, **options: Any) -> Head:
        """:meth:`audit_head`, without blocking the event loop."""
        return await offload(self.audit_head, **options)

    def verify_audit(
        self, *, anchor: Head | None = None, signed_by: Verifier | None = None
    ) -> Verdict:
        """Look at every entry of the store's log; the verdict names the first that is wrong.

        Found: what was changed, removed, put in or out of order, and entries that do not agree
        with the activities that they are about. ``anchor``: a head that was kept elsewhere;
        without one, a log that was cut at its end, together with the activities, looks whole.
        ``signed_by``: whose signature the anchor must have.
        """
        self._audited_place(everywhere=False)
        if signed_by is not None and (anchor is None or not anchor.is_signed_by(signed_by)):
            return Verdict(0, 1, "the anchor has no signature of this key")
        self._vault.flush_counters()
        with self._vault.database.read() as tx:
            return audit_check.verify(tx, self._vault.id, anchor=anchor)

    async def averify_audit(self, **options: Any) -> Verdict:
        """:meth:`verify_audit`, without blocking the event loop."""
        return await offload(self.verify_audit, **options)

    def export_audit(self, path: str | os.PathLike[str], *, everywhere: bool = False) -> Path:
        """Write the log of this namespace and below as JSON Lines, oldest first.

        With ``everywhere`` it is all of it, and each line can be checked against the one before:
        its ``hash`` is the SHA-256 of that one's hash (32 bytes) and the line without ``hash``.
        """
        target, below = Path(path), self._audited_place(everywhere)
        try:
            with target.open("w", encoding="ascii") as file:
                file.writelines(f"{line}\n" for line in self._lines(below))
        except OSError as error:
            raise StoreNotWritableError(f"{target} cannot be written: {error.strerror}") from error
        return target

    async def aexport_audit(self, path: str | os.PathLike[str], **options: Any) -> Path:
        """:meth:`export_audit`, without blocking the event loop."""
        return await offload(self.export_audit, path, **options)

    # Within -------------------------------------------------------------------------------

    def _lines(self, below: Namespace) -> Iterator[str]:
        self._vault.flush_counters()
        with self._vault.database.read() as tx:
            for entry in audit.entries(tx):
                if entry.namespace[: len(below)] == below:
                    yield json.dumps(entry.as_dict(), sort_keys=True, separators=(",", ":"))

    def _audited_place(self, everywhere: bool) -> Namespace:
        """At and below which namespace it may be read."""
        if not everywhere:
            self._vault.require("administer", self.namespace, "read the audit log of", full=True)
            return self.namespace
        asker = self._vault.asker
        if asker is not None and not self._vault.sight().everywhere("administer").everything:
            raise governance.denied(asker, "read the audit log of the store from", self.namespace)
        return ()
