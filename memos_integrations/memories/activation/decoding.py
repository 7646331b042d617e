"""How a request goes on once its prompt is read: one token a forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from memos_integrations.memories.activation.prefix_tree import Lease
from memos_integrations.memories.activation.tensors import Piece
from memos_integrations.memories.activation.usage import Usage

if TYPE_CHECKING:
    from memos_integrations.memories.activation.engine import ActivationEngine


@dataclass
class Prefilled:
    """A prompt that the model has read; release it."""

    cache: Any
    """Of transformers, or the model's own."""
    logits: torch.Tensor
    """Of the next token, ``(vocabulary,)``."""
    lease: Lease[Piece]
    usage: Usage


class Decoding:
    """One request's forwards behind its prompt; close it."""

    def __init__(self, engine: ActivationEngine, read: Prefilled) -> None:
        self._engine, self._read = engine, read

    def next(self, so_far: Sequence[int]) -> torch.Tensor:
        """The logits ``(vocabulary,)`` behind all tokens so far, of which the last one is new."""
        return self._engine._forward(self._read.cache, so_far[-1:], len(so_far) - 1)

    def close(self) -> None:
        """Free what is held."""
        self._engine.tree.release(self._read.lease)
