"""Where a training stands: weights, the optimizer's moments, the losses so far, in one file.

What comes next depends on the seed and the step alone, so no random state is kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from memos_integrations.memories.parameter import files

Tensors = dict[str, torch.Tensor]


@dataclass
class Progress:
    """A training between two steps."""

    weights: Mapping[str, torch.Tensor]
    optimizer: torch.optim.Optimizer
    step: int = 0
    losses: list[float] = field(default_factory=list)
    """Of each step."""
    drifts: list[float] = field(default_factory=list)


def task_of(parts: Mapping[str, Any]) -> str:
    """A hash of all that a training depends on: a checkpoint of another is not gone on with."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def save(path: Path, task: str, progress: Progress) -> None:
    """Write the checkpoint in place of the one before."""
    tensors = dict(progress.weights)
    for name, weight in progress.weights.items():
        for kind, value in progress.optimizer.state.get(weight, {}).items():
            tensors[f"{kind}:{name}"] = value
    about = {
        "format": "memos-training-1",
        "task": task,
        "step": progress.step,
        "losses": progress.losses,
        "drifts": progress.drifts,
    }
    files.write(path, files.packed(tensors, about))


def resume(path: Path, task: str, progress: Progress) -> bool:
    """Go on where the checkpoint stands; whether there is one of this task.

    Raises :class:`AdapterCorruptError` if the file is damaged.
    """
    if not path.is_file():
        return False
    tensors, about = files.unpacked(path.read_bytes(), f"the checkpoint {path}")
    if about.get("task") != task:
        return False
    with torch.no_grad():
        for name, weight in progress.weights.items():
            weight.copy_(tensors[name])
            kept = {
                kind: tensors.get(f"{kind}:{name}") for kind in ("step", "exp_avg", "exp_avg_sq")
            }
            progress.optimizer.state[weight] = {
                kind: value if kind == "step" else value.to(weight.device)
                for kind, value in kept.items()
                if value is not None
            }
    progress.step = int(about["step"])
    progress.losses, progress.drifts = list(about["losses"]), list(about["drifts"])
    return True
