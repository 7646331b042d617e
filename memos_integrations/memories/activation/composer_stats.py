"""What a composer counts, and how far its prompts are measured to be from exact ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Deviation:
    """How far composed prompts were from exact ones, at the next token."""

    prompts: int
    mean_kl: float
    """Nats, from the exact distribution to the composed one."""
    max_kl: float
    agreement: float
    """Share of prompts for which the likeliest token is the same."""


@dataclass
class Measured:
    """Prompts that were read both ways."""

    kls: list[float] = field(default_factory=list)
    same: int = 0

    def add(self, exact: torch.Tensor, composed: torch.Tensor) -> None:
        """One prompt's logits of the next token, ``(vocabulary,)`` each."""
        right, found = exact.double().log_softmax(-1), composed.double().log_softmax(-1)
        weights = right.exp()  # what cannot come next weighs nothing: it may be -inf in both
        kl = float(torch.where(weights > 0, weights * (right - found), 0).sum())
        self.kls.append(0.0 if kl < 0 else kl)
        self.same += bool(right.argmax() == found.argmax())

    def result(self) -> Deviation:
        """Of all so far, of which there is one at least."""
        count = len(self.kls)
        worst = max(self.kls, key=lambda kl: (kl != kl, kl))  # what is no number comes first
        return Deviation(count, sum(self.kls) / count, worst, self.same / count)


@dataclass
class ComposerStats:
    """What happened since the composer was made."""

    composed: int = 0
    exact: Counter[str] = field(default_factory=Counter)
    """Requests that ran exactly, by reason."""
    cached_tokens: int = 0
    recomputed_tokens: int = 0
    """Of memories, read again over the joined cache."""
    deviation: Deviation | None = None
    """By the latest measurement, or by the trial so far."""

    def as_dict(self) -> dict[str, Any]:
        """JSON-plain."""
        deviation = None if self.deviation is None else asdict(self.deviation)
        return {**vars(self), "exact": dict(self.exact), "deviation": deviation}
