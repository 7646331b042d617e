"""Directions that other texts hardly use: an adapter that reads those moves other texts little.

An adapter reads the input *x* of a layer through A. With C the second moment of *x* over unrelated
texts, A is trained as A' M, where M = (I + C / (share * mean(C)))^-1/2: a direction in which other
texts have much is damped, one in which they have nothing is left as it is. So what a step of
training changes for them is small by construction, and not only by what the loss says. It is the
soft form of projecting an edit onto the null space of what shall be kept (arXiv:2410.02355).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from memos_integrations.memories.parameter import views
from memos_integrations.memories.parameter.reading import Read, batches, logits
from memos_integrations.models.causal import CausalModel

TOGETHER = 16
"""Texts that go through the model at once."""


def second_moments(
    model: CausalModel, layers: Iterable[str], texts: Sequence[Read]
) -> dict[str, torch.Tensor]:
    """Of the inputs of these layers, ``(in, in)`` by layer, over all tokens but a text's first.

    The first token is the same in every text, and models park what they do not need there.
    """
    seen = views.view(model)  # what others ask of the model meanwhile is not counted
    sums = _Sums(seen, list(layers))
    with torch.inference_mode():
        for rows in batches(texts, TOGETHER):
            some = [texts[i] for i in rows]
            with sums.of(some):
                logits(seen, some)
    return sums.means()


def damping(moment: torch.Tensor, share: float) -> torch.Tensor:
    """M of a layer, ``(in, in)``, symmetric: between 0 and 1 in every direction."""
    energies, directions = torch.linalg.eigh(moment.double())
    energies = energies.clamp(min=0)
    kept = (1 + energies / (share * energies.mean().clamp(min=1e-12))).rsqrt()
    made: torch.Tensor = (directions * kept) @ directions.T
    return made.float()


class Damped(torch.nn.Module):
    """What makes A of A', for ``torch.nn.utils.parametrize``."""

    def __init__(self, by: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("by", by)

    def forward(self, free: torch.Tensor) -> torch.Tensor:
        """A' M."""
        by: Any = self.by
        weight: torch.Tensor = free @ by
        return weight

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        """Training begins with what it is given as A'."""
        return weight


class _Sums:
    """Collects x x^T of the layers' inputs while the model reads."""

    def __init__(self, model: CausalModel, layers: Sequence[str]) -> None:
        self._model, self._layers = model, layers
        self._found: dict[str, torch.Tensor] = {}
        self._count = 0

    @contextmanager
    def of(self, texts: Sequence[Read]) -> Iterator[None]:
        """While the model reads these texts, padded on the left."""
        longest = max(len(one.tokens) for one in texts)
        counts = torch.zeros(len(texts), longest, dtype=torch.bool)
        for row, one in enumerate(texts):
            counts[row, longest - len(one.tokens) + 1 :] = True
        hooks = [self._watch(name, counts) for name in self._layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
        self._count += int(counts.sum())

    def means(self) -> dict[str, torch.Tensor]:
        return {name: found / max(1, self._count) for name, found in self._found.items()}

    def _watch(self, name: str, counts: torch.Tensor) -> Any:
        def see(_: Any, given: tuple[torch.Tensor, ...]) -> None:
            if given[0].shape[:2] == counts.shape:  # not a trial of another length
                x = given[0].detach()[counts.to(given[0].device)].float()
                self._found[name] = self._found.get(name, torch.zeros(())) + (x.T @ x).cpu()

        return self._model.model.get_submodule(name).register_forward_pre_hook(see)
