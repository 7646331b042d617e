"""Cached pieces in a folder: one safetensors file each, checked by hash where it is read.

Everything here is derived. Deleting the folder, or any file of it, loses nothing but time.
"""

from __future__ import annotations

import json
import logging
import math
import queue
import threading
import uuid
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
import xxhash
from safetensors import SafetensorError
from safetensors.torch import save_file

from memos_integrations.memories.activation.catalogue import FORMAT, Catalogue, Entry
from memos_integrations.memories.activation.prefix_tree import Node
from memos_integrations.memories.activation.segments import Source
from memos_integrations.memories.activation.tensors import DamagedPieceError, Pair, Piece

log = logging.getLogger(__name__)

GIB = 1 << 30


class FolderTier:
    """Keeps pieces in a folder, at most ``budget`` bytes; what was not used longest goes first.

    Writing happens in a thread of its own: a request never waits for the disk. A full disk, or a
    damaged file, is logged and counted, and costs a prefill. Thread-safe; one process a folder.
    """

    def __init__(
        self, catalogue: Catalogue | Path, *, budget: int = 20 * GIB, pending: int = 64
    ) -> None:
        self.catalogue = Catalogue(catalogue) if isinstance(catalogue, Path) else catalogue
        self.budget = budget
        self.damaged = 0
        """Pieces that were not what had been written."""
        self.unwritten = 0
        """Pieces that were not written: a full disk, or a writer far behind."""
        self._jobs: queue.Queue[Node[Piece] | None] = queue.Queue(pending)
        self._writer = threading.Thread(target=self._write_all, name="memos-kv", daemon=True)
        self._writer.start()

    def load(self, digest: str, tokens: Sequence[int]) -> tuple[Piece, frozenset[Source]] | None:
        """The piece and every memory up to its end; ``None`` if it is not there, or damaged."""
        entry = self.catalogue.touch(digest)
        if entry is None:
            return None
        if entry.tokens != tuple(tokens):
            self.lost(DamagedPieceError(digest, "it holds other tokens"))
            return None
        return PieceOnDisk(self.catalogue.path(digest), digest, entry), entry.sources

    def save(self, node: Node[Piece]) -> None:
        """Write a piece soon; when the writer is far behind, it is left out."""
        if node.digest in self.catalogue:
            return
        self.catalogue.welcome(node.digest)
        try:
            self._jobs.put_nowait(node)
        except queue.Full:
            self.unwritten += 1

    def remove(self, digests: Collection[str]) -> None:
        """Delete pieces; also those that wait to be written."""
        self.catalogue.remove(digests)

    def remove_cubes(self, cube_ids: Collection[str]) -> list[str]:
        """Delete every piece that knows one of these memories; return their digests."""
        return self.catalogue.remove_cubes(cube_ids)

    def lost(self, error: DamagedPieceError) -> None:
        """A piece that was loaded turned out to be damaged: it is deleted."""
        log.warning("%s: removed, and computed again", error)
        self.damaged += 1
        self.catalogue.remove([error.digest])

    def flush(self) -> None:
        """Return when everything that waits is written."""
        self._jobs.join()

    def close(self) -> None:
        """Write what waits, and end the writer."""
        self._jobs.put(None)
        self._writer.join()

    def _write_all(self) -> None:
        while (node := self._jobs.get()) is not None:
            try:
                self._write(node)
            except (OSError, SafetensorError) as error:
                self.unwritten += 1
                log.warning("cached piece not written, it stays in memory: %s", error)
            finally:
                self._jobs.task_done()
                del node
        self._jobs.task_done()

    def _write(self, node: Node[Piece]) -> None:
        if node.gone or not self.catalogue.wanted(node.digest):
            return
        layers, tensors = _packed(node.payload)
        self.catalogue.make_room(node.payload.nbytes, self.budget)
        metadata = {
            "format": FORMAT,
            "tokens": json.dumps(node.tokens),
            "count": str(len(node.payload)),
            "layers": json.dumps(layers),
            "sources": json.dumps(sorted([s.cube_id, s.version] for s in node.sources)),
            "sums": json.dumps([_sum(pair) for pair in _pairs(layers, tensors)]),
        }
        aside = self.catalogue.path(node.digest).with_name(f"{uuid.uuid4().hex}.part")
        aside.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(tensors, aside, metadata)
            if not node.gone:
                self.catalogue.place(node.digest, aside)
        finally:
            aside.unlink(missing_ok=True)


class PieceOnDisk(Piece):
    """A piece in a file: mapped, and each layer checked when a request first needs it."""

    def __init__(self, path: Path, digest: str, entry: Entry) -> None:
        self._path, self._digest, self._entry = path, digest, entry
        self._lock = threading.Lock()
        self._read: dict[int, Pair] = {}
        self._mapped: list[Pair] | None = None
        self.tokens, self.nbytes = len(entry.tokens), entry.size

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
                pair = self._mapped[at]
                if _sum(pair) != self._entry.sums[at] or pair[0].shape[-2] != self.tokens:
                    raise DamagedPieceError(self._digest, f"layer {i} is not what was written")
                self._read[i] = pair
            return self._read[i]

    def _map(self) -> list[Pair]:
        try:
            if self._path.stat().st_size != self._entry.size:
                raise ValueError("its size has changed")
            raw = torch.from_file(str(self._path), size=self._entry.size, dtype=torch.uint8)
            tensors = {}
            for name, (kind, shape, start) in self._entry.tensors.items():
                dtype = _DTYPES[kind]
                size = math.prod(shape) * dtype.itemsize
                tensors[name] = raw[start : start + size].view(dtype).view(shape)
            return _pairs(self._entry.layers, tensors)
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise DamagedPieceError(self._digest, f"it cannot be read ({error})") from error


_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "F64": torch.float64}


def _packed(piece: Piece) -> tuple[list[int], dict[str, torch.Tensor]]:
    """The layers that are there, and their tensors: all in one where their shapes are the same.

    That is ``(layers, 2, 1, heads, tokens, head_dim)``: a layer is one stretch of bytes.
    """
    pairs = {i: pair for i in range(len(piece)) if (pair := piece.layer(i)) is not None}
    same = {(t.shape, t.dtype) for pair in pairs.values() for t in pair}
    if len(same) == 1:
        whole = torch.stack([torch.stack([t.cpu() for t in pair]) for pair in pairs.values()])
        return list(pairs), {"kv": whole}
    each = {}
    for i, (keys, values) in pairs.items():
        each[f"k{i}"], each[f"v{i}"] = keys.cpu().contiguous(), values.cpu().contiguous()
    return list(pairs), each


def _pairs(layers: Sequence[int], tensors: dict[str, torch.Tensor]) -> list[Pair]:
    """Keys and values of each layer that is there."""
    if "kv" in tensors:
        return [(one[0], one[1]) for one in tensors["kv"]]
    return [(tensors[f"k{i}"], tensors[f"v{i}"]) for i in layers]


def _sum(pair: Pair) -> str:
    """A hash of keys and values, with their shapes."""
    hasher = xxhash.xxh3_64(repr([tuple(one.shape) for one in pair]).encode())
    for one in pair:
        content: Any = one.contiguous().view(-1).view(torch.uint8).numpy()
        hasher.update(content)
    return hasher.hexdigest()
