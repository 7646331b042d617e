"""Several verbs as one unit of work: a vault that lives inside of one transaction.

What one verb wrote, the next one reads; nobody else sees any of it before the commit, and what
the verbs would tell the world (watchers, the index, counters) is told after it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import sqlalchemy as sa

from memos_integrations.infrastructure.database import Database
from memos_integrations.infrastructure.schema import outbox
from memos_integrations.infrastructure.units import Writer
from memos_integrations.infrastructure.vault import MemVault

T = TypeVar("T")


class _Inside(Database):
    """The database as one transaction sees it: reads and writes happen in that."""

    def __init__(self, database: Database, tx: sa.Connection) -> None:
        self.path, self._tx = database.path, tx

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """The transaction."""
        yield self._tx

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Do it now; it is durable when the transaction is."""
        return work(self._tx)


class _WriterInside(Writer):
    """Units of work inside of one, which is the one that writes the audit log."""

    def write(self, database: Database, work: Callable[[sa.Connection], T]) -> T:
        """Do it now."""
        return database.write(work)


class JoinedVault(MemVault):
    """A vault inside of a transaction. Used by one thread, and for as long as that lasts."""

    def __init__(self, vault: MemVault, tx: sa.Connection) -> None:
        vars(self).update(vars(vault))  # the same store, not opened again
        self._database, self._tx = _Inside(vault.database, tx), tx
        self._writer = _WriterInside(**vars(vault._writer))
        # What is learned here counts only once it is committed.
        self._shared = replace(vault._shared, flush_due=math.inf)
        self._changed: set[str] = set()
        self._used: list[int] = []
        self._watchers, self._mourners = [self._changed.update], []

    def record_uses(self, cube_pks: Sequence[int]) -> None:
        """Counted after the commit."""
        self._used += cube_pks

    def _flush(self, tx: sa.Connection) -> None:
        """Counters and readings are not this transaction's: it may be rolled back."""

    def index_waits(self) -> bool:
        """Whether the index has something to follow."""
        return self._tx.execute(sa.select(outbox.c.seq).limit(1)).first() is not None

    def settle(self, vault: MemVault) -> None:
        """It is over: tell what was held back."""
        if self.embedder is not None:
            vault.embedder_is(self.embedder)
        vault.tell(self._changed)
        if self._used:
            vault.record_uses(self._used)


def write_together(vault: MemVault, work: Callable[[MemVault], T]) -> T:
    """Do what ``work`` does with the vault that it is given in one transaction, or nothing of it.

    Whatever it raises rolls everything back. It holds up every other writer, so it must be
    quick; and it may run in another thread (see :meth:`Database.write`).
    """

    def inside(tx: sa.Connection) -> tuple[tuple[T, JoinedVault], bool]:
        joined = JoinedVault(vault, tx)
        return (work(joined), joined), joined.index_waits()

    outcome, joined = vault.commit(inside)
    joined.settle(vault)
    return outcome


def read_together(vault: MemVault, work: Callable[[MemVault], T]) -> T:
    """The same for work that only reads: all of it sees one moment, and holds up nobody."""
    with vault.reading() as (tx, _):
        joined = JoinedVault(vault, tx)
        outcome = work(joined)
    joined.settle(vault)
    return outcome
