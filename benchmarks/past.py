"""What the past costs: a search as of a moment beside one of today, and the closure of a memory.

``python benchmarks/past.py [--memories 50000] [--questions 200]``. Every memory is updated once, so
there are twice as many versions; the moment lies where half of the updates have happened. Both
searches answer the same questions, in turn. Then memories are derived from earlier ones, up to
``--edges`` edges, and the closure of single memories is read. Vectors are at hand.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from _report import save, show
from engine import make
from langchain_overhead import AtHand, percentile

from memos_integrations import MemOS
from memos_integrations.infrastructure.schema import edges, versions


def main() -> None:
    """Build, ask, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--memories", type=int, default=50_000)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--edges", type=int, default=300_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/past.json"))
    options = parser.parse_args()
    vectors, texts, _ = make(2 * options.memories + options.questions)
    table = AtHand(vectors)
    first, second = texts[: options.memories], texts[options.memories : 2 * options.memories]
    questions = texts[2 * options.memories :]
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as scratch,
        MemOS.open(Path(scratch) / "store", embedder=table) as store,
    ):
        maya = store.session("maya")
        cubes = [
            cube
            for at in range(0, len(first), 1_000)
            for cube in maya.add(first[at : at + 1_000], semantic_type="fact")
        ]
        half = len(cubes) // 2
        for i, (cube, text) in enumerate(zip(cubes, second, strict=True)):
            maya.update(cube.id, text)
            if i == half:
                middle = maya.snapshot("half of them")
        store.vault.wait_for_index(600)
        rows = [
            ask(store, maya, middle, "updates half done", questions),
            ask(store, maya, cubes[-1].created_at, "before the updates", questions),
        ]
        closures = closure(store, maya, options.edges)
    columns = ["moment", "now p50", "now p95", "then p50", "then p95", "then / now"]
    show(
        f"Searches of today and of a moment, {2 * options.memories:,} versions, milliseconds",
        columns,
        rows,
    )
    shape = ["edges in the store", "memories in the closure", "p50", "p95"]
    show("The closure of one memory, milliseconds", shape, [closures])
    figures = {"columns": columns, "rows": rows, "closure": closures, **vars(options)}
    save(options.out, "past", figures)


def ask(store: MemOS, maya: Any, moment: Any, name: str, questions: list[str]) -> list[Any]:
    """Medians of both, asked in turn; the first questions are not counted."""
    then = maya.as_of(moment)
    taken: dict[str, list[float]] = {"now": [], "then": []}
    for i, question in enumerate(questions):
        for which, session in (("now", maya), ("then", then)):
            started = time.perf_counter()
            session.search(question, limit=10)
            if i >= 10:
                taken[which].append((time.perf_counter() - started) * 1e3)
    median = {which: statistics.median(values) for which, values in taken.items()}
    p95 = {which: percentile(values, 0.95) for which, values in taken.items()}
    ratio = median["then"] / median["now"]
    return [name, median["now"], p95["now"], median["then"], p95["then"], ratio]


def closure(store: MemOS, maya: Any, wanted: int) -> list[Any]:
    """Derive versions from earlier ones, near each other, and read closures."""
    dice = random.Random(1)
    with store.vault.database.read() as tx:
        pks = list(tx.execute(sa.select(versions.c.pk).order_by(versions.c.pk)).scalars())
        there = int(tx.execute(sa.select(sa.func.count()).select_from(edges)).scalar_one())
    # Families of twelve versions: what is derived comes from its own conversation.
    families = [pks[at : at + 12] for at in range(0, len(pks), 12)]
    made: set[tuple[int, int]] = set()
    while len(made) + there < wanted:
        family = dice.choice(families)
        one, other = sorted(dice.sample(family, 2)) if len(family) > 1 else (0, 0)
        if one < other:
            made.add((other, one))

    def write(tx: sa.Connection) -> None:
        rows = [
            {"subject_pk": s, "object_pk": o, "relation": "wasDerivedFrom"} for s, o in sorted(made)
        ]
        tx.execute(sa.insert(edges).prefix_with("OR IGNORE"), rows)

    store.vault.database.write(write)
    page = maya.list(limit=1_000)
    taken, sizes = [], []
    for cube in dice.sample(page, 100):
        started = time.perf_counter()
        graph = maya.lineage(cube.id)
        taken.append((time.perf_counter() - started) * 1e3)
        sizes.append(sum(kind == "entity" for _, kind in graph.nodes(data="kind")))
    total = len(made) + there
    return [total, statistics.median(sizes), statistics.median(taken), percentile(taken, 0.95)]


if __name__ == "__main__":
    main()
