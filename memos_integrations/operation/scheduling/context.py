"""What values depend on beside a memory's own statistics. It changes with a tick, not between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from memos_integrations.operation.scheduling.statistics import Array, cooled, unit

FADED = 1 / 32
"""Weight below which there is no recent topic any more."""

SAME = 0.98
"""Cosine from which on a topic counts as the one before."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """The situation as of the last tick."""

    half_life: float
    topic: Array | None = None
    """Mean of the recent topics, at length 1."""
    companions: Mapping[str, float] = field(default_factory=dict)
    """Share in which a memory stands with one that was just shown."""
    drift: float = 0.0
    """0 while popularity stands still, 1 when only recent uses are a guide."""


@dataclass(slots=True)
class Topic:
    """A sum of topic vectors in which the older ones fade."""

    total: Array | None = None
    weight: float = 0.0
    at: float = 0.0

    def hear(self, vector: tuple[float, ...], at: float, half_life: float) -> None:
        """Add one; a vector without direction says nothing."""
        heard = unit(vector)
        if heard is None:
            return
        fade = cooled(1.0, at - self.at, half_life)
        before = np.zeros_like(heard) if self.total is None else self.total * fade
        self.total, self.weight, self.at = before + heard, self.weight * fade + 1.0, at

    def mean(self, at: float, half_life: float) -> Array | None:
        """Its direction; ``None`` when nothing was heard lately."""
        if self.total is None or cooled(self.weight, at - self.at, half_life) < FADED:
            return None
        return unit(self.total)
