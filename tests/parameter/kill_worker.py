"""Distils the memories of a store, and is killed in the third step."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

from memos_integrations import MemOS
from memos_integrations.testing import WordEmbedder

sys.path.insert(0, str(Path(__file__).parent))
from words import HOW, build


def kill(step: int, steps: int, loss: float) -> None:
    if step == 3:
        os.kill(os.getpid(), signal.SIGKILL)


torch.set_num_threads(1)
maya = MemOS.open(sys.argv[1], embedder=WordEmbedder()).session("maya")
maya.distill(maya.list(), model=build(), how=HOW, checkpoint=sys.argv[2], progress=kill)
