"""What the scheduler may spend, and how calm it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from memos_integrations.errors import InvalidInputError
from memos_integrations.operation.scheduling.tiers import Tier

DAY = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """Upper bounds; ``None`` is no bound. Bytes hold after each step, milliseconds per tick."""

    plaintext: int | None = None
    activation: int | None = 1 << 30
    parameter: int | None = 1 << 28
    build_ms: float | None = 2_000.0
    """For promotions and prefetches from one tick to the next."""
    training_ms: float | None = 900_000.0
    """For consolidations from one tick to the next."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not value >= 0:
                raise InvalidInputError(f"the budget {name} is 0 or more, or None, not {value}")

    def bytes_of(self, tier: Tier) -> float:
        """The bound of a tier in bytes; infinite without one."""
        bounds = {
            Tier.PLAINTEXT: self.plaintext,
            Tier.ACTIVATION: self.activation,
            Tier.PARAMETER: self.parameter,
        }
        return _bound(bounds.get(tier))

    def ms_of(self, tier: Tier) -> float:
        """What may be spent in a tick on building for ``tier``."""
        return _bound(self.training_ms if tier is Tier.PARAMETER else self.build_ms)


def _bound(value: float | None) -> float:
    return math.inf if value is None else value


@dataclass(frozen=True, kw_only=True)
class Rules:
    """When the scheduler acts. Times in seconds; values are powers of two (see ``policies``)."""

    half_life: float = DAY
    """In which the heat of a use halves."""
    margin: float = 0.25
    """A challenger is worth ``2 ** margin`` times what must go for it."""
    min_residence: float = 300.0
    """A memory that moved stays for so long, unless it is forced."""
    pressure_hold: float = 60.0
    """After pressure the tier is not filled again for so long."""
    min_uses: float = 1.0
    """Before a cache is built."""
    consolidate_uses: float = 64.0
    stable_for: float = 7 * DAY
    """Unchanged for so long, and used so often: weighed for training."""
    archive_after: float | None = 90 * DAY
    """Without use, and at least four of the memory's usual gaps. ``None``: never."""
    prefetch: int = 16
    """Memories that the topic or their companions call for, in one tick; 0: none."""
    topic_half_life: float = 600.0
    topic_cosine: float = 0.5
    """A memory as near as this to the topic may be prefetched."""
    companion_share: float = 0.5
    """A memory that stood in this share of another's prompts may be prefetched with it."""
    log: int = 1024
    """Decisions that are remembered."""

    def __post_init__(self) -> None:
        for name in ("half_life", "topic_half_life"):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidInputError(f"{name} is a positive number of seconds")
        for name, value in vars(self).items():
            if value is not None and not 0 <= value < math.inf:
                raise InvalidInputError(f"{name} is a finite number of 0 or more, not {value}")
