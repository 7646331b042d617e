"""What retention costs a search.

``python benchmarks/retention.py [--memories 10000] [--questions 200]``. The same questions, in
turn, to stores that are alike: with no rules, with rules elsewhere, with a time to live that
has ended for a tenth, with one for what is unused, and with a hundred holds besides. And the
seconds of a sweep of that tenth. Vectors are at hand.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from _report import save, show
from engine import make
from langchain_overhead import AtHand, percentile

from memos_integrations import MemorySession, MemOS
from memos_integrations.testing import FakeClock

HOUR = timedelta(hours=1)
CASES = ("no rules", "rules elsewhere", "ttl", "unused", "ttl and 100 holds")


def main() -> None:
    """Build, ask, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--memories", type=int, default=10_000)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/retention.json"))
    options = parser.parse_args()
    vectors, texts, _ = make(options.memories + options.questions)
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as scratch:
        sessions: dict[str, MemorySession] = {}
        stores = []
        for case in CASES:
            clock = FakeClock()
            store = MemOS.open(Path(scratch) / case, embedder=AtHand(vectors), clock=clock)
            stores.append(store)
            sessions[case] = prepared(case, store, clock, texts[: options.memories])
        taken: dict[str, list[float]] = {case: [] for case in CASES}
        for question in texts[options.memories :]:
            for case, session in sessions.items():
                begun = time.perf_counter()
                session.search(question)
                taken[case].append((time.perf_counter() - begun) * 1e3)
        begun = time.perf_counter()
        swept = len(sessions["ttl"].sweep().due)
        seconds = time.perf_counter() - begun
        for store in stores:
            store.close()
    warm = options.questions // 10
    base = percentile(taken["no rules"][warm:], 0.5)
    rows: list[list[Any]] = []
    for case, times in taken.items():
        p50 = percentile(times[warm:], 0.5)
        rows.append([case, p50, percentile(times[warm:], 0.95), p50 / base])
    columns = ["rules", "p50", "p95", "p50 / no rules"]
    show(f"Searches in {options.memories:,} memories, milliseconds", columns, rows)
    print(f"a sweep of {swept:,} memories: {seconds:.2f} s")
    report = {"columns": columns, "rows": rows, "swept": swept, "sweep_seconds": seconds}
    save(options.out, "retention", report)


def prepared(case: str, store: MemOS, clock: FakeClock, texts: list[str]) -> MemorySession:
    """A session with memories of which a tenth is old."""
    session = store.session("maya")
    old = len(texts) // 10
    for begin, end in ((0, old), (old, len(texts))):
        for at in range(begin, end, 50):
            session.add(texts[at : min(at + 50, end)])
        clock.advance(hours=1)
    ends = 2 * HOUR
    if case == "rules elsewhere":
        store.session("noah").retain(ttl=HOUR)
    elif case == "unused":
        session.retain(unused=ends)
    elif case.startswith("ttl"):
        session.retain(ttl=ends)
    if case.endswith("holds"):
        for cube in session.list(limit=100):
            session.hold(id=cube.id)
    store.vault.wait_for_index(600)
    return session


if __name__ == "__main__":
    main()
