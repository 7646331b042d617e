"""Whether popularity stands still: what foretold the last uses better, all uses or the recent ones.

Each use is foretold twice, by the memory's share of all uses and by its share of the heat. The sum
of the log ratios, older ones fading, says which model of the past fits (prequential evidence, as in
dynamic model averaging, Raftery et al. 2010). While popularity stands still, counting all uses is
the best that can be done; after it has moved, old counts mislead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from memos_integrations.operation.scheduling.statistics import NEWBORN, Memory, cooled

FADE = 0.998
"""Weight of what was known before, at each use: about the last 500 count."""

UNKNOWN = 0.1
"""Share of the uses that any memory may get: one surprise proves little."""

SURE = 20.0
"""Bits of evidence that make recent uses the better guide; from half of it on they begin to be."""

STEPS = 8
"""The weight moves in eighths, so that small changes change nothing."""


@dataclass(slots=True)
class Drift:
    """Running sums over all memories."""

    uses: float = 0.0
    heat: float = 0.0
    heat_at: float = 0.0
    lead: float = 0.0
    """Bits by which the heat foretold better."""

    def weight(self) -> float:
        """Of recent uses against all of them, from 0 to 1."""
        sure = (self.lead - SURE / 2) / (SURE / 2)
        return round(min(1.0, max(0.0, sure)) * STEPS) / STEPS

    def foretold(self, memory: Memory, at: float, half_life: float, known: int) -> None:
        """Compare the two forecasts of a use of ``memory``, one of ``known``; before it counts."""
        self._cool(at, half_life)
        by_uses = _share(memory.uses + NEWBORN, self.uses, known)
        by_heat = _share(memory.heat_at(at, half_life), self.heat, known)
        self.lead = FADE * self.lead + math.log2(by_heat / by_uses)

    def count(self, uses: float, heat: float, at: float, half_life: float) -> None:
        """Add to the sums; what is gone is counted with negative numbers."""
        self._cool(at, half_life)
        self.uses = max(0.0, self.uses + uses)
        self.heat = max(0.0, self.heat + heat)

    def _cool(self, at: float, half_life: float) -> None:
        self.heat = cooled(self.heat, at - self.heat_at, half_life)
        self.heat_at = at


def _share(part: float, whole: float, known: int) -> float:
    share = min(1.0, part / whole) if whole > 1e-100 else 1 / known
    return (1 - UNKNOWN) * share + UNKNOWN / known
