"""A cached piece as the tensors of one safetensors file, and read from there.

As computed, or in eight bits (see ``quantised``). Every layer has a hash over all that is stored
of it, which is checked when a request first needs that layer.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import xxhash

from memos_integrations.memories.activation.catalogue import Entry
from memos_integrations.memories.activation.loads import Loads
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


@dataclass(frozen=True)
class Place:
    """Where in a file one tensor of a layer lies."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int

    @property
    def end(self) -> int:
        """Where the next one may begin."""
        return self.start + math.prod(self.shape) * self.dtype.itemsize


class PieceOnDisk(Piece):
    """A piece in a file: mapped, and each layer checked when a request first needs it.

    ``loads`` counts how long that takes.
    """

    def __init__(self, path: Path, digest: str, entry: Entry, loads: Loads | None = None) -> None:
        self._path, self._digest, self._entry = path, digest, entry
        self._loads = Loads() if loads is None else loads
        self._lock = threading.Lock()
        self._read: dict[int, Pair] = {}
        self._mapped: torch.Tensor | None = None
        self.tokens, self.approximate = len(entry.tokens), entry.approximate
        self.nbytes = _bytes_in_memory(entry) if entry.approximate else entry.size
        self._at = {i: at for at, i in enumerate(entry.layers)}

    def __len__(self) -> int:
        return self._entry.count

    def layer(self, i: int) -> Pair | None:
        """Keys and values of one layer, checked; raises :class:`DamagedPieceError`."""
        if i not in self._at:
            return None
        with self._lock:
            if i not in self._read:
                started = time.perf_counter()
                pair = _pair(self._checked(i, self._map()), self._entry.dtype)
                self._loads.add(sum(one.nbytes for one in pair), time.perf_counter() - started)
                self._read[i] = pair
            return self._read[i]

    def expect(self, layers: Collection[int]) -> None:
        """Let the system begin to read these layers; raises :class:`DamagedPieceError`."""
        with self._lock:
            wanted = sorted(self._at[i] for i in self._at.keys() & set(layers) - self._read.keys())
            if not wanted:
                return
            self._map()
            places = [place for at in wanted for place in self._places[at]]
        _read_ahead(self._path, places)

    def in_ram(self) -> Piece:
        """The same as tensors of its own, which do not lie in the file."""
        pairs = [self.layer(i) for i in range(len(self))]
        own = [None if pair is None else (pair[0].clone(), pair[1].clone()) for pair in pairs]
        return Piece(own, approximate=self.approximate)

    def check(self) -> None:
        """Check all layers now; raises :class:`DamagedPieceError`."""
        with self._lock:
            for i in self._entry.layers:
                self._checked(i, self._map())

    @cached_property
    def _places(self) -> list[tuple[Place, ...]]:
        return _places_in(self._entry)

    def _checked(self, i: int, raw: torch.Tensor) -> Stored:
        places = self._places[self._at[i]]
        content: Any = raw.numpy()
        hasher = xxhash.xxh3_64(_kinds((place.shape, place.dtype) for place in places))
        for place in places:
            hasher.update(content[place.start : place.end])
        expected = self._entry.sums[self._at[i]]
        if hasher.hexdigest() != expected or places[0].shape[-2] != self.tokens:
            raise DamagedPieceError(self._digest, f"layer {i} is not what was written")
        return tuple(raw[one.start : one.end].view(one.dtype).view(one.shape) for one in places)

    def _map(self) -> torch.Tensor:
        """All of the file, mapped once."""
        if self._mapped is None:
            try:
                size = self._entry.size
                if self._path.stat().st_size != size:
                    raise ValueError("its size has changed")
                if any(one.end > size for places in self._places for one in places):
                    raise ValueError("it is shorter than its header says")
                self._mapped = torch.from_file(str(self._path), size=size, dtype=torch.uint8)
            except (OSError, RuntimeError, KeyError, ValueError, IndexError) as error:
                raise DamagedPieceError(self._digest, f"it cannot be read ({error})") from error
        return self._mapped


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
    hasher = xxhash.xxh3_64(_kinds((tuple(one.shape), one.dtype) for one in stored))
    for one in stored:
        content: Any = one.contiguous().view(-1).view(torch.uint8).numpy()
        hasher.update(content)
    return hasher.hexdigest()


def _kinds(tensors: Iterable[tuple[tuple[int, ...], torch.dtype]]) -> bytes:
    return repr([(shape, str(dtype)) for shape, dtype in tensors]).encode()


def _places_in(entry: Entry) -> list[tuple[Place, ...]]:
    """Of each layer that is there: what :func:`stored_in` finds, without opening the file."""
    found = {
        name: Place(_DTYPES[kind], tuple(shape), start)
        for name, (kind, shape, start) in entry.tensors.items()
    }
    if "kv" in found:
        whole = found["kv"]
        one = Place(whole.dtype, whole.shape[2:], whole.start)
        size = one.end - one.start
        starts = range(whole.start, whole.end, 2 * size)
        return [(replace(one, start=at), replace(one, start=at + size)) for at in starts]
    return [
        tuple(found[name] for name in (f"k{i}", f"v{i}", f"ks{i}", f"vs{i}") if name in found)
        for i in entry.layers
    ]


def _read_ahead(path: Path, places: Sequence[Place]) -> None:
    """Tell the system what will be read, stretch by stretch, in this order."""
    if not hasattr(os, "posix_fadvise"):  # not on every system: then it is read when needed
        return
    with path.open("rb", buffering=0) as file:
        start, end = places[0].start, places[0].end
        for place in places[1:]:
            if place.start != end:
                os.posix_fadvise(file.fileno(), start, end - start, os.POSIX_FADV_WILLNEED)
                start = place.start
            end = place.end
        os.posix_fadvise(file.fileno(), start, end - start, os.POSIX_FADV_WILLNEED)


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
