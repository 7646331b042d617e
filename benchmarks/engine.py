"""The engine beside plain Chroma and a brute-force numpy scan, on the same vectors.

``python benchmarks/engine.py --sizes 1000,10000,100000``. Each size runs in a process of its
own. Vectors are synthetic and precomputed: 384 dimensions, 500 seeded cluster centres plus
noise (0.6 of the centres' spread), so that neighbours exist and no model's speed is measured.
Texts are 12 content words drawn from 20,000 by the Zipf-Mandelbrot law (the commonest stands in
about one memory in nine), questions five of a stored memory's words. Queries are vectors near
stored ones; ours and Chroma's are asked in turn, so that the machine's drift meets both.

Columns: memories added a second, each batch acknowledged as durable (ours: records, words,
vectors, provenance in SQLite with ``synchronous=FULL``; Chroma: ``add`` to a persistent
collection); seconds until the index has caught up; least, p50 and p95 in milliseconds of the
dense part (query vector given, checked in SQL) and of the whole search, after a warm-up of
each; resident memory; disk.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _report import save, show

from memos_integrations import MemOS
from memos_integrations.protocols import EmbedderFingerprint, Vectors

DIMENSION = 384
BATCH = 500
QUERIES = 300
SMALL = 1_000
"""Memories of the small tenant inside the large store."""


class TableEmbedder:
    """Looks vectors up: the last word of a text is its row."""

    fingerprint = EmbedderFingerprint("table", "1", DIMENSION)

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors

    def embed_documents(self, texts: list[str]) -> Vectors:
        """float32, shape ``(len(texts), 384)``."""
        return self._vectors[[int(text.rsplit(" ", 1)[1]) for text in texts]]

    def embed_query(self, text: str) -> Vectors:
        """float32, shape ``(384,)``."""
        vector: Vectors = self.embed_documents([text])[0]
        return vector


def make(count: int) -> tuple[Vectors, list[str], Vectors]:
    """Unit vectors, texts, and query vectors near some of them."""
    draw = np.random.default_rng(7)
    centres = draw.standard_normal((500, DIMENSION), dtype=np.float32)
    noise = draw.standard_normal((count, DIMENSION), dtype=np.float32)
    vectors = unit(centres[draw.integers(0, 500, count)] + 0.6 * noise)
    shares = 1 / (np.arange(20_000) + 20) ** 1.1
    words = draw.choice(20_000, (count, 12), p=shares / shares.sum())
    texts = [" ".join(f"w{w}" for w in row) + f" {i}" for i, row in enumerate(words)]
    near = draw.standard_normal((QUERIES, DIMENSION), dtype=np.float32)
    queries = unit(vectors[draw.integers(0, count, QUERIES)] + 0.015 * near)
    return vectors, texts, queries


def unit(vectors: Vectors) -> Vectors:
    """Rows scaled to length 1."""
    scaled: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def in_turn(calls: dict[str, Callable[[int], object]], count: int) -> dict[str, dict[str, float]]:
    """Least, p50 and p95 in milliseconds of each call, asked one after another.

    The order rotates, and no call gets a query that another has just asked: who comes second
    would find its part of memory in the processor's cache.
    """
    for call in calls.values():
        for i in range(count // 3):
            call(i)  # warm-up: files into the page cache, graphs into memory
    took: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for i in range(count):
        for turn in range(len(names)):
            name = names[(i + turn) % len(names)]
            call, query = calls[name], (i + names.index(name) * 71) % count
            started = time.perf_counter()
            call(query)
            took[name].append((time.perf_counter() - started) * 1_000)
    return {
        name: {
            "min": min(t),
            "p50": float(np.percentile(t, 50)),
            "p95": float(np.percentile(t, 95)),
        }
        for name, t in took.items()
    }


def resident_mb() -> float:
    """Resident memory of this process, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1_000


def disk_mb(folder: Path) -> float:
    """Size of the files below, in MB."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6


def chroma(folder: Path) -> Any:
    """A persistent collection with default settings and cosine."""
    import chromadb
    from chromadb.config import Settings

    client = chromadb.PersistentClient(str(folder), settings=Settings(anonymized_telemetry=False))
    return client.create_collection(
        "plain", embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
    )


def fill_ours(memory: MemOS, texts: list[str]) -> dict[str, float]:
    """Ingest rate, acknowledged; then the time until the index follows."""
    small, large = memory.session("small"), memory.session("large")
    started = time.perf_counter()
    own = SMALL if len(texts) > 10 * SMALL else 0
    for start in range(0, len(texts), BATCH):
        session = small if start < own else large
        session.add(texts[start : start + BATCH])
    added = time.perf_counter()
    if not memory.vault.wait_for_index(1_800):
        raise SystemExit("the index did not catch up within half an hour")
    return {
        "added_per_s": len(texts) / (added - started),
        "catch_up_s": time.perf_counter() - added,
    }


def fill_chroma(collection: Any, vectors: Vectors, texts: list[str]) -> dict[str, float]:
    """Ingest rate of plain Chroma, with the text and a tenant as metadata."""
    own = SMALL if len(texts) > 10 * SMALL else 0
    started = time.perf_counter()
    for start in range(0, len(texts), BATCH):
        rows = range(start, min(start + BATCH, len(texts)))
        collection.add(
            ids=[str(i) for i in rows],
            embeddings=vectors[rows.start : rows.stop],
            documents=[texts[i] for i in rows],
            metadatas=[{"tenant": "small" if start < own else "large"} for _ in rows],
        )
    return {"added_per_s": len(texts) / (time.perf_counter() - started)}


def one_size(count: int) -> dict[str, Any]:
    """All figures for one size."""
    vectors, texts, queries = make(count)
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as scratch:
        folder = Path(scratch)
        with MemOS.open(folder / "ours", embedder=TableEmbedder(vectors)) as memory:
            figures: dict[str, Any] = {"ours": fill_ours(memory, texts)}
            memory.vault.nearest(("large",), queries[0], 10)
            figures["ours"]["resident_mb"] = resident_mb()
            figures["ours"]["disk_mb"] = disk_mb(folder / "ours")
            collection = chroma(folder / "chroma")
            figures["chroma"] = fill_chroma(collection, vectors, texts)
            figures["chroma"]["disk_mb"] = disk_mb(folder / "chroma")
            figures["milliseconds"] = timings(memory, collection, vectors, texts, queries)
    return figures


def timings(
    memory: MemOS, collection: Any, vectors: Vectors, texts: list[str], queries: Vectors
) -> dict[str, Any]:
    """Latencies of every way to ask, in turn."""
    large, small = memory.session("large"), memory.session("small")
    step = max(1, len(texts) // QUERIES)
    # Questions as people ask them: five of a memory's words.
    asked = [" ".join(texts[i * step].split()[2:7]) + f" {i * step}" for i in range(QUERIES)]

    def numpy_scan(i: int) -> object:
        scores = vectors @ queries[i]
        top = np.argpartition(-scores, 10)[:10]
        return top[np.argsort(-scores[top])]

    calls: dict[str, Callable[[int], object]] = {
        "ours, dense part": lambda i: memory.vault.nearest(("large",), queries[i], 10),
        "Chroma": lambda i: collection.query(
            query_embeddings=[queries[i]], n_results=10, include=["distances"]
        ),
    }
    found = in_turn(calls, QUERIES)
    # Apart: what these two read would push the others' memory out of the processor's cache.
    found |= in_turn({"numpy scan": numpy_scan}, QUERIES)
    found |= in_turn({"ours, whole search": lambda i: large.search(asked[i], limit=10)}, QUERIES)
    if small.count():
        filtered: dict[str, Callable[[int], object]] = {
            "ours, namespace of 1,000": lambda i: memory.vault.nearest(("small",), queries[i], 10),
            "Chroma, where tenant": lambda i: collection.query(
                query_embeddings=[queries[i]],
                n_results=10,
                where={"tenant": "small"},
                include=["distances"],
            ),
        }
        found |= in_turn(filtered, 60)
    return found


def churn(count: int) -> dict[str, float]:
    """Recall@10 against the exact answer after deleting half and updating a third of the rest."""
    vectors, texts, queries = make(count)
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as scratch,
        MemOS.open(Path(scratch) / "ours", embedder=TableEmbedder(vectors)) as memory,
    ):
        session = memory.session("large")
        cubes = [c for s in range(0, count, BATCH) for c in session.add(texts[s : s + BATCH])]
        memory.vault.wait_for_index(600)
        rows = {cube.id: i for i, cube in enumerate(cubes)}
        started = time.perf_counter()
        for cube in cubes[::2]:
            session.delete(cube.id)
            del rows[cube.id]
        for cube in cubes[1::6]:
            rows[cube.id] = (rows[cube.id] * 31 + 17) % count
            session.update(cube.id, f"changed {rows[cube.id]}")
        changed = time.perf_counter() - started
        # The wait includes the renewal of a graph in which more was changed than there is.
        if not memory.vault.wait_for_index(600) or memory.vault.index_state != "ready":
            raise SystemExit("the index did not settle: recall would be that of the exact scan")
        ids, live = list(rows), vectors[list(rows.values())]
        shares = []
        with memory.vault.snapshot(("large",)) as view:
            for query in queries:
                found = view.nearest(query, 10)
                names = {cube.id for cube in view.load([pk for pk, _ in found]).values()}
                floor = np.sort(live @ query)[-10] - 1e-5
                best = {ids[i] for i in np.flatnonzero(live @ query >= floor)}
                shares.append(len(names & best) / 10)
    return {
        "memories": count,
        "recall@10": float(np.mean(shares)),
        "changes_per_s": count * 2 / 3 / changed,
    }


def main() -> None:
    """Run each size in a process of its own, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--churn", type=int, default=20_000, help="memories in the recall test")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/engine.json"))
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(churn(-options.one) if options.one < 0 else one_size(options.one)))
        return
    sizes = [int(size) for size in options.sizes.split(",")]
    found = {size: child(size) for size in sizes}
    for size, figures in found.items():
        ours, plain = figures["ours"], figures["chroma"]
        show(
            f"{size:,} memories",
            ["", "added/s", "catch-up s", "resident MB", "disk MB"],
            [
                [
                    "ours",
                    *(
                        round(ours[k], 1)
                        for k in ("added_per_s", "catch_up_s", "resident_mb", "disk_mb")
                    ),
                ],
                ["Chroma", round(plain["added_per_s"], 1), "-", "-", round(plain["disk_mb"], 1)],
            ],
        )
        took = figures["milliseconds"]
        show("milliseconds", ["", "min", "p50", "p95"], [[n, *t.values()] for n, t in took.items()])
        ratios = {
            "dense part to Chroma, p95": took["ours, dense part"]["p95"] / took["Chroma"]["p95"]
        }
        if "Chroma, where tenant" in took:
            ratios["Chroma with where to our small namespace, p50"] = (
                took["Chroma, where tenant"]["p50"] / took["ours, namespace of 1,000"]["p50"]
            )
        figures["ratios"] = ratios
        show("ratios", ["", "ratio"], list(ratios.items()))
    recall = child(-options.churn)
    show("after deleting half and updating a third", list(recall), [list(recall.values())])
    save(options.out, "engine", {"sizes": found, "after_changes": recall})


def child(size: int) -> dict[str, Any]:
    """The figures of one size (negative: the recall test), from a fresh process."""
    ran = subprocess.run(
        [sys.executable, __file__, "--one", str(size)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    figures: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return figures


if __name__ == "__main__":
    main()
