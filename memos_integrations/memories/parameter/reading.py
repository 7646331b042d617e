"""Texts through a model in batches: the logits behind each token that is learned.

A batch is padded on the left and read by the model's body; of a small model the head is the larger
half, so it sees only the places that count, and in training only some columns (:class:`Columns`).
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import linear

from memos_integrations.memories.activation.tensors import Pair, Piece, fork
from memos_integrations.models.causal import CausalModel


@dataclass(frozen=True)
class Read:
    """A text as tokens; those from ``start`` on are learned, each from all before it."""

    tokens: tuple[int, ...]
    start: int

    @property
    def learned(self) -> int:
        """How many."""
        return len(self.tokens) - self.start


@dataclass(frozen=True)
class Columns:
    """Tokens of the vocabulary for which logits are wanted, and what is added to each.

    Those that targets name are there as they are; a sample stands for all others, each for as many
    as its addend says. So the sum of all exponentials is estimated without bias, at a thirtieth of
    the work (importance sampling).
    """

    ids: torch.Tensor
    addends: torch.Tensor


def logits(
    model: CausalModel,
    texts: Sequence[Read],
    before: Sequence[Pair] | None = None,
    columns: Columns | None = None,
) -> list[torch.Tensor]:
    """For each text the logits of its learned tokens, ``(learned, vocabulary)``, float32.

    ``before``: keys and values in front of each, by layer, ``(1, heads, positions, dim)``.
    """
    longest = max(len(one.tokens) for one in texts)
    given = _inputs(model, texts, longest, before)
    rows = torch.cat([torch.full((one.learned,), i) for i, one in enumerate(texts)])
    ends = [longest - 1 - one.learned for one in texts]
    places = torch.cat(
        [torch.arange(end, end + one.learned) for end, one in zip(ends, texts, strict=True)]
    )
    found = _at(model.model, given, rows, places, columns)
    return list(torch.split(found.float(), [one.learned for one in texts]))


def batches(texts: Sequence[Read], size: int) -> list[list[int]]:
    """Numbers of texts, those of like length together."""
    order = sorted(range(len(texts)), key=lambda i: (len(texts[i].tokens), i))
    return [order[at : at + size] for at in range(0, len(order), size)]


def _inputs(
    model: CausalModel, texts: Sequence[Read], longest: int, before: Sequence[Pair] | None
) -> dict[str, Any]:
    ids = torch.zeros(len(texts), longest, dtype=torch.long)
    mask = torch.zeros(len(texts), longest, dtype=torch.long)
    for row, one in enumerate(texts):
        ids[row, longest - len(one.tokens) :] = torch.tensor(one.tokens)
        mask[row, longest - len(one.tokens) :] = 1
    given: dict[str, Any] = {"use_cache": False}
    places = (mask.cumsum(-1) - 1).clamp(min=0)
    if before is not None:
        count = len(texts)
        piece = Piece(
            [(k.expand(count, -1, -1, -1), v.expand(count, -1, -1, -1)) for k, v in before]
        )
        given = {"use_cache": True, "past_key_values": fork(model.model.config, [piece])}
        mask = torch.cat([torch.ones(count, piece.tokens, dtype=torch.long), mask], dim=1)
        places = places + piece.tokens
    given |= {"input_ids": ids, "attention_mask": mask}
    if "position_ids" in inspect.signature(model.model.forward).parameters:
        given["position_ids"] = places
    return {k: v.to(model.device) if torch.is_tensor(v) else v for k, v in given.items()}


def _at(
    model: Any,
    given: dict[str, Any],
    rows: torch.Tensor,
    places: torch.Tensor,
    columns: Columns | None,
) -> torch.Tensor:
    """Logits of some places of a batch, ``(places, columns)``."""
    if not _plain_head(model):
        whole: torch.Tensor = model(**given).logits[rows, places]
        return whole if columns is None else whole[:, columns.ids] + columns.addends
    hidden = model.base_model(**given).last_hidden_state[rows, places]
    head = model.get_output_embeddings()
    if columns is None:
        return _capped(model, head(hidden))
    bias = None if head.bias is None else head.bias[columns.ids]
    found = _capped(model, linear(hidden, head.weight[columns.ids], bias))
    return found + columns.addends


_plain: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()


def _plain_head(model: Any) -> bool:
    """Whether the logits are the head of the body's output, and nothing else; tried once."""
    if model not in _plain:
        with torch.inference_mode():
            ids = torch.tensor([[1, 2, 3]], device=model.device)
            whole = model(input_ids=ids, use_cache=False).logits
            body = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
            own = _capped(model, model.get_output_embeddings()(body))
        _plain[model] = bool(torch.allclose(whole.float(), own.float(), rtol=1e-3, atol=1e-3))
    return _plain[model]


def _capped(model: Any, found: torch.Tensor) -> torch.Tensor:
    cap = getattr(model.config.get_text_config(decoder=True), "final_logit_softcapping", None)
    capped: torch.Tensor = found if cap is None else torch.tanh(found / cap) * cap
    return capped
