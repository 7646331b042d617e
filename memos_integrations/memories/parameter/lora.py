"""A low-rank adapter: W x becomes W x + (alpha / rank) B A x (LoRA, arXiv:2106.09685)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from memos_integrations.errors import InvalidInputError
from memos_integrations.memories.parameter.active import Weighted, linear_layers

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class LoraShape:
    """Which layers are adapted, and by how much."""

    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = ()
    """Ends of the names of linear layers, such as ``q_proj``; empty: all but the head."""
    skip: float = 1 / 3
    """The share of the layers, from the first on, that stay as they are: no gradient goes there."""

    def __post_init__(self) -> None:
        if isinstance(self.rank, bool) or self.rank < 1:
            raise InvalidInputError(f"rank is {self.rank!r}: give a number from 1 on")
        if not self.alpha > 0:
            raise InvalidInputError(f"alpha is {self.alpha!r}: give more than 0")

    @property
    def scale(self) -> float:
        """What B A x is multiplied by."""
        return self.alpha / self.rank


def fresh(model: Any, shape: LoraShape, seed: int) -> Tensors:
    """New weights in float32: A random, B zero, so that the model is at first what it was."""
    dice = torch.Generator().manual_seed(seed)
    found: Tensors = {}
    for name in chosen(linear_layers(model), shape):
        layer = model.get_submodule(name)
        bound = math.sqrt(3.0 / layer.in_features)
        a = torch.rand(shape.rank, layer.in_features, generator=dice) * 2 * bound - bound
        found[f"{name}.lora_A"] = a.to(layer.weight.device)
        found[f"{name}.lora_B"] = torch.zeros(
            layer.out_features, shape.rank, device=layer.weight.device
        )
    return found


def chosen(names: Iterable[str], shape: LoraShape) -> list[str]:
    """The layers that are adapted; :class:`InvalidInputError` if there are none."""
    fits = [one for one in names if not shape.targets or one.split(".")[-1] in shape.targets]
    depths = {one: _depth(one) for one in fits}
    first = shape.skip * (max(depths.values(), default=0) + 1)
    found = [one for one in fits if depths[one] >= first]
    if not found:
        raise InvalidInputError(
            f"the model has no linear layer called {' or '.join(shape.targets) or 'anything'}: "
            "name others in targets, or use kind='prefix'"
        )
    return found


def _depth(name: str) -> int:
    """The number of the block that a layer stands in."""
    return next((int(part) for part in name.split(".") if part.isdigit()), 0)


def weighted(tensors: Mapping[str, torch.Tensor], scale: float, like: Any = None) -> Weighted:
    """The adapter as forwards read it, in the data type and on the device of a model."""
    moved = {
        name: one if like is None else one.to(device=like.device, dtype=like.dtype)
        for name, one in tensors.items()
    }
    names = [name.removesuffix(".lora_A") for name in moved if name.endswith(".lora_A")]
    pairs = {name: (moved[f"{name}.lora_A"], moved[f"{name}.lora_B"]) for name in names}
    return Weighted(pairs, scale)
