"""What a run costs against its verbs one by one: ``python benchmarks/pipelines.py [RUNS]``.

Both are done in turns in one store of 2,000 memories; prints a table and writes JSON.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _report import save, show

from memos_integrations import MemorySession, MemOS
from memos_integrations.interface.pipeline import Pipeline
from memos_integrations.testing import WordEmbedder

RESULTS = Path(__file__).parent / "results" / "pipelines.json"


def pipeline_of(verbs: int) -> Pipeline:
    """A note, and further lines to it."""
    whole = Pipeline("notes").add("a first note about the garden", name="note")
    for number in range(verbs - 1):
        whole = whole.append("$note", f"line {number}", name=f"line_{number}")
    return whole


def one_by_one(session: MemorySession, verbs: int) -> None:
    """The same without a pipeline."""
    note = session.add("a first note about the garden")[0].id
    for number in range(verbs - 1):
        session.append(note, f"line {number}")


def timed(work: Any) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    rows: list[list[float]] = []
    with (
        tempfile.TemporaryDirectory() as scratch,
        MemOS.open(Path(scratch) / "store", embedder=WordEmbedder()) as memory,
    ):
        session = memory.session("ann")
        session.add([f"note {number} about w{number % 97}" for number in range(2_000)])
        for verbs in (1, 2, 5, 10, 20):
            pipeline, piped, plain = pipeline_of(verbs), [], []
            for _ in range(runs):
                piped.append(timed(lambda pipeline=pipeline: session.run(pipeline)))
                plain.append(timed(lambda verbs=verbs: one_by_one(session, verbs)))
            middle = statistics.median(piped), statistics.median(plain)
            rows.append([verbs, *(1e3 * one for one in middle), middle[0] / middle[1]])
    columns = ("verbs", "one run, ms", "one by one, ms", "ratio")
    show(f"Verbs as one, and one by one: p50 of {runs}", columns, rows)
    save(RESULTS, "pipelines", {"columns": columns, "rows": rows, "runs": runs})


if __name__ == "__main__":
    main()
