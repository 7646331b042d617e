"""How the next token is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from memos_integrations.errors import InvalidInputError

Chooser = Callable[[Sequence[int], torch.Tensor], int]
"""From the tokens so far and the logits ``(vocabulary,)`` to the next token."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Greedy by default; the words are those of transformers' ``GenerationConfig``."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    """0: the likeliest token, always."""
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.max_new_tokens, bool) or self.max_new_tokens < 1:
            raise InvalidInputError(
                f"max_new_tokens is {self.max_new_tokens!r}: give a number from 1 on"
            )
        if not 0 <= self.temperature < float("inf"):
            raise InvalidInputError(f"temperature is {self.temperature!r}: give 0 or more")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InvalidInputError(f"top_p is {self.top_p!r}: give more than 0, and at most 1")
        if self.top_k is not None and self.top_k < 1:
            raise InvalidInputError(f"top_k is {self.top_k!r}: give a number from 1 on")
        if not self.repetition_penalty > 0:
            raise InvalidInputError(
                f"repetition_penalty is {self.repetition_penalty!r}: give more than 0 (1: none)"
            )


def chooser(sampling: Sampling, model: Any) -> Chooser:
    """What chooses; with a seed, the same every time."""
    steps: list[Any] = []
    if sampling.repetition_penalty != 1.0:
        steps.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    if sampling.temperature > 0:
        if sampling.temperature != 1.0:
            steps.append(TemperatureLogitsWarper(sampling.temperature))
        if sampling.top_k is not None:
            steps.append(TopKLogitsWarper(sampling.top_k))
        if sampling.top_p is not None and sampling.top_p < 1:
            steps.append(TopPLogitsWarper(sampling.top_p))
    processors = LogitsProcessorList(steps)
    generator = torch.Generator(device=model.device)
    if sampling.seed is not None:
        generator.manual_seed(sampling.seed)
    else:
        generator.seed()

    def choose(so_far: Sequence[int], logits: torch.Tensor) -> int:
        scores: Any = logits.unsqueeze(0)
        if steps:
            ids: Any = torch.tensor([list(so_far)], device=logits.device)
            scores = processors(ids, scores)
        if sampling.temperature == 0:
            return int(scores.argmax(dim=-1))
        return int(torch.multinomial(scores.softmax(dim=-1), 1, generator=generator))

    return choose
