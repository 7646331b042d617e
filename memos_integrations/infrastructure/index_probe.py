"""Compare an index with the records, in a process of its own.

A damaged native index can hang or kill the process that opens it. So a folder that was not
closed cleanly is opened here first: ``python -m memos_integrations.infrastructure.index_probe
INDEX_FOLDER DATABASE`` prints ``opened`` as soon as the index answers, then one JSON object:
``{"collections": {name: {"missing": [...], "stale": [...], "extra": [...], "lost": n}}}``,
with cube keys, and ``lost`` the number of vectors (of a sample) that do not find themselves.
"""

from __future__ import annotations

import json
import random
import sqlite3
import sys
from pathlib import Path

import numpy as np

from memos_integrations.infrastructure.vectors import ChromaIndex, decode

SAMPLE = 1_000


def main(index_folder: str, database: str) -> None:
    """Print what differs."""
    records = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    records.execute("BEGIN")
    index = ChromaIndex(Path(index_folder))
    collections = records.execute(
        "SELECT pk, collection FROM namespaces WHERE collection IS NOT NULL"
    ).fetchall()
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
    index: ChromaIndex, records: sqlite3.Connection, namespace_pk: int, name: str
) -> dict[str, object]:
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
    missing = sorted(expected - seen - pending)
    return {"missing": missing, "stale": sorted(stale), "extra": sorted(extra), "lost": lost}


def _finds_itself(index: ChromaIndex, name: str, vector: np.ndarray) -> bool:
    found = index.query(name, vector, 1)
    return bool(found) and found[0][1] > 1 - 1e-4


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
