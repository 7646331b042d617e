"""Cached pieces in a folder: one safetensors file each, checked by hash where it is read.

Everything here is derived. Deleting the folder, or any file of it, loses nothing but time.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import uuid
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from memos_integrations.memories.activation.catalogue import FORMAT, Catalogue, header, sources_of
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
        if not self.catalogue.touch(digest):
            return None
        try:
            piece = PieceOnDisk(self.catalogue.path(digest), digest)
            if piece.written_for != list(tokens):
                raise DamagedPieceError(digest, "it holds other tokens")
        except DamagedPieceError as error:
            self.lost(error)
            return None
        return piece, piece.sources

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
        tensors = dict(_named(node.payload))
        self.catalogue.make_room(node.payload.nbytes, self.budget)
        metadata = {
            "format": FORMAT,
            "tokens": json.dumps(node.tokens),
            "layers": str(len(node.payload)),
            "sources": json.dumps(sorted([s.cube_id, s.version] for s in node.sources)),
            "sums": json.dumps({name: _sum(tensor) for name, tensor in tensors.items()}),
        }
        aside = self.catalogue.path(node.digest).with_name(f"{uuid.uuid4().hex}.part")
        aside.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(tensors, aside, metadata)
            if not node.gone:
                self.catalogue.place(node.digest, aside, node.sources)
        finally:
            aside.unlink(missing_ok=True)


class PieceOnDisk(Piece):
    """A piece in a file: each layer is mapped and checked when a request first needs it."""

    def __init__(self, path: Path, digest: str) -> None:
        self._digest = digest
        self._lock = threading.Lock()
        self._read: dict[int, Pair | None] = {}
        try:
            about = header(path)
            self._file: Any = safe_open(path, framework="pt")
            self.written_for: list[int] = json.loads(about["tokens"])
            self.sources = sources_of(about)
            self._sums: dict[str, str] = json.loads(about["sums"])
            self._count = int(about["layers"])
            self.tokens = len(self.written_for)
            self.nbytes = path.stat().st_size
            if set(self._sums) != set(self._file.keys()):  # type: ignore[no-untyped-call]
                raise DamagedPieceError(digest, "tensors are missing")
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise DamagedPieceError(digest, f"it cannot be read ({error})") from error

    def __len__(self) -> int:
        return self._count

    def layer(self, i: int) -> Pair | None:
        """Keys and values of one layer, checked; raises :class:`DamagedPieceError`."""
        with self._lock:
            if i not in self._read:
                there = f"k{i}" in self._sums
                self._read[i] = (self._tensor(f"k{i}"), self._tensor(f"v{i}")) if there else None
            return self._read[i]

    def _tensor(self, name: str) -> torch.Tensor:
        try:
            tensor: torch.Tensor = self._file.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise DamagedPieceError(self._digest, f"{name} cannot be read ({error})") from error
        if _sum(tensor) != self._sums[name] or tensor.shape[-2] != self.tokens:
            raise DamagedPieceError(self._digest, f"{name} is not what was written")
        return tensor


def _named(piece: Piece) -> Iterator[tuple[str, torch.Tensor]]:
    for i in range(len(piece)):
        pair = piece.layer(i)
        if pair is not None:
            yield f"k{i}", pair[0].cpu()
            yield f"v{i}", pair[1].cpu()


def _sum(tensor: torch.Tensor) -> str:
    flat = tensor.contiguous().view(-1).view(torch.uint8)
    content: Any = flat.numpy()
    return xxhash.xxh3_64_hexdigest(content)
