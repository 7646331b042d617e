"""A process that trains an adapter anew, or erases, and is killed on the way.

``python adapter_worker.py FOLDER VERB ID POINT``: ``retrain`` or ``forget`` of a memory. POINT may
be several, ``first>second``: it dies at the last one, when those before were reached in this order.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from memos_integrations import MemOS
from memos_integrations.infrastructure import crashpoints
from memos_integrations.testing import WordEmbedder

sys.path.insert(0, str(Path(__file__).parents[1] / "parameter"))


def arm_behind(points: str) -> None:
    """Die at the last of these points, when the others were reached before."""
    left = points.split(">")

    def hook(reached: str) -> None:
        if left and reached == left[0]:
            left.pop(0)
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    crashpoints.hook = hook


def main() -> None:
    folder, verb, wanted, point = sys.argv[1:]
    with MemOS.open(folder, embedder=WordEmbedder()) as memory:
        maya = memory.session("maya")
        if verb == "forget":
            arm_behind(point)
            maya.forget(wanted)
            return
        import torch
        from words import HOW, build

        torch.set_num_threads(1)
        model = build()
        arm_behind(point)
        maya.retrain(wanted, model=model, how=HOW)


if __name__ == "__main__":
    main()
