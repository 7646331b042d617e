"""Memories under keys, over the vault: one shelf at and below a namespace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.infrastructure import keyed, lookups, shelving
from memos_integrations.infrastructure.keyed import KeyedView
from memos_integrations.infrastructure.records import Parts
from memos_integrations.infrastructure.shelving import Build, NewActivity, Shelving
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.infrastructure.writable import Also
from memos_integrations.keyed import KeyedDraft
from memos_integrations.protocols import Clock, EmbedderFingerprint

SWEEP = 500
"""Memories that a sweep takes away in one transaction."""


class Shelves:
    """What a key-value store needs of the vault. Thread-safe."""

    def __init__(self, vault: MemVault, *, clock: Clock) -> None:
        self._vault, self._clock = vault, clock

    def write(
        self,
        shelf: str,
        wanted: Sequence[tuple[KeyedDraft, Parts]],
        activity: NewActivity,
        build: Build,
        fingerprint: EmbedderFingerprint,
        *,
        also: Also | None = None,
    ) -> None:
        """Write and take away what stands under keys, in one transaction."""

        def work(tx: sa.Connection) -> tuple[tuple[bool, list[str]], bool]:
            searched = any(len(parts.spans) for _, parts in wanted)
            if searched:
                self._vault.remember_embedder(tx, fingerprint)
            rules = self._vault.retention
            writing = Shelving(tx, shelf, self._clock.now(), activity, build, rules)
            shelving.write(writing, wanted)
            if also is not None:
                also(tx)
            follows = False
            for path in dict.fromkeys(one.namespace for one, _ in wanted):
                if lookups.find_namespace(tx, path) is not None:
                    follows |= self._vault.index_if_large(tx, path)
            return (searched, writing.changed), follows

        searched, changed = self._vault.commit(work)
        if searched:
            self._vault.embedder_is(fingerprint)
        self._vault.tell(changed)

    def sweep(self, root: Namespace, shelf: str, activity: NewActivity) -> int:
        """Take away the memories at and below ``root`` whose time is over; return how many."""

        def work(tx: sa.Connection) -> tuple[list[str], bool]:
            now = self._clock.now()
            rules = self._vault.retention
            return shelving.sweep(tx, root, shelf, now, activity, SWEEP, rules), True

        swept = 0
        while gone := self._vault.commit(work):
            self._vault.tell(gone)
            swept += len(gone)
        return swept

    def prolong(self, cube_pks: Sequence[int]) -> None:
        """Let memories with a time to live begin it anew."""

        def work(tx: sa.Connection) -> tuple[None, bool]:
            keyed.prolong(tx, cube_pks, self._clock.now())
            return None, False

        self._vault.commit(work)

    def names(self, path: Namespace) -> list[str]:
        """The shelves of one namespace that hold something alive, sorted."""
        with self._vault.reading() as (tx, _):
            scope = self._vault.sight().everywhere()
            return keyed.shelves(tx, path, self._clock.now(), scope)

    @contextmanager
    def view(self, root: Namespace, shelf: str) -> Iterator[KeyedView]:
        """One moment of what stands under keys at and below ``root``."""
        with self._vault.reading() as (tx, snapshot):
            scope = self._vault.sight().everywhere()
            kept = self._vault.kept()
            yield KeyedView(tx, root, shelf, self._clock.now(), snapshot, scope, kept)
