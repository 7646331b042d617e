"""A process that reads turns with a scripted model, and may be killed at any moment.

``python extract_worker.py FOLDER SEED CRASHPOINT NTH``. One JSON line per reading on standard
output, after it returned: ``{"turns": ids, "facts": ids}``.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from worker import POLICY, arm, say, words

from memos_integrations import MemOS
from memos_integrations.testing import WordEmbedder


def echo(prompt: str) -> str:
    """A statement for each turn."""
    turns = [json.loads(line) for line in prompt.splitlines() if line.startswith('{"turn"')]
    said = [
        {"text": f"It was said: {one['text']}", "turn": one["turn"], "quote": one["text"]}
        for one in turns
    ]
    return json.dumps({"memories": said})


def main() -> None:
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    with MemOS.open(folder, embedder=WordEmbedder(), index_policy=POLICY) as memory:
        session, draw = memory.session("writer"), random.Random(seed)
        say(opened=True)
        arm(sys.argv[3], int(sys.argv[4]))
        for _ in range(20):
            turns = [words(draw, 4) for _ in range(4)]
            report = session.extract(turns, model=echo, together=2)
            say(turns=[one.id for one in report.turns], facts=[one.id for one in report.facts])


if __name__ == "__main__":
    main()
