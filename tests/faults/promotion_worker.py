"""A process whose scheduler makes weights of memories, and that is killed at a named point.

``python promotion_worker.py FOLDER POINT``; ``in-training`` is in the second step of it, and
``first>second`` is the second point behind the first.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import torch
from adapter_worker import arm_behind

from memos_integrations import MemCube, MemOS
from memos_integrations.memories.parameter.new_adapter import NewAdapter
from memos_integrations.memories.parameter.trainer import ParameterTrainer
from memos_integrations.memories.parameter.worth import WorthPolicy
from memos_integrations.operation.scheduling.rules import Rules
from memos_integrations.testing import FakeClock, WordEmbedder

sys.path.insert(0, str(Path(__file__).parents[1] / "parameter"))
from words import HOW, build

RULES = Rules(
    consolidate_uses=2, stable_for=86_400.0, archive_after=None, prefetch=0, min_residence=0.0
)
POLICY = WorthPolicy(stable=timedelta(days=1), horizon=timedelta(days=3_650), hysteresis=1)
LATER = timedelta(days=2)


class Mortal(ParameterTrainer):
    """Dies in the second step."""

    def learn(
        self, cubes: Sequence[MemCube], goes_on: Callable[[], bool], checkpoint: Path | None = None
    ) -> NewAdapter:
        left = [2]

        def dies() -> bool:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return goes_on()

        return super().learn(cubes, dies, checkpoint)


def opened(folder: Path) -> MemOS:
    clock = FakeClock()
    clock.advance(days=LATER.days)
    return MemOS.open(folder, embedder=WordEmbedder(), clock=clock)


def main() -> None:
    folder, point = Path(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    kind = Mortal if point == "in-training" else ParameterTrainer
    trainer = kind(build(), how=HOW, policy=POLICY)
    with opened(folder) as memory:
        scheduler = memory.scheduler(trainer=trainer, rules=RULES)
        if point != "in-training":
            arm_behind(point)
        scheduler.tick()


if __name__ == "__main__":
    main()
