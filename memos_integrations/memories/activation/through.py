"""Adapters that an engine's model is read through, for one request."""

from __future__ import annotations

from dataclasses import dataclass

from memos_integrations.memories.activation.segments import Source
from memos_integrations.memories.activation.tensors import Piece
from memos_integrations.models.causal import CausalModel


@dataclass(frozen=True)
class Through:
    """Adapters that a request reads its model through."""

    model: CausalModel
    key: str
    """Which adapters, and how much of each."""
    sources: frozenset[Source]
    """The adapters, and what they were made of."""
    prefix: Piece | None = None
    """Trained keys and values in front of the prompt."""

    @property
    def before(self) -> int:
        """Positions in front of the prompt."""
        return self.prefix.tokens if self.prefix is not None else 0
