"""What moving costs: dump and load at several sizes, each in a process of its own.

``python benchmarks/transfer.py [--sizes 20000 80000]``. Texts of about 1.3 KB, two memories each;
one text in ten is updated; vectors travel. The peak of the resident memory must not grow with the
size. The stores have no vector index: that is memory of its own, whatever else is done.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from _report import save, show

from memos_integrations import IndexPolicy, MemOS
from memos_integrations.testing import WordEmbedder

WORDS = 160
DIMENSION = 64


def main() -> None:
    """Build, dump, load, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 40_000])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/transfer.json"))
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(step(*options.step)))
        return
    rows = [row for size in options.sizes for row in measure(size)]
    columns = ["texts", "step", "MB unpacked", "MB archive", "seconds", "peak MB", "above start"]
    show("Moving", columns, rows)
    save(options.out, "transfer", {"columns": columns, "rows": rows, "sizes": options.sizes})


def measure(size: int) -> list[list[object]]:
    """One size."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as scratch:
        rows: list[list[object]] = []
        for what in ("build", "dump", "load", "again"):
            command = [sys.executable, __file__, "--step", what, scratch, str(size)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            if what != "build":
                rows.append([size, what, *found])
        return rows


def step(what: str, scratch: str, size: str) -> list[object]:
    """One step, in this process: megabytes, seconds, and peaks."""
    place = Path(scratch)
    folder = place / ("from" if what in ("build", "dump") else "to")
    archive = place / "archive"
    exact = IndexPolicy(exact_below=1 << 40)
    with MemOS.open(folder, embedder=WordEmbedder(DIMENSION), index_policy=exact) as store:
        session = store.session("maya")
        session.count()
        if what == "build":
            build(session, int(size))
            return []
        with Peak() as peak:
            started = time.monotonic()
            if what == "dump":
                session.dump(archive, vectors=True)
            else:
                session.load(archive, trust=True)
            seconds = time.monotonic() - started
    return [unpacked(archive), archive.stat().st_size // 10**6, seconds, peak.most, peak.above]


def unpacked(archive: Path) -> int:
    """Megabytes that come out of an archive."""
    import zipfile

    with zipfile.ZipFile(archive) as file:
        return sum(one.file_size for one in file.infolist()) // 10**6


def build(session: object, size: int) -> None:
    """Memories of many words, one in ten updated."""
    import random

    draw = random.Random(3)
    words = ["".join(draw.choices("abcdefghijklmnop", k=7)) for _ in range(3000)]
    for at in range(0, size, 1000):
        cubes = session.add([" ".join(draw.choices(words, k=WORDS)) for _ in range(1000)])  # type: ignore[attr-defined]
        for cube in cubes[::10]:
            session.update(cube.id, " ".join(draw.choices(words, k=WORDS)))  # type: ignore[attr-defined]
        if at % 10_000 == 0:
            print(at, flush=True)


class Peak:
    """The most resident memory of this process within a block, in megabytes."""

    def __enter__(self) -> Peak:
        self._process, self._over = psutil.Process(), threading.Event()
        self._start = self.most = self._now()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.above = self.most - self._start

    def _now(self) -> int:
        return int(self._process.memory_info().rss) // 10**6

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.most = max(self.most, self._now())


if __name__ == "__main__":
    main()
