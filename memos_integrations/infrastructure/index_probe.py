"""Compare an index with the records; for a folder of unknown health, in a process of its own.

A damaged native index can hang or kill the process that opens it. So a folder that was not
closed cleanly is opened by :func:`probe` in a child, which runs this file as ``python -m
memos_integrations.infrastructure.index_probe INDEX_FOLDER DATABASE``. It prints
``opened`` as soon as the index answers, then one JSON object:
``{"collections": {name: {"missing": [...], "stale": [...], "extra": [...], "lost": n}}}``,
with cube keys, and ``lost`` the number of vectors (of a sample) that do not find themselves. One
or two in hundreds are no damage: an HNSW graph is approximate, and may hardly reach a node.
"""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from memos_integrations.infrastructure.index_files import IndexDamaged
from memos_integrations.infrastructure.vectors import ChromaIndex, decode
from memos_integrations.protocols import VectorIndex, Vectors

SAMPLE = 1_000
OPENS_WITHIN = 8.0
"""Seconds in which the child must have opened the index."""
ENDS_WITHIN = 300.0


def probe(path: Path, database: Path, stopping: Callable[[], bool]) -> dict[str, Any]:
    """What differs, by collection; :class:`IndexDamaged` if the child dies or hangs."""
    command = [sys.executable, "-m", "memos_integrations.infrastructure.index_probe"]
    child = subprocess.Popen(
        [*command, str(path), str(database)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(child.stdout or ()), daemon=True)
    reader.start()
    started = time.monotonic()
    try:
        while reader.is_alive() and not stopping():
            reader.join(0.05)
            waited = time.monotonic() - started
            if waited > (ENDS_WITHIN if lines else OPENS_WITHIN):
                raise IndexDamaged(
                    "it does not answer" if not lines else "its check takes too long"
                )
        if stopping():
            return {}
        if child.wait(5) != 0 or len(lines) != 2:
            raise IndexDamaged(f"its check ended with exit status {child.returncode}")
        found: dict[str, Any] = json.loads(lines[1])["collections"]
        return found
    finally:
        child.kill()
        child.wait()
        if child.stdout:
            child.stdout.close()


def audit(index: VectorIndex, database: Path) -> str:
    """What differs between an open index and the records, in words; empty if nothing does."""
    records = _records(database)
    try:
        found = {name: compare(index, records, pk, name) for pk, name in _collections(records)}
    finally:
        records.close()
    wrong = [
        f"{name}: {part if isinstance(part, int) else len(part)} {kind}"
        for name, report in found.items()
        for kind, part in report.items()
        if part
    ]
    return "; ".join(wrong)


def _records(database: Path | str) -> sqlite3.Connection:
    records = sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)
    records.execute("BEGIN")
    return records


def _collections(records: sqlite3.Connection) -> list[tuple[int, str]]:
    return records.execute(
        "SELECT pk, collection FROM namespaces WHERE collection IS NOT NULL"
    ).fetchall()


def main(index_folder: str, database: str) -> None:
    """Print what differs."""
    records = _records(database)
    index = ChromaIndex(Path(index_folder))
    collections = _collections(records)
    for pk, name in collections:
        one = records.execute(
            "SELECT vector FROM embeddings WHERE namespace_pk = ? LIMIT 1", (pk,)
        ).fetchone()
        if one and index.count(name):
            index.query(name, decode([one[0]])[0], 1)
    print("opened", flush=True)
    report = {name: compare(index, records, pk, name) for pk, name in collections}
    print(json.dumps({"collections": report}), flush=True)


def compare(
    index: VectorIndex, records: sqlite3.Connection, namespace_pk: int, name: str
) -> dict[str, Any]:
    """What one collection lacks, holds wrongly, or holds too much; pending changes aside."""
    of_namespace = (namespace_pk,)
    pending = {
        pk
        for (pk,) in records.execute(
            "SELECT cube_pk FROM outbox WHERE namespace_pk = ?", of_namespace
        )
    }
    expected = {
        pk
        for (pk,) in records.execute(
            "SELECT cube_pk FROM embeddings WHERE namespace_pk = ?", of_namespace
        )
    }
    seen: set[int] = set()
    stale: list[int] = []
    extra: list[int] = []
    sound: list[tuple[int, bytes]] = []
    for keys, vectors in index.scan(name):
        for key, vector in zip(keys, vectors, strict=True):
            if key in seen:
                stale.append(key)
            seen.add(key)
            if key in pending:
                continue
            row = records.execute(
                "SELECT vector FROM embeddings WHERE cube_pk = ?", (key,)
            ).fetchone()
            if key not in expected or row is None:
                extra.append(key)
            elif not np.allclose(decode([row[0]])[0], vector, atol=1e-5):
                stale.append(key)
            else:
                sound.append((key, row[0]))
    sample = random.Random(0).sample(sound, min(SAMPLE, len(sound)))
    lost = sum(not _finds_itself(index, name, decode([blob])[0]) for _, blob in sample)
    if lost <= max(2, len(sample) // 200):
        lost = 0
    missing = sorted(expected - seen - pending)
    return {"missing": missing, "stale": sorted(stale), "extra": sorted(extra), "lost": lost}


def _finds_itself(index: VectorIndex, name: str, vector: Vectors) -> bool:
    found = index.query(name, vector, 10)
    return bool(found) and found[0][1] > 1 - 1e-4


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
