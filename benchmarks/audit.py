"""What the audit log costs: verifying it, an ``add``, and a ``search``.

``python benchmarks/audit.py [--entries 50000] [--memories 10000] [--calls 300]``. Verified is a log
of which two fifths are about activities with a memory each, the rest readings of ten memories.
``add`` and ``search`` are timed in turn in stores that are alike but for the log: without it
(which takes a change of the code, there is no such option), with it, and with readings in it.
Vectors are at hand.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from _report import save, show
from engine import make
from langchain_overhead import AtHand, percentile

from memos_integrations import MemOS
from memos_integrations.cube import Draft, Plaintext, Principal
from memos_integrations.infrastructure import audit, audit_check, records
from memos_integrations.infrastructure.database import Database
from memos_integrations.infrastructure.schema import to_micros
from memos_integrations.testing import WordEmbedder

TOGETHER = 1_000


def main() -> None:
    """Build, verify, ask, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--entries", type=int, default=50_000)
    parser.add_argument("--memories", type=int, default=10_000)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/audit.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as scratch:
        verified = verifying(Path(scratch), options.entries)
        rows = calling(Path(scratch), options.memories, options.calls)
    show("Verifying", ["entries", "seconds", "of them CPU", "entries a second"], [verified])
    columns = ["call", "log", "p50 ms", "p95 ms", "p50 / without", "CPU p50 ms", "bytes an entry"]
    show(f"Calls in {options.memories:,} memories", columns, rows)
    save(options.out, "audit", {"verified": verified, "columns": columns, "rows": rows})


def verifying(scratch: Path, entries: int) -> list[Any]:
    """The best of three."""
    with MemOS.open(scratch / "verified", embedder=WordEmbedder(8)) as memory:
        for _ in range(entries * 2 // 5 // TOGETHER):
            memory.vault.commit(lambda tx: (deeds(tx, memory), False))
        ids = [cube.id for cube in memory.session("maya").list(limit=10)]
        now = to_micros(memory.vault.now())
        seen = {"verb": "search", "who": "maya", "at": now, "in": ["maya"], "decision": "allowed"}
        seen |= {"memories": [[id, 1] for id in ids], "question": "0" * 32}
        for _ in range(entries * 3 // 5 // TOGETHER):
            memory.vault.database.write(
                lambda tx: audit.append(tx, [dict(seen) for _ in range(TOGETHER)], memory.vault.id)
            )
        taken = []
        for _ in range(3):
            begun, busy = time.perf_counter(), time.thread_time()
            with memory.vault.database.read() as tx:
                verdict = audit_check.verify(tx, memory.vault.id)
            taken.append((time.perf_counter() - begun, time.thread_time() - busy))
            assert verdict, verdict
        return [verdict.entries, *min(taken), verdict.entries / min(taken)[0]]


def deeds(tx: sa.Connection, memory: MemOS) -> None:
    """Activities with a memory each."""
    operator, who = memory._operator, Principal(id="maya")
    space = records.ensure_namespace(tx, ("maya",))
    for _ in range(TOGETHER):
        activity = operator.activity("add", who)
        cube = operator.cube(("maya",), who, Draft(payload=Plaintext(text="note")), activity)
        pk = records.insert_activity(tx, space.pk, activity)
        records.insert_cubes(tx, space, pk, [cube], np.ones((1, 8), np.float32) / 8**0.5)


class Unaudited:
    """Units of work as they would be without a log."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self.counters, self.readings = writer.counters, writer.readings

    def write(self, database: Database, work: Callable[[sa.Connection], Any]) -> Any:
        """Do it, and write nothing down."""

        def unaudited(tx: sa.Connection) -> Any:
            audit.begin(tx)
            return work(tx)

        return database.write(unaudited)


def calling(scratch: Path, memories: int, calls: int) -> list[list[Any]]:
    """Each call to each store, in turn."""
    vectors, texts, _ = make(memories + calls)
    stores: dict[str, MemOS] = {}
    for name in ("without", "changes", "changes and readings"):
        reads = name == "changes and readings"
        stores[name] = MemOS.open(scratch / name, embedder=AtHand(vectors), audit_reads=reads)
        if name == "without":
            stores[name].vault._writer = Unaudited(stores[name].vault._writer)  # type: ignore[assignment]
    sessions = {name: store.session("maya") for name, store in stores.items()}
    for session in sessions.values():
        for at in range(0, memories, 50):
            session.add(texts[at : at + 50])
    for store in stores.values():
        store.vault.wait_for_index(600)
    taken: dict[tuple[str, str], list[float]] = {}
    busy: dict[tuple[str, str], list[float]] = {}
    for text in texts[memories:]:
        for name, session in sessions.items():
            for verb in (session.search, session.add):
                begun, worked = time.perf_counter(), time.thread_time()
                verb(text)
                key = verb.__name__, name
                busy.setdefault(key, []).append((time.thread_time() - worked) * 1e3)
                taken.setdefault(key, []).append((time.perf_counter() - begun) * 1e3)
    warm = calls // 10
    rows = []
    for verb_name in ("add", "search"):
        base = percentile(taken[verb_name, "without"][warm:], 0.5)
        for name, store in stores.items():
            times = taken[verb_name, name][warm:]
            p50 = percentile(times, 0.5)
            size = _size(store, verb_name)
            cpu = percentile(busy[verb_name, name][warm:], 0.5)
            rows.append([verb_name, name, p50, percentile(times, 0.95), p50 / base, cpu, size])
    for store in stores.values():
        store.close()
    return rows


def _size(store: MemOS, verb: str) -> int:
    """The mean size of the last hundred entries about a verb."""
    store.vault.flush_counters()
    query = (
        "SELECT coalesce(avg(size), 0) FROM (SELECT length(entry) + 40 AS size FROM audit "
        "WHERE entry LIKE ? ORDER BY seq DESC LIMIT 100)"
    )
    with store.vault.database.read() as tx:
        return round(tx.exec_driver_sql(query, (f'%"verb":"{verb}"%',)).scalar_one())


if __name__ == "__main__":
    main()
