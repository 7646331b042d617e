"""Which weights a forward reads besides the model's own: said for each forward, not for the model.

A hook on each linear layer looks at a context variable and adds what the active adapters say. So
the model is never changed or rebuilt, two threads have two sets of adapters at the same moment,
training and serving go on side by side, and a forward without adapters computes the usual bits.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import linear

Pairs = Mapping[str, tuple[torch.Tensor, torch.Tensor]]
"""By the name of a linear layer: A ``(rank, in)`` and B ``(out, rank)``."""


@dataclass(frozen=True, eq=False)
class Weighted:
    """An adapter, and how much of it is added."""

    pairs: Pairs
    scale: float


_ACTIVE: ContextVar[tuple[Weighted, ...]] = ContextVar("memos_active_adapters", default=())
_hooked: weakref.WeakKeyDictionary[Any, list[Any]] = weakref.WeakKeyDictionary()


@contextmanager
def active(adapters: Sequence[Weighted]) -> Iterator[None]:
    """In this thread or task, forwards read these adapters, and no others."""
    token = _ACTIVE.set(tuple(adapters))
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def attach(model: Any) -> None:
    """Let a model's linear layers look for active adapters; a second call does nothing."""
    if model not in _hooked:
        layers = linear_layers(model)
        _hooked[model] = [
            layer.register_forward_hook(_hook(name)) for name, layer in layers.items()
        ]


def detach(model: Any) -> None:
    """Take the hooks off again."""
    for handle in _hooked.pop(model, []):
        handle.remove()


def linear_layers(model: Any) -> dict[str, Any]:
    """The linear layers inside the blocks of a model, by name: not its head."""
    head = model.get_output_embeddings()
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and layer is not head
    }


def _hook(name: str) -> Any:
    def add(layer: Any, given: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor | None:
        adapters = _ACTIVE.get()
        if not adapters:
            return None
        for one in adapters:
            pair = one.pairs.get(name)
            if pair is not None:
                output = output + one.scale * linear(linear(given[0], pair[0]), pair[1])
        return output

    return add
