"""How long a damaged index takes to be found and rebuilt, file by file.

``python benchmarks/recovery.py [--memories 10000]``. A store is built and closed; each file that
Chroma keeps is deleted, emptied, halved and bit-flipped in a copy of it. Columns: seconds
until the first search is answered, by exact scan; until the index is found unsound; until it is
rebuilt and equals the records.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from _report import save, show
from engine import BATCH, TableEmbedder, make

from memos_integrations import MemOS


def delete(path: Path) -> None:
    """Remove the file."""
    path.unlink()


def empty(path: Path) -> None:
    """Leave it with no bytes."""
    path.write_bytes(b"")


def halve(path: Path) -> None:
    """Cut its second half off."""
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def flip(path: Path) -> None:
    """Turn one bit in the middle."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 4]))


DAMAGES: list[Callable[[Path], None]] = [delete, empty, halve, flip]


def recover(folder: Path, embedder: TableEmbedder, question: str) -> dict[str, float]:
    """Open a store whose index is damaged; the seconds until each step."""
    started = time.perf_counter()
    with MemOS.open(folder, embedder=embedder) as memory:
        hit = memory.session("large").search(question, limit=1)[0]
        answered = time.perf_counter() - started
        if hit.cube.text != question:
            raise SystemExit(f"asked {question!r}, found {hit.cube.text!r}")
        while not memory.vault.index_trouble and time.perf_counter() - started < 60:
            time.sleep(0.01)
        found = time.perf_counter() - started
        if not memory.vault.wait_for_index(300) or not memory.vault.index_trouble:
            raise SystemExit(f"{folder}: not rebuilt")
        rebuilt = time.perf_counter() - started
        difference = memory.vault.audit_index()
        if difference:
            raise SystemExit(f"{folder}: {difference}")
    return {"answered_s": answered, "found_s": found, "rebuilt_s": rebuilt}


def main() -> None:
    """Build, damage, recover, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--memories", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/recovery.json"))
    options = parser.parse_args()
    vectors, texts, _ = make(options.memories)
    embedder = TableEmbedder(vectors)
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as scratch:
        sound = Path(scratch) / "sound"
        with MemOS.open(sound, embedder=embedder) as memory:
            session = memory.session("large")
            for start in range(0, len(texts), BATCH):
                session.add(texts[start : start + BATCH])
            memory.vault.wait_for_index(600)
        for name in sorted(p.name for p in (sound / "index").rglob("*") if _damageable(p)):
            for damage in DAMAGES:
                copy = Path(scratch) / "damaged"
                shutil.copytree(sound, copy)
                damage(next((copy / "index").rglob(name)))
                rows[f"{name} {damage.__name__}"] = recover(copy, embedder, texts[17])
                shutil.rmtree(copy)
    show(
        f"{options.memories:,} memories, index damaged while closed",
        ["damage", "answered s", "found s", "rebuilt s"],
        [[name, *row.values()] for name, row in rows.items()],
    )
    save(options.out, "recovery", {"memories": options.memories, "rows": rows})


def _damageable(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 1 and path.name != "seal.json"


if __name__ == "__main__":
    main()
