"""The door: what a memory must pass before it is written, and what is written beside it.

Sensitive content is labelled, masked, sealed or refused; what looks like instructions waits in
quarantine; who writes too much is stopped. Each is off where the store was not opened with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.cube import Draft, MemCube, Plaintext, Principal, Trust, trust_in
from memos_integrations.infrastructure import quarantine, sealed
from memos_integrations.infrastructure.sealed import Piece
from memos_integrations.operation.rate import RateLimiter
from memos_integrations.operation.sensitive.guard import Edit, Guard, Pass
from memos_integrations.operation.suspicion import QuarantinePolicy

Also = Callable[[sa.Connection], None]
"""What is written in the transaction that writes a memory."""


@dataclass(frozen=True)
class Entry:
    """What stands beside a memory that is about to be written."""

    pieces: tuple[Piece, ...] = ()
    why: str | None = None
    """Why it goes into quarantine."""
    edits: tuple[Edit, ...] = ()
    """How its text was changed."""


@dataclass(frozen=True)
class Door:
    """What a store was opened with. Thread-safe."""

    guard: Guard | None = None
    quarantine: QuarantinePolicy | None = None
    limiter: RateLimiter | None = None

    def count(self, who: Principal, memories: int, now: datetime) -> None:
        """So many memories are about to be written. :class:`RateLimitError`."""
        if self.limiter is not None and memories:
            self.limiter.take(who.id, memories, now)

    def admit(
        self, drafts: Sequence[Draft], space: Namespace, *, keyed: bool = False
    ) -> list[tuple[Draft, Entry]]:
        """New memories as they may be written. :class:`SensitiveContentError`.

        ``keyed``: they stand under keys. What an application puts into a store of its own waits in
        quarantine for the forms alone that nobody uses who only tells something.
        """
        passed = [(draft, Pass(space)) for draft in drafts]
        if self.guard is not None:
            passed = self.guard.admit(drafts, space)
        return [
            (draft, Entry(tuple(seen.pieces), self._why_draft(draft, keyed), tuple(seen.edits)))
            for draft, seen in passed
        ]

    def revise(self, before: MemCube, changes: Mapping[str, Any]) -> tuple[dict[str, Any], Entry]:
        """What is to change in a memory, as it may be written."""
        changed, seen = dict(changes), Pass(before.namespace)
        if self.guard is not None:
            changed = self._masked(self.guard, before, changed, seen)
        about = before.header.descriptive
        origin = changed.get("origin", about.origin)
        given = changed.get("trust", before.header.governance.trust)
        texts = [changed[name] for name in ("text", "speaker") if changed.get(name)]
        return changed, Entry(tuple(seen.pieces), self._why(texts, trust_in(origin, given)))

    def beside(self, written: Iterable[tuple[MemCube, Entry]]) -> Also | None:
        """What keeps the entries of these memories, once they are written."""
        kept = [(cube, entry) for cube, entry in written if entry.pieces or entry.why]
        return (lambda tx: self._keep(tx, kept)) if kept else None

    def keep(self, tx: sa.Connection, cube_id: str, version: int, entry: Entry) -> None:
        """Write what stands beside a version that was just written."""
        if entry.pieces and self.guard is not None and self.guard.sealer is not None:
            sealed.write(tx, self.guard.sealer, cube_id, version, entry.pieces)
        if entry.why is not None:
            quarantine.put(tx, cube_id, entry.why)

    def _keep(self, tx: sa.Connection, kept: Iterable[tuple[MemCube, Entry]]) -> None:
        for cube, entry in kept:
            self.keep(tx, cube.id, cube.version, entry)

    def _masked(
        self, guard: Guard, before: MemCube, changed: dict[str, Any], seen: Pass
    ) -> dict[str, Any]:
        for name in ("text", "tags"):
            if changed.get(name):
                changed[name] = guard.mask(changed[name], seen, name)
        if changed.get("metadata"):
            changed["metadata"] = guard.metadata(changed["metadata"], seen)
        known = before.header.governance.sensitivity
        if "text" in changed:  # labels of what was found before, and is not there any more, go
            known = tuple(label for label in known if label not in guard.policy.actions)
        text = changed.get("text", before.text)
        changed["sensitivity"] = guard.labels(text, seen, known)
        return changed

    def _why_draft(self, draft: Draft, keyed: bool) -> str | None:
        texts = [draft.payload.text] if isinstance(draft.payload, Plaintext) else []
        if draft.speaker is not None:
            texts.append(draft.speaker)
        stored = keyed and draft.origin == "tool"  # how stores call what applications put there
        return self._why(texts, "high" if stored else trust_in(draft.origin, draft.trust))

    def _why(self, texts: Sequence[str], trust: Trust) -> str | None:
        return None if self.quarantine is None else self.quarantine.why(texts, trust)
