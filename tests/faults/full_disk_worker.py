"""A process under a file size limit: ``python full_disk_worker.py FOLDER LIMIT_BYTES``.

Adds until the disk is "full", reads everything while it is, adds again once there is room, and
prints what it saw as one JSON object.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from memos_integrations import IndexPolicy, MemOS
from memos_integrations.errors import StoreFullError
from memos_integrations.testing import WordEmbedder


def limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def main() -> None:
    folder, room = Path(sys.argv[1]), int(sys.argv[2])
    policy = IndexPolicy(exact_below=50, check_every=0.1)
    with MemOS.open(folder, embedder=WordEmbedder(), index_policy=policy) as memory:
        session = memory.session("alice")
        kept = {cube.id: cube.text for cube in session.add([f"before {i}" for i in range(60)])}
        limit(room)
        error = ""
        for number in range(100_000):
            text = f"number{number} " + "filler " * 40
            try:
                kept.update((cube.id, cube.text) for cube in session.add([text, text + "again"]))
            except StoreFullError as full:
                error = type(full).__name__
                break
        while_full = {cube.id: cube.text for cube in session.list(limit=10_000)}
        newest = list(kept.values())[-1]
        found_while_full = session.search(newest, limit=2)
        limit(resource.RLIM_INFINITY)
        kept.update((cube.id, cube.text) for cube in session.add(["after the disk was cleared"]))
        last = session.search("after the disk was cleared", limit=1)[0].cube.text
    print(
        json.dumps(
            {
                "error": error,
                "acknowledged": kept,
                "while_full": while_full,
                "newest": newest,
                "found": [hit.cube.text for hit in found_while_full],
                "last": last,
            }
        )
    )


if __name__ == "__main__":
    main()
