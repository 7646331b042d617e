"""An answer under way: which token comes next, what is counted, and where it ends."""

from __future__ import annotations

import time

import torch

from memos_integrations.memories.activation.sampling import Sampling, chooser
from memos_integrations.memories.activation.segments import Prompt
from memos_integrations.memories.activation.tally import Tally
from memos_integrations.memories.activation.usage import Usage
from memos_integrations.models.causal import CausalModel


class Writing:
    """One request's answer; the same whether it is decoded alone or with others.

    Until its end is known, ``usage.finish_reason`` is ``cancelled``: what it is if nobody goes on.
    """

    def __init__(
        self, prompt: Prompt, sampling: Sampling, usage: Usage, *, model: CausalModel, tally: Tally
    ) -> None:
        self.so_far = list(prompt.tokens)
        """Prompt and answer."""
        self.usage = usage
        self._most, self._ends, self._tally = sampling.max_new_tokens, model.eos_ids, tally
        self._choose = chooser(sampling, model)
        self._started = time.perf_counter()
        self._written = 0

    def next(self, logits: torch.Tensor) -> int | None:
        """The next token by its logits ``(vocabulary,)``; ``None`` where the model ends."""
        token = self._choose(self.so_far, logits)
        if not self._written:
            self.usage.first_token_seconds = time.perf_counter() - self._started
            self._tally.first_token(self.usage.first_token_seconds)
        if token in self._ends:
            self.usage.finish_reason = "stop"
            return None
        self.so_far.append(token)
        self._written += 1
        self.usage.output_tokens, self.usage.finish_reason = self._written, "cancelled"
        return token

    def is_full(self) -> bool:
        """Whether it may not go on; asked once its last token was taken."""
        if self._written < self._most:
            return False
        self.usage.finish_reason = "length"
        return True
