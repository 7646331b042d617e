"""A cached piece as the tensors of one safetensors file, and read from there.

As computed, or in eight bits (see ``quantised``). Every layer has a hash over all that is stored
of it, which is checked when a request first needs that layer.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import xxhash

from memos_integrations.memories.activation.catalogue import Entry
from memos_integrations.memories.activation.quantised import (
    Quantised,
    can_be_quantised,
    quantise,
    restore,
)
from memos_integrations.memories.activation.tensors import DamagedPieceError, Pair, Piece

Stored = tuple[torch.Tensor, ...]
"""What a file holds of one layer: keys and values, and their scales where they are rounded."""

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I8": torch.int8,
}


class PieceOnDisk(Piece):
    """A piece in a file: mapped, and each layer checked when a request first needs it."""

    def __init__(self, path: Path, digest: str, entry: Entry) -> None:
        self._path, self._digest, self._entry = path, digest, entry
        self._lock = threading.Lock()
        self._read: dict[int, Pair] = {}
        self._mapped: list[Stored] | None = None
        self.tokens, self.approximate = len(entry.tokens), entry.approximate
        self.nbytes = _bytes_in_memory(entry) if entry.approximate else entry.size

    def __len__(self) -> int:
        return self._entry.count

    def layer(self, i: int) -> Pair | None:
        """Keys and values of one layer, checked; raises :class:`DamagedPieceError`."""
        if i not in self._entry.layers:
            return None
        with self._lock:
            if i not in self._read:
                at = self._entry.layers.index(i)
                if self._mapped is None:
                    self._mapped = self._map()
                self._read[i] = _pair(self._check(i, at, self._mapped[at]), self._entry.dtype)
            return self._read[i]

    def check(self) -> None:
        """Check all layers now; raises :class:`DamagedPieceError`."""
        for at, stored in enumerate(self._map()):
            self._check(self._entry.layers[at], at, stored)

    def _check(self, i: int, at: int, stored: Stored) -> Stored:
        if sum_of(stored) != self._entry.sums[at] or stored[0].shape[-2] != self.tokens:
            raise DamagedPieceError(self._digest, f"layer {i} is not what was written")
        return stored

    def _map(self) -> list[Stored]:
        try:
            if self._path.stat().st_size != self._entry.size:
                raise ValueError("its size has changed")
            raw = torch.from_file(str(self._path), size=self._entry.size, dtype=torch.uint8)
            tensors = {}
            for name, (kind, shape, start) in self._entry.tensors.items():
                dtype = _DTYPES[kind]
                size = math.prod(shape) * dtype.itemsize
                tensors[name] = raw[start : start + size].view(dtype).view(shape)
            return stored_in(self._entry.layers, tensors)
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise DamagedPieceError(self._digest, f"it cannot be read ({error})") from error


def packed(piece: Piece) -> tuple[list[int], dict[str, torch.Tensor]]:
    """The layers that are there, and their tensors: all in one where their shapes are the same.

    That is ``(layers, 2, 1, heads, tokens, head_dim)``: a layer is one stretch of bytes.
    """
    pairs = _layers(piece)
    same = {(t.shape, t.dtype) for pair in pairs.values() for t in pair}
    if len(same) == 1:
        return list(pairs), {"kv": torch.stack([torch.stack(pair) for pair in pairs.values()])}
    each = {}
    for i, (keys, values) in pairs.items():
        each[f"k{i}"], each[f"v{i}"] = keys.contiguous(), values.contiguous()
    return list(pairs), each


def packed_in_eight_bits(piece: Piece) -> tuple[list[int], dict[str, torch.Tensor]]:
    """As :func:`packed`, rounded; a layer that cannot be rounded is kept as it is."""
    pairs = _layers(piece)
    each: dict[str, torch.Tensor] = {}
    for i, pair in pairs.items():
        stored: Stored = quantise(pair) if can_be_quantised(pair) else pair
        names = (f"k{i}", f"v{i}", f"ks{i}", f"vs{i}")
        each |= {name: one.contiguous() for name, one in zip(names, stored, strict=False)}
    return list(pairs), each


def dtype_of(piece: Piece) -> str:
    """The data type that keys and values were computed in, by safetensors' name."""
    names = {dtype: name for name, dtype in _DTYPES.items()}
    return names[next(iter(_layers(piece).values()))[0].dtype]


def stored_in(layers: Sequence[int], tensors: Mapping[str, torch.Tensor]) -> list[Stored]:
    """What is stored of each layer that is there."""
    if "kv" in tensors:
        return [(one[0], one[1]) for one in tensors["kv"]]
    rounded = [(f"ks{i}", f"vs{i}") if f"ks{i}" in tensors else () for i in layers]
    return [
        tuple(tensors[name] for name in (f"k{i}", f"v{i}", *scales))
        for i, scales in zip(layers, rounded, strict=True)
    ]


def sum_of(stored: Stored) -> str:
    """A hash of all that is stored of a layer, with the shapes and data types."""
    kinds = [(tuple(one.shape), str(one.dtype)) for one in stored]
    hasher = xxhash.xxh3_64(repr(kinds).encode())
    for one in stored:
        content: Any = one.contiguous().view(-1).view(torch.uint8).numpy()
        hasher.update(content)
    return hasher.hexdigest()


def _layers(piece: Piece) -> dict[int, Pair]:
    """The layers that keep anything, on the CPU."""
    found = {i: pair for i in range(len(piece)) if (pair := piece.layer(i)) is not None}
    return {i: (keys.cpu(), values.cpu()) for i, (keys, values) in found.items()}


def _pair(stored: Stored, dtype: str) -> Pair:
    if len(stored) == 2:
        return stored[0], stored[1]
    return restore(Quantised(*stored), _DTYPES[dtype])


def _bytes_in_memory(entry: Entry) -> int:
    """Of a rounded piece, when all of it is restored."""
    width = _DTYPES[entry.dtype].itemsize
    return sum(
        math.prod(shape) * (width if kind == "I8" else _DTYPES[kind].itemsize)
        for name, (kind, shape, _) in entry.tensors.items()
        if not name.startswith(("ks", "vs"))
    )
