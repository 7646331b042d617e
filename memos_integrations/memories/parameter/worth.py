"""Whether a set of memories is worth an adapter: what is saved against what training costs.

No torch here. A use of a memory saves the prefill of its line. Training reads its texts forwards
and backwards, about three times the work of a prefill a token. So whether it pays does not depend
on the machine; the milliseconds do.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from memos_integrations.cube import MemCube
from memos_integrations.errors import InvalidInputError
from memos_integrations.memories.activation.admission import Rates
from memos_integrations.memories.block import line
from memos_integrations.memories.parameter.texts import lessons

CHARACTERS_A_TOKEN = 4.0
"""Of English, roughly; for estimates alone."""
OVERHEAD_TOKENS = 12.0
"""Of the chat around a question."""
BACKWARD = 3.0
"""What training a token costs, in tokens that are read."""
OTHERS = 0.6
"""Tokens of unrelated texts for each token of a lesson."""


@dataclass(frozen=True, kw_only=True)
class WorthPolicy:
    """When a set of memories is distilled."""

    stable: timedelta = timedelta(days=7)
    """No memory of it has changed for so long."""
    horizon: timedelta = timedelta(days=30)
    """In which the training has to pay off."""
    hysteresis: float = 1.5
    """It must pay so much more than it costs: no training and dropping in turn."""

    def __post_init__(self) -> None:
        if self.stable < timedelta(0) or self.horizon <= timedelta(0) or not self.hysteresis >= 1:
            raise InvalidInputError(
                "stable is 0 or more, horizon more than 0, hysteresis 1 or more"
            )


@dataclass(frozen=True)
class Worth:
    """Whether an adapter pays, and the figures."""

    pays: bool
    expected_uses: float
    """Of all the memories together, until the horizon."""
    break_even_uses: float
    saved_tokens: float
    """A use, on average."""
    saved_ms: float
    training_tokens: float
    """What training costs, in tokens that are read."""
    training_ms: float
    reason: str


def worth(
    cubes: Sequence[MemCube],
    now: datetime,
    policy: WorthPolicy,
    rates: Rates,
    *,
    rounds: int,
    known: Collection[str] = (),
) -> Worth:
    """Weigh a set of memories, by their uses so far; ``rounds`` of training.

    ``known``: those that an adapter knows already. They are trained along, and save nothing more.
    """
    uses = [0.0 if one.id in known else _expected(one, policy) for one in cubes]
    sizes = [len(line(one)) / CHARACTERS_A_TOKEN for one in cubes]
    expected = sum(uses)
    weighted = sum(use * size for use, size in zip(uses, sizes, strict=True))
    saved = weighted / expected if expected else sum(sizes) / len(sizes)
    training = _training(cubes, rounds)
    even = training * policy.hysteresis / saved
    youngest = min(now - one.header.descriptive.created_at for one in cubes)
    pays, why = expected > even, ""
    if youngest < policy.stable:
        pays = False
        why = f"; one of them changed {youngest / timedelta(days=1):.1f} days ago, " + (
            f"{policy.stable / timedelta(days=1):g} are asked for"
        )
    ms = 1_000 / rates.prefill_tokens_per_second
    several = f"{len(cubes)} memories together" if len(cubes) > 1 else "1 memory"
    relation = "more" if expected > even else "not more"
    reason = (
        f"{expected:.0f} uses are expected within {policy.horizon / timedelta(days=1):g} days, "
        f"{relation} than the {even:.0f} that pay for it: {saved:.0f} tokens ({saved * ms:.0f} ms) "
        f"saved a use, {training:.0f} tokens ({training * ms:.0f} ms) to train {several}{why}"
    )
    figures = pays, expected, even, saved, saved * ms, training, training * ms
    return Worth(*figures, reason)


def _expected(cube: MemCube, policy: WorthPolicy) -> float:
    """Uses until the horizon, if they go on as they did; heat halves every week."""
    weeks = policy.horizon / timedelta(weeks=1)
    return cube.header.behaviour.heat * math.log(2) * weeks


def _training(cubes: Sequence[MemCube], rounds: int) -> float:
    told = [one for cube in cubes for one in lessons(cube)]
    characters = sum(len(one.asked) + len(one.said) for one in told)
    tokens = characters / CHARACTERS_A_TOKEN + OVERHEAD_TOKENS * len(told)
    return tokens * (1 + OTHERS) * rounds * BACKWARD
