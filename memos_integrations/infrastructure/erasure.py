"""Erasure: the content of memories goes, from every table, index, file and cache of the store.

First one transaction: from then on nothing can be read any more. Then the bytes: the vector index
begins anew in another folder, the full-text index is merged into one piece, the database is
rewritten without free pages and its log emptied. A process that dies in between leaves a row in
``erasures`` that is not finished, and the next opening goes on there (:func:`recover`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from memos_integrations.errors import MemOSError, StoreError
from memos_integrations.infrastructure import crashpoints, erasing, lexical, receipts
from memos_integrations.infrastructure.receipts import Receipt
from memos_integrations.infrastructure.records import Activity
from memos_integrations.infrastructure.vault import MemVault

log = logging.getLogger(__name__)

INDEX_SECONDS = 60.0
"""How long the files of the former vector index may take to go."""

Choose = Callable[[sa.Connection], Collection[int]]
"""Which memories: their keys, at one moment of the store."""
Guard = Callable[[sa.Connection, Sequence[int]], object]
"""Raises if one of these must not go, such as for a legal hold."""


@dataclass(frozen=True)
class Wish:
    """Which memories are to go."""

    choose: Choose
    receipt: Receipt
    """Without what is filled in: who asked, when and why."""
    cascade: bool = True
    guard: Guard = lambda tx, pks: None


def preview(vault: MemVault, wish: Wish) -> Receipt:
    """The receipt, with nothing changed."""
    vault.flush_counters()  # the prompts that were noted last count, too
    with vault.database.read() as tx:
        receipt, doomed = erasing.survey(
            tx, wish.choose(tx), cascade=wish.cascade, receipt=wish.receipt
        )
        wish.guard(tx, doomed)
    return replace(receipt, dry_run=True)


def commit(
    vault: MemVault,
    wish: Wish,
    activity: Callable[[], Activity],
    fill_in: Callable[[Receipt], Receipt],
) -> Receipt:
    """Erase in SQL, in one transaction. :func:`finish` it afterwards.

    ``fill_in`` adds to the receipt what SQL does not know, before it is written.
    """
    vault.flush_counters()

    def work(tx: sa.Connection) -> tuple[Receipt, bool]:
        receipt, doomed = erasing.survey(
            tx, wish.choose(tx), cascade=wish.cascade, receipt=wish.receipt
        )
        wish.guard(tx, doomed)
        receipt = fill_in(receipt)
        if doomed:
            erasing.erase(tx, receipt, doomed, activity)
        return receipt, erasing.is_indexed(tx, receipt.ids)

    receipt = vault.commit(work)
    crashpoints.reach("erasure-committed")
    vault.tell_erased(receipt.ids)
    return receipt


def finish(vault: MemVault, receipt: Receipt, now: Callable[[], datetime]) -> Receipt:
    """Take the bytes out of the files.

    What stands in the way, such as a full disk, is logged and told by the receipt: the next
    opening tries again.
    """
    if not receipt.memories:
        return replace(receipt, finished=True)
    started, before = time.monotonic(), _size(vault.folder)
    try:
        _clean(vault, receipt)
    except MemOSError as error:
        log.warning("erasure %s is not finished: %s", receipt.id, error)
        return replace(receipt, unfinished=str(error), seconds=time.monotonic() - started)
    done = replace(
        receipt,
        bytes_freed=max(0, before - _size(vault.folder)),
        seconds=round(receipt.seconds + time.monotonic() - started, 3),
    )
    return vault.database.write(lambda tx: receipts.finish(tx, done, now()))


def recover(vault: MemVault, now: Callable[[], datetime]) -> list[Receipt]:
    """Finish the erasures that an earlier process did not."""
    with vault.database.read() as tx:
        left = receipts.unfinished(tx)
    return [finish(vault, one, now) for one in left]


def _clean(vault: MemVault, receipt: Receipt) -> None:
    with vault.database.read() as tx:
        indexed = erasing.is_indexed(tx, receipt.ids)
    if indexed and not vault.renew_index(INDEX_SECONDS):
        raise StoreError(f"the former vector index of {vault.folder} could not be removed")
    crashpoints.reach("erasure-index-gone")
    for digest in receipt.blobs:
        vault.blobs.delete(digest)
    vault.database.write(lexical.forget_deleted)
    crashpoints.reach("erasure-words-gone")
    vault.database.compact()
    crashpoints.reach("erasure-compacted")
    vault.clean_elsewhere(receipt.ids)
    crashpoints.reach("erasure-elsewhere-gone")


def _size(folder: Path) -> int:
    """Bytes of all files."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue  # removed while we counted
    return total
