"""Why a memory is where it is."""

from __future__ import annotations

from dataclasses import dataclass

from memos_integrations.operation.scheduling.actions import Action
from memos_integrations.operation.scheduling.tiers import Tier


@dataclass(frozen=True)
class Explanation:
    """Why a memory is where it is; as a string, lines to read."""

    cube_id: str
    tier: Tier
    value: float
    """As a power of two, by the policy."""
    shares: dict[str, float]
    """What each part of a composite policy adds to the value."""
    shown: int
    recalled: int
    heat: float
    waits: str
    """Why it was not promoted when it was last looked at; empty if it was."""
    decisions: tuple[Action, ...]
    """What was decided about it, as far as it is remembered; oldest first."""
    training: str = ""
    """Whether weights would pay for the set that it is in, with the figures; empty if nothing
    trains."""

    def __str__(self) -> str:
        lines = [
            f"{self.cube_id}: {self.tier}, {self.shown} times shown, {self.recalled} times "
            f"recalled, heat {self.heat:.2f}, value {self.value:.2f}"
        ]
        lines += [f"  {name}: {share:+.2f}" for name, share in self.shares.items()]
        lines += [f"  not promoted: {self.waits}"] if self.waits else []
        lines += [f"  training: {self.training}"] if self.training else []
        return "\n".join([*lines, *(f"  {action}" for action in self.decisions)])
