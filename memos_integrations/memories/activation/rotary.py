"""How a model turns its keys with their positions, and how keys are turned on to other ones.

Rotary positions (RoFormer, arXiv:2104.09864) turn pairs of a key's numbers by position times
frequency. A key of one position becomes that of another by k·cos(Δθ) + rotate(k)·sin(Δθ), where Δθ
is the difference of the two angles. Which frequencies a layer has, and which numbers are a pair, is
found out by asking the model: the same tokens are read at two places, and what turns the keys of
one place into those of the other is right. So no model's code has to be known by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from transformers import DynamicCache

from memos_integrations.errors import MemOSError
from memos_integrations.memories.activation.tensors import Pair

SHIFT = 96
"""How far apart the two places are."""
EXACT, ROUNDED = 1e-3, 0.1
"""Relative error of turned keys that is rounding, in float32 and in 16 bits."""


class NotRotaryError(MemOSError):
    """A model's keys cannot be turned to other positions; internal: it is refused."""


@dataclass(frozen=True, eq=False)
class Rotation:
    """How one layer turns its keys; without frequencies, not at all."""

    frequencies: torch.Tensor
    """``(pairs,)``, radians a position; the first ``2 * pairs`` numbers of a key are turned."""
    interleaved: bool = False
    """Whether a pair are neighbours, and not the same places of two halves."""

    def angles(self, old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """How far to turn ``(tokens, pairs)``: of two angles rounded as the model rounds them."""
        rates = self.frequencies.float()
        return new.float()[:, None] * rates - old.float()[:, None] * rates


class Turner:
    """Turns keys of tokens from where they were computed to where they stand now."""

    def __init__(self, old: torch.Tensor, new: torch.Tensor) -> None:
        self._old, self._new = old, new
        self._known: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __call__(self, keys: torch.Tensor, rotation: Rotation) -> torch.Tensor:
        """Keys ``(1, heads, tokens, head_dim)`` of all the tokens, in new memory; in float32."""
        size = 2 * len(rotation.frequencies)
        if not size:
            return keys.clone()
        cos, sin = self._of(rotation)
        turned = keys[..., :size].float()
        if rotation.interleaved:
            one, other = turned[..., ::2], turned[..., 1::2]
        else:
            one, other = turned.chunk(2, dim=-1)
        pairs = one * cos - other * sin, other * cos + one * sin
        if rotation.interleaved:
            turned = torch.stack(pairs, dim=-1).flatten(-2)
        else:
            turned = torch.cat(pairs, dim=-1)
        return torch.cat([turned.to(keys.dtype), keys[..., size:]], dim=-1)

    def _of(self, rotation: Rotation) -> tuple[torch.Tensor, torch.Tensor]:
        key = id(rotation.frequencies)
        if key not in self._known:
            angles = rotation.angles(self._old, self._new)
            self._known[key] = angles.cos(), angles.sin()
        return self._known[key]


def rotations(model: Any, tokens: Sequence[int]) -> list[Rotation]:
    """Of each layer of a transformers model, found out with a few tokens.

    Raises :class:`NotRotaryError` with the reason if there is a layer whose keys nothing turns, or
    whose values move, too (as where latents are kept for them).
    """
    known = _candidates(model)
    if len(known) == 1:
        raise NotRotaryError("no rotary positions are found in it")
    here = torch.arange(len(tokens), device=model.device)
    before, after = (_read(model, tokens, at) for at in (here, here + SHIFT))
    turner = Turner(here, here + SHIFT)
    tolerance = EXACT if model.dtype in (torch.float32, torch.float64) else ROUNDED
    found: list[Rotation] = []
    for i, ((old, values), (new, moved)) in enumerate(zip(before, after, strict=True)):
        if not _error(values, moved) <= tolerance:
            raise NotRotaryError(f"the values of layer {i} change with their position, too")
        fitting = [one for one in known if 2 * len(one.frequencies) <= old.shape[-1]]
        errors = [_error(turner(old, one), new) for one in fitting]
        best = min(range(len(errors)), key=errors.__getitem__)
        if not errors[best] <= tolerance:  # not a number is no match either
            raise NotRotaryError(f"the keys of layer {i} do not turn with their position alone")
        found.append(fitting[best])
    return found


def _candidates(model: Any) -> list[Rotation]:
    """Not at all; and by all the frequencies that are kept in the model, either way of pairing."""
    rates: list[torch.Tensor] = []
    for name, buffer in model.base_model.named_buffers():
        last = name.rpartition(".")[2]
        if not last.endswith("inv_freq") or "original" in last or buffer.dim() != 1:
            continue
        if not any(torch.equal(buffer, known) for known in rates):
            rates.append(buffer.detach().clone())
    none = Rotation(torch.empty(0, device=model.device))
    return [none, *(Rotation(one, way) for one, way in product(rates, (False, True)))]


def _read(model: Any, tokens: Sequence[int], positions: torch.Tensor) -> list[Pair]:
    """Keys and values of each layer."""
    cache: Any = DynamicCache()  # without a config: no window
    ids = torch.tensor([list(tokens)], device=model.device)
    with torch.inference_mode():
        model.base_model(
            input_ids=ids, position_ids=positions[None], past_key_values=cache, use_cache=True
        )
    return [(layer.keys, layer.values) for layer in cache.layers]


def _error(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest relative error of any of a key's numbers, over heads and tokens."""
    wrong, right = (
        t.float().flatten(0, -2).norm(dim=0) for t in (one.float() - other.float(), other)
    )
    return float((wrong / (right + right.mean() / 100 + 1e-9)).max())
