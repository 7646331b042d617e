"""What governed access costs a search.

``python benchmarks/access.py [--memories 10000] [--questions 200]``. The same questions, asked in
turn by the same principal's sessions: with no rules, at home, with a grant on all memories, and
with grants on a tenth and a hundredth of them (by tag). Vectors are at hand.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from _report import save, show
from engine import make
from langchain_overhead import AtHand, percentile

from memos_integrations import MemorySession, MemOS


def main() -> None:
    """Build, ask, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--memories", type=int, default=10_000)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/access.json"))
    options = parser.parse_args()
    vectors, texts, _ = make(options.memories + options.questions)
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as scratch:
        stores = [MemOS.open(Path(scratch) / name, embedder=AtHand(vectors)) for name in "ab"]
        sessions: dict[str, MemorySession] = {}
        for store in stores:
            home = store.session("maya", namespace=("acme", "maya"))
            for at in range(0, options.memories, 50):
                tags = [f"tenth{at // 50 % 10}", *(["fifty"] if at == 50 else [])]
                home.add(texts[at : at + 50], semantic_type="fact", tags=tags)
            store.vault.wait_for_index(600)
        sessions["no rules"] = stores[0].session("maya", namespace=("acme", "maya"))
        governed = stores[1]
        governed.govern("root", homes=[("acme", "{principal}")])
        home = governed.session("maya", namespace=("acme", "maya"))
        home.grant("all", "read")
        home.grant("tenth", "read", tag="tenth3")
        home.grant("few", "read", tag="fifty")
        sessions["at home"] = home
        guests = {"grant on all": "all", "on a tenth": "tenth", "on fifty": "few"}
        for name, who in guests.items():
            sessions[name] = governed.session(who, namespace=home.namespace)
        rows = ask(sessions, texts[options.memories :])
        for store in stores:
            store.close()
    columns = ["who asks", "memories seen", "p50", "p95", "p50 / no rules"]
    show(f"Searches in {options.memories:,} memories, milliseconds", columns, rows)
    save(options.out, "access", {"columns": columns, "rows": rows, **vars(options)})


def ask(sessions: dict[str, MemorySession], questions: list[str]) -> list[list[Any]]:
    """Each question to each session, in turn; the first tenth is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in sessions}
    for question in questions:
        for name, session in sessions.items():
            begun = time.perf_counter()
            session.search(question)
            taken[name].append((time.perf_counter() - begun) * 1e3)
    warm = len(questions) // 10
    p50 = {name: percentile(times[warm:], 0.5) for name, times in taken.items()}
    return [
        [
            name,
            sessions[name].count(),
            p50[name],
            percentile(taken[name][warm:], 0.95),
            p50[name] / p50["no rules"],
        ]
        for name in sessions
    ]


if __name__ == "__main__":
    main()
