"""Cached pieces in a folder: one safetensors file each, checked by hash where it is read.

Everything here is derived. Deleting the folder, or any file of it, loses nothing but time.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError
from safetensors.torch import save_file

from memos_integrations.errors import InvalidInputError
from memos_integrations.memories.activation.catalogue import FORMAT, Catalogue, signed
from memos_integrations.memories.activation.faults import warn
from memos_integrations.memories.activation.loads import Loads
from memos_integrations.memories.activation.piece_files import (
    PieceOnDisk,
    dtype_of,
    packed,
    packed_in_eight_bits,
    stored_in,
    sum_of,
)
from memos_integrations.memories.activation.prefix_tree import Node
from memos_integrations.memories.activation.segments import Source
from memos_integrations.memories.activation.tensors import DamagedPieceError, Piece

log = logging.getLogger(__name__)

GIB = 1 << 30


class FolderTier:
    """Keeps pieces in a folder, at most ``budget`` bytes; what was not used longest goes first.

    Writing happens in a thread of its own: a request never waits for the disk. A full disk, or a
    damaged file, is logged and counted, and costs a prefill. Thread-safe; one process a folder.

    ``dtype="int8"``: keys and values are rounded to eight bits, so what is read from here is
    near-exact, and says so (``Piece.approximate``). By default they are kept as computed.
    """

    def __init__(
        self,
        catalogue: Catalogue | Path,
        *,
        budget: int = 20 * GIB,
        pending: int = 64,
        dtype: Literal["int8"] | None = None,
    ) -> None:
        if dtype not in (None, "int8"):
            raise InvalidInputError(f"dtype is {dtype!r}: give 'int8', or None for as computed")
        self.catalogue = Catalogue(catalogue) if isinstance(catalogue, Path) else catalogue
        self.budget = budget
        self.dtype: str | None = dtype
        self.loads = Loads()
        """How fast pieces are read from here."""
        self.damaged = 0
        """Pieces that were not what had been written."""
        self.unwritten = 0
        """Pieces that were not written: a full disk, or a writer far behind."""
        self.written: Callable[[str], None] = lambda digest: None
        """Called with the digest of each piece that has been written."""
        self._told: set[frozenset[tuple[str, str]]] = set()
        self._jobs: queue.Queue[tuple[Node[Piece], Mapping[str, str]] | None] = queue.Queue(pending)
        self._writer = threading.Thread(target=self._write_all, name="memos-kv", daemon=True)
        self._writer.start()

    def load(self, digest: str, tokens: Sequence[int]) -> tuple[Piece, frozenset[Source]] | None:
        """The piece and every memory up to its end; ``None`` if it is not there, or damaged."""
        entry = self.catalogue.touch(digest)
        if entry is None or entry.approximate != (self.dtype is not None):
            return None
        if entry.tokens != tuple(tokens):
            self.lost(DamagedPieceError(digest, "it holds other tokens"))
            return None
        path = self.catalogue.path(digest)
        return PieceOnDisk(path, digest, entry, self.loads), entry.sources

    def save(self, node: Node[Piece], model: Mapping[str, str] | None = None) -> None:
        """Write a piece soon; when the writer is far behind, it is left out."""
        if node.digest in self.catalogue:
            return
        self._tell_of_others(model or {})
        self.catalogue.welcome(node.digest)
        try:
            self._jobs.put_nowait((node, model or {}))
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
        warn(log, "%s: removed, and computed again", error)
        self.damaged += 1
        self.catalogue.remove([error.digest])

    def aside(self, digest: str) -> Path:
        """A name for a file that will become a piece; leftovers go at the next start."""
        path = self.catalogue.path(digest).with_name(f"{uuid.uuid4().hex}.part")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def adopt(self, digest: str, aside: Path) -> bool:
        """Take in a file that was written elsewhere, unless the piece was removed meanwhile."""
        self.catalogue.make_room(aside.stat().st_size, self.budget)
        return self.catalogue.place(digest, aside)

    def flush(self) -> None:
        """Return when everything that waits is written."""
        self._jobs.join()

    def close(self) -> None:
        """Write what waits, and end the writer."""
        self._jobs.put(None)
        self._writer.join()

    def _tell_of_others(self, model: Mapping[str, str]) -> None:
        """Once for each model: what lies here was computed with another tokenizer, say."""
        said = frozenset(model.items())
        if said in self._told:
            return
        self._told.add(said)
        for what, count in self.catalogue.unlike(model).items():
            warn(
                log,
                "%d cached pieces of %s were computed with another %s: not read, computed again",
                count,
                model["name"],
                what,
            )

    def _write_all(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                self._write(*job)
            except (OSError, SafetensorError) as error:
                self.unwritten += 1
                warn(log, "cached piece not written, it stays in memory: %s", error)
            finally:
                self._jobs.task_done()
                del job
        self._jobs.task_done()

    def _write(self, node: Node[Piece], model: Mapping[str, str]) -> None:
        if node.gone or not self.catalogue.wanted(node.digest):
            return
        layers, tensors = (packed_in_eight_bits if self.dtype else packed)(node.payload)
        self.catalogue.make_room(sum(one.nbytes for one in tensors.values()), self.budget)
        metadata = {
            "format": FORMAT,
            "digest": node.digest,
            "tokens": json.dumps(node.tokens),
            "count": str(len(node.payload)),
            "layers": json.dumps(layers),
            "sources": json.dumps(sorted([s.cube_id, s.version] for s in node.sources)),
            "sums": json.dumps([sum_of(one) for one in stored_in(layers, tensors)]),
            "dtype": dtype_of(node.payload),
            "kept_as": self.dtype or "",
            "model": json.dumps(dict(model)),
        }
        aside = self.aside(node.digest)
        try:
            save_file(tensors, aside, signed(metadata))
            placed = not node.gone and self.catalogue.place(node.digest, aside)
        finally:
            aside.unlink(missing_ok=True)
        if placed:
            self.written(node.digest)
