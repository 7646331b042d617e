"""A process that merges, archives and ticks the scheduler, and may be killed at any moment.

``python life_worker.py FOLDER SEED [CRASHPOINT NTH]``. One JSON line per merge on standard
output: ``{"try": [sources]}`` before it, ``{"done": id, "of": [sources]}`` after it returned.
"""

from __future__ import annotations

import json
import random
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from worker import POLICY, arm, words

from memos_integrations import MemOS
from memos_integrations.cube import State
from memos_integrations.operation.scheduling.rules import Budgets, Rules
from memos_integrations.testing import WordEmbedder

RULES = Rules(archive_after=0.05, min_residence=0.0)
BUDGETS = Budgets(plaintext=30_000)
LIVING = {"state": {"$in": [State.GENERATED.value, State.ACTIVATED.value]}}


def say(**step: object) -> None:
    sys.stdout.write(json.dumps(step) + "\n")
    sys.stdout.flush()


def work(memory: MemOS, draw: random.Random, steps: int) -> None:
    session = memory.session("writer")
    scheduler = memory.scheduler(rules=RULES, budgets=BUDGETS)
    for _ in range(steps):
        living = session.list(limit=10_000, filters=LIVING)
        kind = draw.choices(["add", "merge", "use", "tick", "update"], [4, 4, 2, 4, 1])[0]
        if len(living) < 4:
            kind = "add"
        if kind == "add":
            ends = datetime.now(UTC) + timedelta(seconds=draw.uniform(0.02, 0.3))
            session.add(
                [words(draw) for _ in range(draw.randrange(1, 8))],
                expires_at=draw.choice([None, ends]),
            )
        elif kind == "merge":
            sources = [cube.id for cube in draw.sample(living, draw.randrange(2, 4))]
            say(**{"try": sources})
            made = session.merge(sources)
            say(done=made.id, of=sources)
        elif kind == "use":
            session.record_uses(draw.sample(living, 3), prompt=words(draw, 2))
            session.search(words(draw), limit=3)
        elif kind == "update":
            session.update(draw.choice(living).id, words(draw))
        else:
            time.sleep(0.06)
            scheduler.tick()


def main() -> None:
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    if len(sys.argv) > 3:
        arm(sys.argv[3], int(sys.argv[4]))
    with MemOS.open(folder, embedder=WordEmbedder(), index_policy=POLICY) as memory:
        say(opened=True)
        work(memory, random.Random(seed), steps=10_000 if len(sys.argv) == 3 else 60)


if __name__ == "__main__":
    main()
