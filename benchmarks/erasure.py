"""What an erasure costs: one memory, then a thousand, in stores of several sizes.

``python benchmarks/erasure.py [--sizes 1000 10000 100000]``. Every memory is updated once in ten.
The seconds are those of the whole call, until no byte is left; searches go on meanwhile, and while
the index is filled again afterwards. Vectors are at hand.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

from _report import save, show
from engine import make
from langchain_overhead import AtHand

from memos_integrations import MemOS


def main() -> None:
    """Build, erase, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/erasure.json"))
    options = parser.parse_args()
    rows = [row for size in options.sizes for row in measure(size)]
    columns = ["memories", "MB", "erased", "dry run, s", "seconds", "index caught up, s", "left"]
    show("Erasing", columns, rows)
    save(options.out, "erasure", {"columns": columns, "rows": rows, "sizes": options.sizes})


def measure(size: int) -> list[list[Any]]:
    """One size."""
    vectors, texts, _ = make(size + size // 10)
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as scratch:
        folder = Path(scratch) / "store"
        with MemOS.open(folder, embedder=AtHand(vectors)) as store:
            maya = store.session("maya")
            cubes = [
                cube
                for at in range(0, size, 1_000)
                for cube in maya.add(texts[at : min(at + 1_000, size)], semantic_type="fact")
            ]
            for cube, text in zip(cubes[::10], texts[size:], strict=False):
                maya.update(cube.id, text)
            store.vault.wait_for_index(900)
            megabytes = round(sum(f.stat().st_size for f in folder.rglob("*")) / 1e6)
            return [
                [size, megabytes, len(part), *erase(store, maya, part)]
                for part in (cubes[:1], cubes[1 : 1 + min(1_000, size // 2)])
            ]


def erase(store: MemOS, maya: Any, part: list[Any]) -> list[Any]:
    """Seconds of the dry run, of the whole call, seconds until the index is full again; traces."""
    words = [cube.text for cube in part]
    started = time.perf_counter()
    maya.forget(part, dry_run=True)  # the same work, without writing
    looked = time.perf_counter() - started
    receipt = maya.forget(part)
    assert receipt.finished, receipt.unfinished
    done = time.perf_counter()
    store.vault.wait_for_index(900)
    caught_up = time.perf_counter() - done
    records = sqlite3.connect(store.path / "memory.db")
    left = sum(
        records.execute(
            "SELECT count(*) FROM versions WHERE body LIKE ?", (f"%{one}%",)
        ).fetchone()[0]
        for one in words[:10]
    )
    records.close()
    return [round(looked, 3), round(receipt.seconds, 2), round(caught_up, 1), left]


if __name__ == "__main__":
    main()
