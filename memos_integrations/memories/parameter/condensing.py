"""Where a trained prefix begins: the keys and values of those tokens of a memory that surprise.

Of a long memory the model can guess most tokens from the others; those that it expects least are
the names and the numbers. Their keys and values, computed within the whole memory, know the words
around them. They stand side by side then: keys are turned to their new places (see ``rotary``).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from memos_integrations.errors import InvalidInputError, ModelError
from memos_integrations.memories.activation.forking import forking
from memos_integrations.memories.activation.rotary import NotRotaryError, Turner, rotations
from memos_integrations.memories.activation.tensors import (
    Pair,
    Piece,
    fork,
    fresh_piece,
)
from memos_integrations.memories.parameter.targets import computed
from memos_integrations.models.causal import CausalModel

TOGETHER = 128
"""Tokens whose logits are there at once; those of a whole memory would take gigabytes."""
TRIED = 24
"""Tokens with which it is found out how a model turns its keys."""


def condensed(model: CausalModel, tokens: Sequence[int], positions: int) -> list[Pair]:
    """Keys and values by layer, ``(1, heads, positions, dim)``: the first token, and those that
    the model expects least, in their order.

    A memory that is no longer begins again until it is, and a model whose rotary positions are not
    found takes the first tokens. Raises :class:`ModelError` for a model whose cache cannot be
    forked, and :class:`InvalidInputError` for what is longer than the model reads.
    """
    if reason := forking(model).reason:
        raise ModelError(f"{model.name} reads no trained prefix: {reason}")
    if len(tokens) > model.context_window:
        raise InvalidInputError(
            f"the memories have {len(tokens):,} tokens, {model.name} reads "
            f"{model.context_window:,}: distil them in several parts"
        )
    if len(tokens) <= positions:
        again = [*tokens, *list(tokens[1:] or tokens) * positions]
        return computed(model, again[:positions])
    try:
        turns = rotations(model.model, tokens[:TRIED])
    except NotRotaryError:
        return computed(model, tokens[:positions])
    pairs, surprise = _read(model, tokens)
    kept = torch.cat([torch.zeros(1, dtype=torch.long), 1 + surprise.topk(positions - 1).indices])
    kept = kept.sort().values.to(model.device)
    turner = Turner(kept, torch.arange(positions, device=model.device))
    return [
        (turner(keys[..., kept, :], turn), values[..., kept, :].clone())
        for (keys, values), turn in zip(pairs, turns, strict=True)
    ]


def _read(model: CausalModel, tokens: Sequence[int]) -> tuple[list[Pair], torch.Tensor]:
    """The keys and values of all tokens, and how unexpected each is but the first, in nats."""
    cache = fork(model.model.config, [])
    pieces: list[Piece] = []
    found: list[torch.Tensor] = []
    with torch.no_grad():
        for start in range(0, len(tokens), TOGETHER):
            ids = torch.tensor([list(tokens[start : start + TOGETHER])], device=model.device)
            said = model.model(input_ids=ids, past_key_values=cache, use_cache=True).logits[0]
            pieces.append(fresh_piece(cache))
            told = torch.tensor(tokens[start + 1 : start + 1 + TOGETHER], device=model.device)
            logs = said[: len(told)].float().log_softmax(-1)
            found.append(-logs.gather(-1, told[:, None])[:, 0].cpu())
    return [_joined(pieces, i) for i in range(len(pieces[0]))], torch.cat(found)


def _joined(pieces: Sequence[Piece], i: int) -> Pair:
    pairs = [pair for one in pieces if (pair := one.layer(i)) is not None]
    return torch.cat([k for k, _ in pairs], dim=-2), torch.cat([v for _, v in pairs], dim=-2)
