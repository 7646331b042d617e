"""How a local chat reads prompts: exactly, or composed. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from memos_integrations.errors import InvalidInputError

RECOMPUTE = 0.15
"""Share of the memories' tokens that is read again, unless another one is given."""
TRIAL = 8
"""Prompts that are read both ways before a chat composes any, unless told otherwise."""


@dataclass(frozen=True)
class Composed:
    """Options of the composed mode: ``LocalChat(memory, mode=Composed(threshold=0.05))``.

    Raises :class:`InvalidInputError` for values that make no sense.
    """

    recompute: float = RECOMPUTE
    """Share of the memories' tokens that is read again, 0 to 1; 1 is exact up to rounding."""
    choose: Literal["first", "deviating"] = "deviating"
    """Which: the first tokens of each memory, or those whose values move most."""
    threshold: float | None = None
    """Nats: above this measured mean KL every prompt runs exactly."""
    within_window: bool = False
    """Serve models with a sliding window, too, where a prompt fits it whole."""
    trial: int = TRIAL
    """So many prompts are read both ways and answered exactly, which measures the deviation."""

    def __post_init__(self) -> None:
        if not (_is_number(self.recompute) and 0 <= self.recompute <= 1):
            raise InvalidInputError(f"recompute is a share from 0 to 1, not {self.recompute!r}")
        if self.choose not in ("first", "deviating"):
            raise InvalidInputError(f"choose is 'first' or 'deviating', not {self.choose!r}")
        if self.threshold is not None and not (_is_number(self.threshold) and self.threshold >= 0):
            raise InvalidInputError(f"threshold is nats from 0 on, or None, not {self.threshold!r}")
        if not isinstance(self.within_window, bool):
            raise InvalidInputError(f"within_window is True or False, not {self.within_window!r}")
        if not isinstance(self.trial, int) or isinstance(self.trial, bool) or self.trial < 0:
            raise InvalidInputError(f"trial is a number of prompts from 0 on, not {self.trial!r}")


Mode = Literal["exact", "composed"] | Composed
"""``"composed"`` is ``Composed()``."""


def composed(mode: Mode) -> Composed | None:
    """The options of a mode; ``None`` if it is the exact one."""
    if isinstance(mode, Composed):
        return mode
    if mode == "composed":
        return Composed()
    if mode != "exact":
        raise InvalidInputError(f"mode is 'exact', 'composed' or a Composed(...), not {mode!r}")
    return None


def _is_number(one: Any) -> bool:
    return isinstance(one, int | float) and not isinstance(one, bool)
