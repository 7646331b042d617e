"""Several requests' keys and values as one cache, so that one forward goes on with all of them.

Shapes of a joined layer: ``(rows, heads, tokens, head_dim)``, where ``tokens`` is the length of the
longest row; in front of the others stand zeros, which the mask hides. So all rows end in the same
column, and a sliding window, counted back from there, holds the same tokens as for a row alone.
What a row had before, its own cache or a place in a joined one, is copied and never written to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers import DynamicCache

from memos_integrations.memories.activation.tensors import Pair, Parts, standing


@dataclass(eq=False)
class Row:
    """Where a request's keys and values are."""

    cache: Any
    """The request's own, or one that it is joined in."""
    length: int
    """Tokens that it has there."""
    at: int = 0
    """Which row of the cache."""
    alone: bool = True
    """Whether the cache is the request's own."""


@dataclass(frozen=True)
class _Place:
    """One layer of a row. It names the layer, not its cache: other layers are free to go."""

    layer: Any
    at: int
    tokens: int

    def pair(self) -> Pair:
        """Its own keys and values, without what stands in front: ``(heads, tokens, head_dim)``."""
        first = self.layer.keys.shape[-2] - self.tokens
        return self.layer.keys[self.at, :, first:, :], self.layer.values[self.at, :, first:, :]


def joined(config: Any, rows: Sequence[Row]) -> DynamicCache:
    """One cache for all of these rows, which stand there from now on.

    A layer is copied when it first runs, and what it was copied from is let go.
    """

    def parts(i: int, window: int | None) -> Parts:
        return partial(_stacked, [_place(row, i, window) for row in rows])

    cache = standing(config, parts, max(row.length for row in rows))
    for at, row in enumerate(rows):
        row.cache, row.at, row.alone = cache, at, False
    return cache


def shown(rows: Sequence[Row], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the next token of each row stands, and what it may attend to.

    Positions are ``(rows, 1)``, the mask ``(rows, tokens + 1)``.
    """
    lengths = torch.tensor([[row.length] for row in rows], device=device)
    most = max(row.length for row in rows)
    columns = torch.arange(most + 1, device=device)
    return lengths, (columns >= most - lengths).long()


def bytes_of(row: Row, rows: int, tokens: int) -> int:
    """Of keys and values, for so many rows with so many tokens, by those of one row."""
    total = 0
    for layer in row.cache.layers:
        if layer.keys is not None:
            window = getattr(layer, "sliding_window", None) or tokens
            each = sum(one.shape[1] * one.shape[3] * one.element_size() for one in _both(layer))
            total += rows * min(tokens, window) * each
    return total


def _both(layer: Any) -> Pair:
    return layer.keys, layer.values


def _place(row: Row, i: int, window: int | None) -> _Place:
    tokens = row.length if window is None else min(row.length, window - 1)
    return _Place(row.cache.layers[i], row.at, tokens)


def _stacked(places: Sequence[_Place]) -> list[Pair]:
    pairs = [place.pair() for place in places]
    return [(_padded([pair[0] for pair in pairs]), _padded([pair[1] for pair in pairs]))]


def _padded(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """``(rows, heads, tokens, head_dim)``, zeros in front of what is shorter."""
    most = max(one.shape[-2] for one in tensors)
    heads, _, size = tensors[0].shape
    room = tensors[0].new_zeros((len(tensors), heads, most, size))
    for row, one in zip(room, tensors, strict=True):
        row[:, most - one.shape[-2] :, :] = one
    return room
