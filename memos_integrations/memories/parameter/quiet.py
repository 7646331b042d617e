"""Directions that other texts hardly use: an adapter that reads those moves other texts little.

An adapter reads the input *x* of a layer through A. With C the second moment of *x* over unrelated
texts, A is trained as A' M, where M = (I + C / (share * mean(C)))^-1/2: a direction in which other
texts have much is damped, one in which they have nothing is left as it is. So what a step of
training changes for them is small by construction, and not only by what the loss says. It is the
soft form of projecting an edit onto the null space of what shall be kept (arXiv:2410.02355).

Layers that read the same tensor (q, k and v; gate and up) have the same C and M: there is one each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from memos_integrations.errors import InvalidInputError
from memos_integrations.memories.parameter import views
from memos_integrations.memories.parameter.reading import Read, batches, logits
from memos_integrations.models.causal import CausalModel

TOGETHER = 16
"""Texts that go through the model at once."""


def second_moments(
    model: CausalModel, layers: Iterable[str], texts: Sequence[Read]
) -> dict[str, torch.Tensor]:
    """Of the inputs of these layers, ``(in, in)`` by layer, over all tokens but a text's first.

    Float32, on the layers' device. Layers that read one and the same tensor share one moment. The
    first token is the same in every text, and models park what they do not need there.
    """
    seen = views.view(model)  # what others ask of the model meanwhile is not counted
    sums = _Sums(seen, list(layers))
    with torch.no_grad():
        for rows in batches(texts, TOGETHER):
            some = [texts[i] for i in rows]
            with sums.of(some):
                logits(seen, some)
    return sums.means()


def dampings(moments: dict[str, torch.Tensor], share: float) -> Iterator[tuple[list[str], Damped]]:
    """M of each moment, with all layers that it is for; empties ``moments`` as it goes.

    So of a large model the moments and the M are never all there at once.
    """
    while moments:
        moment = next(iter(moments.values()))
        layers = [one for one, other in moments.items() if other is moment]
        for one in layers:
            del moments[one]
        yield layers, Damped(damping(moment, share))


def damping(moment: torch.Tensor, share: float) -> torch.Tensor:
    """M of a layer, ``(in, in)``, symmetric: between 0 and 1 in every direction.

    Computed in float64 where the moment is, or on the CPU if its device has no such numbers.
    """
    at = "cpu" if moment.device.type == "mps" else moment.device
    energies, directions = torch.linalg.eigh(moment.to(at).double())
    energies = energies.clamp(min=0)
    kept = (1 + energies / (share * energies.mean().clamp(min=1e-12))).rsqrt()
    made: torch.Tensor = (directions * kept) @ directions.T
    return made.float().to(moment.device)


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
        self._leads: dict[str, str] = {}
        """By layer the first layer that reads the same."""
        self._last: tuple[str, torch.Tensor] | None = None
        """The layer that read last of those that lead, and what it read."""
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
            self._last = None
            for hook in hooks:
                hook.remove()
        self._count += int(counts.sum())

    def means(self) -> dict[str, torch.Tensor]:
        means = {name: one.div_(max(1, self._count)) for name, one in self._found.items()}
        return {name: means[lead] for name, lead in self._leads.items()}

    def _lead(self, name: str, x: torch.Tensor) -> str:
        """Which layer's moment is that of this layer, which reads ``x`` now."""
        same = self._last is not None and self._last[1] is x
        if name not in self._leads:
            self._leads[name] = self._last[0] if self._last is not None and same else name
        if self._leads[name] == name:
            self._last = name, x
        elif not same:
            raise InvalidInputError(
                f"{name} reads what {self._leads[name]} reads in some texts, and not in others: "
                "give LoraShape(quiet=0)"
            )
        return self._leads[name]

    def _watch(self, name: str, counts: torch.Tensor) -> Any:
        def see(_: Any, given: tuple[torch.Tensor, ...]) -> None:
            if given[0].shape[:2] != counts.shape:  # a trial of another length
                return
            if self._lead(name, given[0]) == name:
                x = given[0].detach()[counts.to(given[0].device)].float()
                moment = x.T @ x
                so_far = self._found.get(name)
                self._found[name] = moment if so_far is None else so_far.add_(moment)

        return self._model.model.get_submodule(name).register_forward_pre_hook(see)
