"""A low-rank adapter: W x becomes W x + (alpha / rank) B A x (LoRA, arXiv:2106.09685)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from memos_integrations.errors import InvalidInputError

Tensors = dict[str, torch.Tensor]
_A, _B = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True, kw_only=True)
class LoraShape:
    """Which layers are adapted, and by how much."""

    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = ()
    """Ends of the names of linear layers, such as ``q_proj``; empty: all but the head."""
    skip: float = 1 / 3
    """The share of the layers, from the first on, that stay as they are: no gradient goes there."""
    quiet: float = 0.05
    """Damp the directions in which unrelated texts have more than this share of the mean energy;
    0: damp none. The less, the less other texts are moved, and the slower it learns."""

    def __post_init__(self) -> None:
        if isinstance(self.rank, bool) or self.rank < 1:
            raise InvalidInputError(f"rank is {self.rank!r}: give a number from 1 on")
        if not self.alpha > 0:
            raise InvalidInputError(f"alpha is {self.alpha!r}: give more than 0")
        if not 0 <= self.quiet < math.inf:
            raise InvalidInputError(f"quiet is {self.quiet!r}: give 0 or more")
        if not 0 <= self.skip < 1:
            raise InvalidInputError(f"skip is {self.skip!r}: give a share from 0 to below 1")


def fresh(model: Any, shape: LoraShape, seed: int) -> Tensors:
    """New weights in float32: A random, B zero, so that the model is at first what it was.

    Named as peft names them: ``<layer>.lora_A.weight`` is ``(rank, in)``, B ``(out, rank)``.
    """
    dice = torch.Generator().manual_seed(seed)
    found: Tensors = {}
    for name in chosen(_linear_layers(model), shape):
        layer = model.get_submodule(name)
        bound = math.sqrt(3.0 / layer.in_features)
        a = torch.rand(shape.rank, layer.in_features, generator=dice) * 2 * bound - bound
        found[name + _A] = a
        found[name + _B] = torch.zeros(layer.out_features, shape.rank)
    return found


def bytes_of(model: Any, shape: LoraShape) -> int:
    """What such an adapter takes: float32, both matrices of each layer."""
    layers = [model.get_submodule(one) for one in chosen(_linear_layers(model), shape)]
    return sum(4 * shape.rank * (one.in_features + one.out_features) for one in layers)


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


def layers_of(tensors: Iterable[str]) -> list[str]:
    """The layers that weights belong to, by their names."""
    return sorted({name.removesuffix(_A).removesuffix(_B) for name in tensors})


def _depth(name: str) -> int:
    """The number of the block that a layer stands in."""
    return next((int(part) for part in name.split(".") if part.isdigit()), 0)


def _linear_layers(model: Any) -> list[str]:
    """The linear layers inside the blocks of a model: not its head."""
    head = model.get_output_embeddings()
    return [
        name
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and layer is not head
    ]
