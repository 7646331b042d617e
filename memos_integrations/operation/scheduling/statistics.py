"""What is known of one memory: how it is used, what it takes, where it is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import numpy.typing as npt

from memos_integrations.operation.scheduling.tiers import Form, Tier

Array = npt.NDArray[np.float64]

NEWBORN = 0.25
"""Uses that a memory is credited with before its first: a new one is warmer than a cold one."""

RECALL = 0.25
"""Uses that a recall counts as: it was found, which is less than being shown."""

COMPANIONS = 16
"""Companions that a memory remembers, and memories of one prompt that are counted as such."""

GAP = 0.2
"""Weight of the latest gap in the estimate of the usual one."""


@dataclass(slots=True, kw_only=True)
class Memory:
    """Statistics of one memory; the scheduler alone changes them."""

    cube_id: str
    forms: dict[Tier, Form]
    labels: tuple[str, ...]
    vector: Array | None
    """Of length 1."""
    expires_at: float | None
    changed_at: float
    tier: Tier = Tier.PLAINTEXT
    moved_at: float | None = None
    """``None``: it has not moved since it was added."""
    shown: int = 0
    recalled: int = 0
    heat: float = NEWBORN
    """As of :attr:`last_use`."""
    last_use: float
    """Or when it was added."""
    shown_at: float | None = None
    gap: float | None = None
    """Estimated seconds between two prompts with it."""
    companions: dict[str, int] = field(default_factory=dict)
    """Prompts that it shared, by the other memory; aged when there are too many."""
    waits: str = ""
    """Why the last promotion was put off."""

    @property
    def uses(self) -> float:
        """Times shown, and a part of the times recalled."""
        return self.shown + RECALL * self.recalled

    def log_heat(self, at: float, half_life: float) -> float:
        """Heat at a time, as a power of two: from each use 1, halved every ``half_life``."""
        return math.log2(self.heat) - (at - self.last_use) / half_life

    def heat_at(self, at: float, half_life: float) -> float:
        """Heat at a time."""
        return cooled(self.heat, at - self.last_use, half_life)

    def use(self, at: float, half_life: float, *, shown: bool) -> None:
        """Count one use."""
        self.heat = self.heat_at(at, half_life) + (1.0 if shown else RECALL)
        self.last_use = at
        if not shown:
            self.recalled += 1
            return
        if self.shown_at is not None:
            latest = at - self.shown_at
            self.gap = latest if self.gap is None else self.gap + GAP * (latest - self.gap)
        self.shown_at = at
        self.shown += 1

    def stand_with(self, others: Iterable[str]) -> None:
        """Count a prompt that was shared; rare companions are forgotten first."""
        for other in islice(others, COMPANIONS):
            if other != self.cube_id:
                self.companions[other] = self.companions.get(other, 0) + 1
        if len(self.companions) > COMPANIONS:
            halved = sorted((-(n // 2), other) for other, n in self.companions.items() if n > 1)
            self.companions = {other: -n for n, other in halved[:COMPANIONS]}

    def share_of(self, other: str) -> float:
        """In which share of its prompts ``other`` stood, too; too low after ageing."""
        return min(1.0, self.companions.get(other, 0) / max(1, self.shown))


def cooled(heat: float, seconds: float, half_life: float) -> float:
    """What is left of heat after a time."""
    return float(heat * 0.5 ** (seconds / half_life))


def unit(vector: Iterable[float] | None) -> Array | None:
    """The vector at length 1; ``None`` for one without direction."""
    if vector is None:
        return None
    made = np.asarray(tuple(vector), dtype=np.float64)
    length = float(np.linalg.norm(made))
    return made / length if 0 < length < math.inf else None


def cosine(one: Array, other: Array) -> float:
    """Of two unit vectors; rounded, so that the last bits of a sum decide nothing."""
    return round(float(one @ other), 6)
