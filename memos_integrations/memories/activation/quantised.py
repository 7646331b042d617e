"""Keys and values in eight bits: near-exact, in half of the bytes (bfloat16), or a quarter.

Symmetric, rounded to the nearest. Some channels of the keys are much larger than others at every
token, so each channel has a scale of its own in each block of tokens; values have none such, and
get one scale a token (KIVI, arXiv 2402.02750). Shapes as in ``tensors``, block by block:

- keys ``(1, heads, tokens, head_dim)``, their scales ``(1, heads, blocks, head_dim)``;
- values ``(1, heads, tokens, head_dim)``, their scales ``(1, heads, tokens, 1)``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn.functional import pad

from memos_integrations.memories.activation.tensors import Pair

BLOCK = 64
"""Tokens whose keys share the scale of a channel."""
_MOST = 127


class Quantised(NamedTuple):
    """Keys and values of one layer in eight bits, and their scales in float32."""

    keys: torch.Tensor
    values: torch.Tensor
    key_scales: torch.Tensor
    value_scales: torch.Tensor


def can_be_quantised(pair: Pair) -> bool:
    """Whether these are keys and values as attention makes them; anything else is kept as it is."""
    return all(one.dim() == 4 and one.is_floating_point() for one in pair) and all(
        bool(one.isfinite().all()) for one in pair
    )


def quantise(pair: Pair) -> Quantised:
    """Round keys and values to eight bits."""
    keys, values = (one.float() for one in pair)
    blocks = _in_blocks(keys)
    key_scales, value_scales = _scales(blocks, dim=-2), _scales(values, dim=-1)
    rounded = _round(blocks, key_scales).flatten(2, 3)[..., : keys.shape[-2], :]
    return Quantised(
        rounded.contiguous(),
        _round(values, value_scales),
        key_scales.squeeze(-2).contiguous(),
        value_scales,
    )


def restore(kept: Quantised, dtype: torch.dtype) -> Pair:
    """The keys and values again, each at most half a step of its scale away."""
    blocks = _in_blocks(kept.keys) * kept.key_scales.unsqueeze(-2)
    keys = blocks.flatten(2, 3)[..., : kept.keys.shape[-2], :]
    return keys.to(dtype).contiguous(), (kept.values * kept.value_scales).to(dtype)


def _in_blocks(keys: torch.Tensor) -> torch.Tensor:
    """``(1, heads, blocks, BLOCK, head_dim)``, zeros behind the last token."""
    missing = -keys.shape[-2] % BLOCK
    padded = pad(keys, (0, 0, 0, missing))
    return padded.reshape(*padded.shape[:2], -1, BLOCK, padded.shape[-1])


def _scales(numbers: torch.Tensor, dim: int) -> torch.Tensor:
    """A step for each row or column, so that its largest number becomes 127; never zero."""
    tiny = torch.finfo(torch.float32).tiny
    return numbers.abs().amax(dim, keepdim=True).div(_MOST).clamp_min(tiny)


def _round(numbers: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    return (numbers / scales).round_().clamp_(-_MOST, _MOST).to(torch.int8)
