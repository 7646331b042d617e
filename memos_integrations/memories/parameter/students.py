"""The two things that can be trained: a low-rank adapter, and a prefix of keys and values."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from memos_integrations.memories.activation.tensors import Pair
from memos_integrations.memories.parameter import lora
from memos_integrations.memories.parameter.active import active, attach
from memos_integrations.memories.parameter.lora import LoraShape
from memos_integrations.memories.parameter.reading import Columns, Read, logits
from memos_integrations.memories.parameter.targets import computed
from memos_integrations.models.causal import CausalModel

Tensors = dict[str, torch.Tensor]


class LoraStudent:
    """The model with an adapter; its own weights stay as they are."""

    def __init__(self, model: CausalModel, shape: LoraShape, weights: Tensors) -> None:
        attach(model.model)
        self._model, self._shape, self.weights = model, shape, weights
        self.vocabulary = vocabulary_of(model)

    @classmethod
    def fresh(cls, model: CausalModel, shape: LoraShape, seed: int) -> LoraStudent:
        """One that has learned nothing."""
        freeze(model)
        weights = lora.fresh(model.model, shape, seed)
        for one in weights.values():
            one.requires_grad_(True)
        return cls(model, shape, weights)

    def logits(self, texts: Sequence[Read], columns: Columns | None = None) -> list[torch.Tensor]:
        """With the adapter active in this thread alone."""
        like = self._model.model if self._model.dtype != torch.float32 else None
        with active([lora.weighted(self.weights, self._shape.scale, like)]):
            return logits(self._model, texts, columns=columns)


class PrefixStudent:
    """The model behind a prefix of trained keys and values (Cartridges, arXiv:2506.06266).

    The first position stays as it was: models put attention there that belongs nowhere else.
    """

    def __init__(self, model: CausalModel, weights: Tensors, first: Tensors) -> None:
        self._model, self.weights, self._first = model, weights, first
        self.vocabulary = vocabulary_of(model)

    @classmethod
    def beginning_as(cls, model: CausalModel, tokens: Sequence[int]) -> PrefixStudent:
        """The keys and values of these tokens, to be trained from there on."""
        freeze(model)
        weights, first = {}, {}
        for i, pair in enumerate(computed(model, tokens)):
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


def freeze(model: CausalModel) -> None:
    """No gradient reaches the model's own weights; serving does not notice."""
    for one in model.model.parameters():
        one.requires_grad_(False)


def vocabulary_of(model: CausalModel) -> int:
    """Rows of the head."""
    return int(model.model.get_output_embeddings().weight.shape[0])
