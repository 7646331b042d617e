"""The two things that can be trained: a low-rank adapter, and a prefix of keys and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.nn.utils.parametrize import register_parametrization

from memos_integrations.memories.activation.tensors import Pair
from memos_integrations.memories.parameter import lora, views
from memos_integrations.memories.parameter.lora import LoraShape
from memos_integrations.memories.parameter.quiet import dampings, second_moments
from memos_integrations.memories.parameter.reading import Columns, Mind, Read, logits
from memos_integrations.models.causal import CausalModel

Tensors = Mapping[str, torch.Tensor]
_NAME = "student"


class LoraStudent:
    """A view of the model with one adapter in it; its own weights stay as they are."""

    learning_rate = 1e-3

    def __init__(self, model: CausalModel, shape: LoraShape, tensors: Tensors) -> None:
        self._view = views.view(model)
        self._put: Tensors = views.put(self._view, _NAME, tensors, shape)
        self.weights: Tensors = {name: one.requires_grad_(True) for name, one in self._put.items()}
        self.vocabulary = vocabulary_of(model)
        self.scale = 1.0
        """How much of it is added, as :meth:`scaled` set it."""

    @classmethod
    def fresh(
        cls, model: CausalModel, shape: LoraShape, seed: int, others: Sequence[Read] = ()
    ) -> LoraStudent:
        """One that has learned nothing, and that will leave ``others`` alone (:mod:`.quiet`)."""
        tensors = lora.fresh(model.model, shape, seed)
        student = cls(model, shape, tensors)
        if others and shape.quiet:
            layers = lora.layers_of(tensors)
            student._damp(second_moments(model, layers, others), shape.quiet)
        return student

    def _damp(self, moments: dict[str, torch.Tensor], share: float) -> None:
        """Let each A be made of what is trained in its place."""
        damped: dict[str, torch.Tensor] = {}
        for layers, by in dampings(moments, share):
            for layer in layers:
                reader = self._view.model.get_submodule(f"{layer}.lora_A.{_NAME}")
                register_parametrization(reader, "weight", by.to(reader.weight.device))
                name = f"{layer}.lora_A.{_NAME}.weight"
                damped[name] = reader.parametrizations.weight.original
        self.weights = {name: damped.get(name, one) for name, one in self.weights.items()}

    def scaled(self, factor: float) -> None:
        """Add so much of the adapter from now on; 1 is what it was trained at."""
        views.scale(self._view, _NAME, factor)
        self.scale = factor

    def tensors(self) -> dict[str, torch.Tensor]:
        """The weights as peft names them in files."""
        layers = {name: name.removesuffix(".weight") for name in self._put}
        now = {name: self._view.model.get_submodule(one).weight for name, one in layers.items()}
        return {name.replace(f".{_NAME}", ""): one.detach() for name, one in now.items()}

    def logits(self, texts: Sequence[Read], columns: Columns | None = None) -> list[torch.Tensor]:
        """Of the model with the adapter."""
        return logits(self._view, texts, columns=columns)

    def mind(self) -> Mind:
        """The view."""
        return Mind(self._view)


class PrefixStudent:
    """The model behind a prefix of trained keys and values (Cartridges, arXiv:2506.06266).

    The first position stays as it was: models put attention there that belongs nowhere else.
    """

    learning_rate = 1e-2

    def __init__(self, model: CausalModel, weights: Tensors, first: Tensors) -> None:
        self._model, self.weights, self._first = model, weights, first
        self.vocabulary = vocabulary_of(model)

    @classmethod
    def beginning_as(cls, model: CausalModel, pairs: Sequence[Pair]) -> PrefixStudent:
        """These keys and values, by layer, to be trained from there on."""
        for one in model.model.parameters():
            one.requires_grad_(False)  # no gradient reaches its own weights
        weights, first = {}, {}
        for i, pair in enumerate(pairs):
            for kind, one in zip("kv", pair, strict=True):
                first[f"{kind}{i}"] = one[..., :1, :].clone()
                weights[f"{kind}{i}"] = one[..., 1:, :].float().clone().requires_grad_(True)
        return cls(model, weights, first)

    def pairs(self) -> list[Pair]:
        """Keys and values by layer, ``(1, heads, positions, dim)``, as the model reads them."""
        whole = {
            name: torch.cat([self._first[name], one.to(self._first[name].dtype)], dim=-2)
            for name, one in self.weights.items()
        }
        return [(whole[f"k{i}"], whole[f"v{i}"]) for i in range(len(whole) // 2)]

    def logits(self, texts: Sequence[Read], columns: Columns | None = None) -> list[torch.Tensor]:
        """With the prefix in front of each text."""
        return logits(self._model, texts, self.pairs(), columns)

    def mind(self) -> Mind:
        """The model behind the prefix."""
        with torch.no_grad():
            return Mind(self._model, self.pairs())


def vocabulary_of(model: CausalModel) -> int:
    """Rows of the head."""
    return int(model.model.get_output_embeddings().weight.shape[0])
