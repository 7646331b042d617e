"""A process whose caches lie elsewhere, too, and that dies while it erases one of its memories.

``python cache_worker.py STORE ELSEWHERE [CRASHPOINT]``: says what it has cached, waits for a line,
then forgets the first memory, and dies at the crash point if one is named.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from memos_integrations import MemOS
from memos_integrations.infrastructure import crashpoints
from memos_integrations.local_chat import LocalChat
from memos_integrations.memories.block import block
from memos_integrations.testing import WordEmbedder
from tests.activation.test_invalidation import MODEL

FACTS = [f"fact {i} of a memory that is long enough to be a piece of its own" for i in range(6)]


def arm(name: str) -> None:
    def hook(reached: str) -> None:
        if reached == name:
            os.kill(os.getpid(), signal.SIGKILL)

    crashpoints.hook = hook


def main() -> None:
    store, elsewhere, *point = sys.argv[1:]
    with MemOS.open(store, embedder=WordEmbedder()) as memory:
        ann = memory.session("ann")
        cubes = ann.add(FACTS)
        ann.record_uses(cubes, prompt="asked")
        chat = LocalChat(memory, MODEL, remote=elsewhere)
        prompt = chat.read(f"{block(cubes)}\nQuestion: what?\nAnswer:")
        chat.engine.precompute(prompt)
        chat.engine.tier.flush()  # type: ignore[union-attr]
        spans = [(s.start, s.end, s.source.cube_id, s.source.version) for s in prompt.spans]
        said = {"tokens": prompt.tokens, "spans": spans, "salt": prompt.salt}
        print(json.dumps(said), flush=True)
        sys.stdin.readline()
        if point:
            arm(point[0])
        if point == ["cache-piece-erased-elsewhere"]:
            chat.close()  # else whoever serves may be quicker than the erasure
        print("erasing", flush=True)
        ann.forget(spans[0][2])
        print("erased", flush=True)


if __name__ == "__main__":
    main()
