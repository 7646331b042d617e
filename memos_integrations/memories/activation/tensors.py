"""The tensors of a cached prompt piece, and caches of transformers that stand on such pieces.

Shapes: keys and values of one layer are ``(1, heads, tokens, head_dim)``, rotated to where they
stood when they were computed. A fork shares the pieces' tensors and writes into none of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DummyLayer, DynamicLayer, DynamicSlidingWindowLayer

from memos_integrations.errors import MemOSError

Pair = tuple[torch.Tensor, torch.Tensor]
"""Keys and values."""

Parts = Callable[[], Sequence[Pair]]
"""Asked for the keys and values that stand before; may read a file."""

SPARE = 64
"""Places that a growing layer keeps free, so that a decoded token is written and not copied."""


class DamagedPieceError(MemOSError):
    """A cached piece on disk is not what was written; internal: it becomes a miss."""

    def __init__(self, digest: str, reason: str) -> None:
        super().__init__(f"cached piece {digest[:12]}: {reason}")
        self.digest = digest


class Piece:
    """One prompt piece's keys and values, by layer; ``None`` for a layer that keeps none."""

    def __init__(self, layers: Sequence[Pair | None], *, approximate: bool = False) -> None:
        self._layers = tuple(layers)
        self.approximate = approximate
        """Whether it was read from rounded numbers, or computed behind such."""
        self.nbytes = sum(t.numel() * t.element_size() for pair in layers if pair for t in pair)
        """Bytes of all tensors."""
        self.tokens = next(pair[0].shape[-2] for pair in layers if pair is not None)
        """How many."""

    def __len__(self) -> int:
        return len(self._layers)

    def layer(self, i: int) -> Pair | None:
        """Keys and values of one layer."""
        return self._layers[i]

    def expect(self, layers: Collection[int]) -> None:
        """These layers are needed soon, in this order."""

    def to(self, device: torch.device) -> Piece:
        """The same on another device; each layer goes there when it is first needed."""
        return self if device.type == "cpu" else _PieceElsewhere(self, device)

    def in_ram(self) -> Piece:
        """The same, all of its tensors in RAM: neither on another device nor in a file.

        Raises :class:`DamagedPieceError` if it is read from a file that is not what was written.
        """
        layers = [self.layer(i) for i in range(len(self))]
        if all(t.device.type == "cpu" for pair in layers if pair for t in pair):
            return self
        there = [None if pair is None else (pair[0].cpu(), pair[1].cpu()) for pair in layers]
        return Piece(there, approximate=self.approximate)


def rounded(pieces: Iterable[Piece]) -> int:
    """Tokens of those that are rounded, or were computed behind rounded ones."""
    return sum(piece.tokens for piece in pieces if piece.approximate)


class _PieceElsewhere(Piece):
    """A piece on a device, of which a layer is copied there when it is first needed."""

    def __init__(self, piece: Piece, device: torch.device) -> None:
        self._piece: Piece | None = piece
        """Where it comes from, until all of it is on the device."""
        self._device, self._count = device, len(piece)
        self._lock = threading.Lock()
        self._there: dict[int, Pair | None] = {}
        self.approximate, self.nbytes, self.tokens = piece.approximate, piece.nbytes, piece.tokens

    def __len__(self) -> int:
        return self._count

    def layer(self, i: int) -> Pair | None:
        """Keys and values of one layer, on the device."""
        with self._lock:
            if i not in self._there and self._piece is not None:
                pair = self._piece.layer(i)
                there = pair and (pair[0].to(self._device), pair[1].to(self._device))
                self._there[i] = there
                if len(self._there) == self._count:
                    self._piece = None
            return self._there[i]

    def expect(self, layers: Collection[int]) -> None:
        if (piece := self._piece) is not None:
            piece.expect(layers)

    def in_ram(self) -> Piece:
        piece = self._piece
        return piece.in_ram() if piece is not None else super().in_ram()


class _Growing:
    """Keys and values that began as shared parts and go on as this request's own."""

    def __init__(self, parts: Sequence[Pair]) -> None:
        self.parts: list[Pair] = list(parts)
        self.buffer: Pair | None = None
        self.length = sum(part[0].shape[-2] for part in parts)

    def append(self, keys: torch.Tensor, values: torch.Tensor) -> Pair:
        """All of them, with the new ones at the end."""
        fresh = keys.shape[-2]
        self.length += fresh
        if fresh > 1:  # a prefill: one contiguous copy
            whole = self._joined((keys, values))
            self.parts, self.buffer = [whole], None
            return whole
        if self.buffer is None or self.buffer[0].shape[-2] < self.length:
            whole = self._joined((keys, values))
            shape = list(whole[0].shape)
            shape[-2] = self.length + SPARE
            grown = tuple(one.new_empty([*shape[:-1], one.shape[-1]]) for one in whole)
            for room, one in zip(grown, whole, strict=True):
                room[..., : self.length, :] = one
            self.buffer, self.parts = (grown[0], grown[1]), []
        else:
            for room, new in zip(self.buffer, (keys, values), strict=True):
                room[..., self.length - 1 : self.length, :] = new
        return self.buffer[0][..., : self.length, :], self.buffer[1][..., : self.length, :]

    def _joined(self, new: Pair) -> Pair:
        parts = [*self.parts, new]
        if self.buffer is not None:
            kept = self.length - new[0].shape[-2]
            parts.insert(0, (self.buffer[0][..., :kept, :], self.buffer[1][..., :kept, :]))
        return torch.cat([p[0] for p in parts], dim=-2), torch.cat([p[1] for p in parts], dim=-2)


class SharedLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Attends to everything before: ``length`` tokens, whose parts are asked for when it runs."""

    def __init__(self, parts: Parts, length: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._before, self._length = parts, length
        self._growing: _Growing | None = None
        self.fresh: Pair | None = None
        """What the last forward computed."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> Pair:
        """Append, and return all."""
        if self._growing is None:
            self._growing, self._before = _Growing(self._before()), tuple  # and let go of them
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.fresh = key_states, value_states
        self.keys, self.values = self._growing.append(key_states, value_states)
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Tokens so far."""
        return self._length if self._growing is None else self._growing.length


class SharedWindowLayer(DynamicSlidingWindowLayer):  # type: ignore[no-untyped-call]
    """Attends to the last ``window`` tokens; ``length`` stand before, asked for when it runs."""

    def __init__(self, window: int, parts: Parts, length: int) -> None:
        super().__init__(sliding_window=window)
        self.fresh: Pair | None = None
        self._before: Parts | None = parts
        self._parts: list[Pair] = []
        self.cumulative_length = length

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> Pair:
        """Append, and return what the new tokens may attend to."""
        if self._before is not None:
            self._parts = _last(self._before(), self.sliding_window - 1)
            self._before = None
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.fresh = key_states, value_states
        self.cumulative_length += key_states.shape[-2]
        parts = [*self._parts, self.fresh]
        self.keys = torch.cat([part[0] for part in parts], dim=-2)
        self.values = torch.cat([part[1] for part in parts], dim=-2)
        self._parts = _last([(self.keys, self.values)], self.sliding_window - 1)
        return self.keys, self.values


def _last(parts: Sequence[Pair], tokens: int) -> list[Pair]:
    """The last so many tokens."""
    kept: list[Pair] = []
    for keys, values in reversed(parts):
        if tokens <= 0:
            break
        first = max(0, keys.shape[-2] - tokens)
        kept.append((keys[..., first:, :], values[..., first:, :]))
        tokens -= keys.shape[-2] - first
    return kept[::-1]


def why_not(config: Any) -> str:
    """Why a model's cache cannot be forked exactly, by its config; empty if nothing there forbids.

    Whether its code does what its config says is found by trying: see :mod:`.forking`.
    """
    if getattr(config, "is_encoder_decoder", False):
        return "it has an encoder"
    text = config.get_text_config(decoder=True)
    try:
        cache = DynamicCache(config=text)
    except Exception as error:  # noqa: BLE001 - a model's own code
        return f"its cache cannot be made from its config ({error})"
    allowed = (DynamicLayer, DynamicSlidingWindowLayer, DummyLayer)
    other = sorted({type(layer).__name__ for layer in cache.layers if type(layer) not in allowed})
    if other or not cache.layers:
        return f"its cache has layers of another kind: {', '.join(other) or 'none at all'}"
    if "chunked_attention" in (getattr(text, "layer_types", None) or ()):
        return "it attends in fixed chunks"
    for rope in _ropes(text):
        if rope in ("dynamic", "longrope"):
            return f"its rotary positions ({rope}) depend on the length of the prompt"
    return ""


def shortest_window(config: Any) -> int | None:
    """Tokens of a model's shortest sliding window, if it has any."""
    layers = DynamicCache(config=config.get_text_config(decoder=True)).layers
    return min(
        (int(one.sliding_window) for one in layers if type(one) is DynamicSlidingWindowLayer),
        default=None,
    )


def _ropes(config: Any) -> list[str]:
    given = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    nested = [one for one in given.values() if isinstance(one, dict)] or [given]
    return [str(one.get("rope_type", one.get("type", "default"))) for one in nested]


def fork(config: Any, pieces: Sequence[Piece]) -> DynamicCache:
    """A cache that begins with ``pieces``: a layer is read when it runs, and nothing is copied.

    What lies on disk is read ahead meanwhile. Reading the cache raises
    :class:`DamagedPieceError` if a piece is not what was written.
    """
    pieces = tuple(pieces)
    needed: dict[int, list[int]] = {}

    def parts(i: int, window: int | None) -> Parts:
        first = 0 if window is None else _first_reaching(pieces, window - 1)
        for at in range(first, len(pieces)):
            needed.setdefault(at, []).append(i)
        return partial(_pairs, pieces[first:], i)

    cache = standing(config, parts, sum(piece.tokens for piece in pieces))
    for at, which in needed.items():
        pieces[at].expect(which)
    return cache


def standing(config: Any, parts: Callable[[int, int | None], Parts], length: int) -> DynamicCache:
    """A cache that begins with ``length`` tokens.

    ``parts`` says, for a layer's number and its sliding window, what its keys and values are.
    """
    cache = DynamicCache(config=config.get_text_config(decoder=True))
    layers: list[Any] = []
    for i, layer in enumerate(cache.layers):
        if type(layer) is DynamicSlidingWindowLayer:
            window = layer.sliding_window
            layers.append(SharedWindowLayer(window, parts(i, window), length))
        elif type(layer) is DynamicLayer:
            layers.append(SharedLayer(parts(i, None), length))
        else:
            layers.append(layer)
    cache.layers = layers
    return cache


def _pairs(pieces: Sequence[Piece], i: int) -> list[Pair]:
    return [pair for piece in pieces if (pair := piece.layer(i)) is not None]


def _first_reaching(pieces: Sequence[Piece], tokens: int) -> int:
    """Where the last pieces begin that hold so many tokens: before, nothing is read on disk."""
    first = len(pieces)
    while first > 0 and tokens > 0:
        first -= 1
        tokens -= pieces[first].tokens
    return first


def fresh_piece(cache: DynamicCache, *, approximate: bool = False) -> Piece:
    """What the last forward added to a fork, as a piece of its own."""
    layers = [_own(getattr(layer, "fresh", None)) for layer in cache.layers]
    return Piece(layers, approximate=approximate)


def _own(pair: Pair | None) -> Pair | None:
    """Compact tensors that share memory with nothing."""
    if pair is None:
        return None
    keys, values = pair
    return keys.detach().contiguous().clone(), values.detach().contiguous().clone()
