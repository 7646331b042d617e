"""Which memories are worth a KV cache: what is saved against what it costs. No torch here.

A cache is built when ``expected uses x saved seconds > build seconds + keeping``. Saved is the
prefill that a use no longer takes, less the time to load the cache. Uses are expected at the rate
of the last while: a count that halves every ``half_life``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from memos_integrations.errors import InvalidInputError


@dataclass(frozen=True)
class Rates:
    """What this machine does with this model; measured, or a guess until it was."""

    prefill_tokens_per_second: float = 500.0
    load_bytes_per_second: float = 2e9
    bytes_per_token: float = 40_000.0
    measured: bool = False
    """Whether prefill and bytes a token are."""
    load_measured: bool = False
    """Whether loading is: from the folder, as requests waited for it."""


@dataclass(frozen=True)
class Decision:
    """Whether a memory is cached, and why."""

    admit: bool
    expected_uses: float
    """Until the horizon."""
    break_even_uses: float
    saved_seconds: float
    """A use."""
    build_seconds: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class AdmissionPolicy:
    """When a memory is precomputed."""

    half_life: float = 3_600.0
    """Seconds in which a use loses half of its weight."""
    horizon: float = 3_600.0
    """Seconds that a cache has to pay off in."""
    byte_seconds_cost: float = 1e-14
    """Seconds that keeping a byte for a second is worth; memory is not free."""
    hysteresis: float = 1.5
    """A new cache must pay this much more than an old one: no building and dropping in turn."""

    def __post_init__(self) -> None:
        if not (self.half_life > 0 and self.horizon > 0 and self.hysteresis >= 1):
            raise InvalidInputError(
                "half_life and horizon are positive seconds, hysteresis is 1 or more"
            )
        if not self.byte_seconds_cost >= 0:
            raise InvalidInputError("byte_seconds_cost is 0 or more")

    def cooled(self, heat: float, seconds: float) -> float:
        """A count of uses after so much time."""
        return float(heat * 0.5 ** (max(0.0, seconds) / self.half_life))

    def heat_of(self, count: float, half_life: float) -> float:
        """A count that halves every ``half_life`` seconds, as this policy counts: for uses that
        come as steadily, the same number of them is expected."""
        return count * self.half_life / half_life

    def expected(self, heat: float) -> float:
        """Uses until the horizon, if they go on as they did."""
        return heat * math.log(2) / self.half_life * self.horizon

    def decide(self, tokens: int, heat: float, rates: Rates, *, cached: bool = False) -> Decision:
        """Whether ``tokens`` that are used at the rate of ``heat`` should be kept as a cache."""
        size = tokens * rates.bytes_per_token
        build = tokens / rates.prefill_tokens_per_second
        saved = build - size / rates.load_bytes_per_second
        keeping = size * self.horizon * self.byte_seconds_cost
        expected = self.expected(heat)
        if saved <= 0:
            return Decision(
                False,
                expected,
                math.inf,
                saved,
                build,
                "loading the cache would take longer than computing it",
            )
        # What is cached already has its building behind it.
        cost = keeping if cached else (build + keeping) * self.hysteresis
        even = cost / saved
        admit = expected > even
        relation = "more" if admit else "not more"
        reason = (
            f"{expected:.1f} uses are expected within {self.horizon / 3_600:g} h, {relation} than "
            f"the {even:.1f} that pay for it: {saved * 1e3:.0f} ms saved a use, "
            + ("built already" if cached else f"{build * 1e3:.0f} ms to build")
        )
        return Decision(admit, expected, even, saved, build, reason)
