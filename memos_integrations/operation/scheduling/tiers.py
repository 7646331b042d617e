"""Where a memory can be held, and what it takes to hold it there.

A memory has one tier. Its words stay where they are while a cache or weights are made of them, so
a memory in the activation or parameter tier takes its plaintext bytes, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from memos_integrations.errors import InvalidInputError


class Tier(StrEnum):
    """A memory's present form."""

    PLAINTEXT = "plaintext"
    ACTIVATION = "activation"
    PARAMETER = "parameter"
    ARCHIVE = "archive"


BOUNDED = (Tier.PLAINTEXT, Tier.ACTIVATION, Tier.PARAMETER)
"""The tiers that have budgets; the archive has none."""

TAKEN: dict[Tier, tuple[Tier, ...]] = {
    Tier.PLAINTEXT: (Tier.PLAINTEXT,),
    Tier.ACTIVATION: (Tier.PLAINTEXT, Tier.ACTIVATION),
    Tier.PARAMETER: (Tier.PLAINTEXT, Tier.PARAMETER),
    Tier.ARCHIVE: (),
}
"""Whose budgets a memory of a tier counts against."""


@dataclass(frozen=True)
class Form:
    """What one memory takes in one tier."""

    bytes: int
    build_ms: float = 0.0
    """Milliseconds to make it: prefill for a cache, training for weights, unpacking for words."""

    def __post_init__(self) -> None:
        if not (self.bytes >= 0 and 0 <= self.build_ms < math.inf):
            raise InvalidInputError(
                f"a form has 0 bytes or more and 0 ms or more, not {self.bytes} and {self.build_ms}"
            )
