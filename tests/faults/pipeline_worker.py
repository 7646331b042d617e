"""A process that runs pipelines, and may be killed at any moment.

``python pipeline_worker.py FOLDER SEED [CRASHPOINT NTH]``. One JSON line per run on standard
output, after it returned: ``{"done": id of the digest}``.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

from worker import POLICY, arm, say, words

from memos_integrations import MemOS
from memos_integrations.interface.pipeline import Pipeline
from memos_integrations.testing import WordEmbedder


def pipeline_of(draw: random.Random) -> Pipeline:
    """Notes, of which a digest is made; a log that says so; the notes are deleted."""
    notes = [words(draw, 4) for _ in range(4)]

    def shout(notes: Any) -> str:
        return " ".join(cube.text for cube in notes).upper()

    return (
        Pipeline("digest")
        .add(notes, name="notes", tags=["note"])
        .augment(shout, name="words", notes="$notes")
        .merge("$notes", text="$words", name="digest")
        .append("$digest", "the end", name="signed")
        .delete("$notes")
    )


def main() -> None:
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    with MemOS.open(folder, embedder=WordEmbedder(), index_policy=POLICY) as memory:
        session, draw = memory.session("writer"), random.Random(seed)
        say(opened=True)
        if len(sys.argv) > 3:
            arm(sys.argv[3], int(sys.argv[4]))
        for _ in range(10_000 if len(sys.argv) == 3 else 20):
            say(done=session.run(pipeline_of(draw))["signed"].id)


if __name__ == "__main__":
    main()
