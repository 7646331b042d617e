"""A process that writes, says what it was told is safe, and may be killed at any moment.

``python worker.py FOLDER SEED [CRASHPOINT NTH]``. One JSON line per step on standard output:
``{"try": verb, ...}`` before a verb, ``{"done": ...}`` after it returned.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path

from memos_integrations import IndexPolicy, MemOS
from memos_integrations.infrastructure import crashpoints
from memos_integrations.testing import WordEmbedder

POLICY = IndexPolicy(exact_below=20, check_every=0.2, batch=16)


def say(**step: object) -> None:
    sys.stdout.write(json.dumps(step) + "\n")
    sys.stdout.flush()


def arm(name: str, nth: int) -> None:
    """Die at the ``nth`` time that ``name`` is reached."""
    left = [nth]

    def hook(reached: str) -> None:
        if reached == name:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    crashpoints.hook = hook


def words(draw: random.Random, count: int = 8) -> str:
    return " ".join(f"w{draw.randrange(10_000)}" for _ in range(count))


def work(memory: MemOS, draw: random.Random, steps: int) -> None:
    session = memory.session("writer")
    known = [cube.id for cube in session.list(limit=10_000)]
    for _ in range(steps):
        kind = draw.choices(
            ["add", "batch", "update", "delete", "forget", "search", "blob"],
            [8, 4, 4, 2, 1, 4, 1],
        )[0]
        if kind in ("update", "delete", "forget") and len(known) < 10:
            kind = "add"
        if kind in ("add", "batch"):
            texts = [words(draw) for _ in range(1 if kind == "add" else draw.randrange(2, 12))]
            say(**{"try": "add", "texts": texts})
            added = session.add(texts)
            known += [cube.id for cube in added]
            say(done="add", cubes={cube.id: cube.text for cube in added})
        elif kind == "update":
            cube_id, text = draw.choice(known), words(draw)
            say(**{"try": "update", "id": cube_id, "text": text})
            session.update(cube_id, text)
            say(done="update", id=cube_id, text=text)
        elif kind == "delete":
            cube_id = known.pop(draw.randrange(len(known)))
            say(**{"try": "delete", "id": cube_id})
            session.delete(cube_id)
            say(done="delete", id=cube_id)
        elif kind == "forget":
            cube_id = known.pop(draw.randrange(len(known)))
            texts = [cube.text for cube in session.history(cube_id)]
            say(**{"try": "forget", "id": cube_id, "texts": texts})
            session.forget(cube_id)
            say(done="forget", id=cube_id, texts=texts)
        elif kind == "search":
            session.search(words(draw), limit=3)
        else:
            memory.vault.blobs.put(draw.randbytes(5_000))


def main() -> None:
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    if len(sys.argv) > 3:
        arm(sys.argv[3], int(sys.argv[4]))
    draw = random.Random(seed)
    with MemOS.open(folder, embedder=WordEmbedder(), index_policy=POLICY) as memory:
        say(done="open")
        work(memory, draw, steps=10_000 if len(sys.argv) == 3 else 60)
        memory.vault.wait_for_index(30)
        memory.vault.rebuild_index(30)


if __name__ == "__main__":
    main()
