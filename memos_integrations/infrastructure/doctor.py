"""Examine a store, and mend what can be mended: the index from the records."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from memos_integrations.errors import MemOSError, StoreLockedError
from memos_integrations.infrastructure import receipts, schema
from memos_integrations.infrastructure.database import Database
from memos_integrations.infrastructure.index_keeper import IndexPolicy
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.infrastructure.vectors import decode
from memos_integrations.protocols import SystemClock

SQLITE_FIXED = (3, 51, 3)
"""The first SQLite without a rare corruption when a checkpoint meets a write."""

SELF_RECALL_SAMPLE = 200


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    mended: bool = False


def examine(path: Path, *, mend: bool = True) -> list[Finding]:
    """Look at everything in the store at ``path``; with ``mend``, repair the index.

    Raises only what keeps the folder from being opened at all, except for a lock held by
    another process, which is a finding.
    """
    findings = [_versions()]
    try:
        vault = MemVault(path, clock=SystemClock(), policy=IndexPolicy())
    except StoreLockedError as error:
        return [*findings, Finding("lock", False, str(error))]
    findings.append(Finding("lock", True, "no other process uses the folder"))
    try:
        findings += _records(vault.database)
        findings += _index(vault, mend)
        findings += _self_recall(vault)
    finally:
        vault.close()
    return findings


def _versions() -> Finding:
    parts = [f"{name} {version(name)}" for name in ("chromadb", "sqlalchemy", "pydantic", "numpy")]
    linked = f"SQLite {sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info < SQLITE_FIXED:
        linked += (
            f" (before {'.'.join(map(str, SQLITE_FIXED))}: a rare fault when a checkpoint meets a "
            "write is avoided here by using one writer)"
        )
    return Finding("versions", True, ", ".join([*parts, linked]))


def _records(database: Database) -> Iterator[Finding]:
    with database.read() as tx:
        integrity = [str(row) for row in tx.exec_driver_sql("PRAGMA integrity_check(5)").scalars()]
        foreign = tx.exec_driver_sql("PRAGMA foreign_key_check").all()
        headless = tx.exec_driver_sql(
            "SELECT count(*) FROM cubes LEFT JOIN versions ON versions.pk = cubes.head_pk "
            "WHERE versions.pk IS NULL OR versions.cube_pk != cubes.pk"
        ).scalar_one()
        miscounted = tx.exec_driver_sql(
            "SELECT count(*) FROM namespaces WHERE live != (SELECT count(*) FROM cubes "
            "WHERE namespace_pk = namespaces.pk AND deleted_by IS NULL)"
        ).scalar_one()
        unembedded = tx.exec_driver_sql(
            "SELECT count(*) FROM cubes LEFT JOIN embeddings ON cube_pk = pk "
            "WHERE (deleted_by IS NULL) != (cube_pk IS NOT NULL)"
        ).scalar_one()
        unworded = tx.exec_driver_sql(
            "SELECT (SELECT count(*) FROM lexicon) - (SELECT count(*) FROM embeddings)"
        ).scalar_one()
    yield Finding("integrity", integrity == ["ok"], "; ".join(integrity))
    faults = {
        "rows that refer to nothing": len(foreign),
        "memories without a current version": headless,
        "namespaces with a wrong count": miscounted,
        "memories with a vector too many or too few": unembedded,
        "rows too many or too few in the word index": abs(unworded),
    }
    wrong = [f"{number} {what}" for what, number in faults.items() if number]
    detail = "; ".join(wrong) or f"consistent, schema {schema.HEAD_REVISION}"
    yield Finding("records", not wrong, detail)
    yield _erasures(database)


def _erasures(database: Database) -> Finding:
    with database.read() as tx:
        left, done = len(receipts.unfinished(tx)), receipts.count(tx)
    if left:
        return Finding(
            "erasures", False, f"{left} not finished: open the store with MemOS.open() to go on"
        )
    return Finding("erasures", True, f"{done} finished" if done else "none")


def _index(vault: MemVault, mend: bool) -> Iterator[Finding]:
    settled = vault.wait_for_index(600)
    if vault.index_state == "idle":
        yield Finding("index", True, "no namespace is large enough to need one")
        return
    # Opening the store already replaced an index that was plainly broken.
    found = vault.index_trouble
    problems = vault.audit_index() if settled else "it did not catch up within ten minutes"
    if problems and mend:
        found, settled = problems, vault.rebuild_index(600)
        problems = vault.audit_index() if settled else "the rebuild did not end in time"
    if problems:
        yield Finding("index", False, problems)
    elif found:
        yield Finding("index", True, f"{found}: rebuilt, equals the records", mended=True)
    else:
        yield Finding("index", True, "equals the records, ids and vectors")


def _self_recall(vault: MemVault) -> Iterator[Finding]:
    """Does each of a sample of memories find itself?"""
    asked = found = 0
    for path, key, blob in vault.sample_vectors(SELF_RECALL_SAMPLE):
        vector = decode([blob])[0]
        if not np.isclose(float(vector @ vector), 1.0, atol=1e-3):
            yield Finding("vectors", False, f"the vector of entry {key} is not of unit length")
            return
        asked += 1
        try:
            hits = vault.nearest(path, vector, 10)
        except MemOSError as error:
            yield Finding("self-recall", False, str(error))
            return
        # Several memories may have the same vector: an equal score counts.
        found += any(pk == key or score > 1 - 1e-5 for pk, score in hits)
    ok = found == asked
    yield Finding("self-recall", ok, f"{found} of {asked} sampled memories find themselves")
