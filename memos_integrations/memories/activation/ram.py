"""Cached pieces in RAM, between a model's device and the folder: what the device has no room for.

A GPU reads RAM many times as fast as a disk. On a CPU the prefix tree lies in RAM already, so this
tier is off there unless asked for.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from memos_integrations.errors import InvalidInputError
from memos_integrations.memories.activation.faults import warn
from memos_integrations.memories.activation.loads import Loads
from memos_integrations.memories.activation.prefix_tree import Node
from memos_integrations.memories.activation.segments import Source
from memos_integrations.memories.activation.tensors import DamagedPieceError, Piece
from memos_integrations.memories.activation.tier import Tier

log = logging.getLogger(__name__)

RAM_BUDGET = 4 << 30
"""Bytes, for a model that is not on the CPU, unless others are given."""


@dataclass(eq=False)
class _Kept:
    """A piece in RAM, or on its way there."""

    tokens: tuple[int, ...]
    piece: Piece
    sources: frozenset[Source]
    """Of this piece and of everything before it."""
    parent: str | None
    """The digest of the piece before it."""


@dataclass(frozen=True)
class RamStats:
    """What is there, and what happened so far."""

    pieces: int
    bytes: int
    hits: int
    """Pieces that were found here."""
    evicted: int
    """Pieces that went for others."""
    left_out: int
    """Pieces that were not taken in: larger than the budget, or the copying far behind."""


class RamTier:
    """A :class:`Tier` over the one ``below``: keeps what the tree evicts, ``budget`` bytes of it.

    What was used longest ago goes first, and a piece not before those that stand on it. Copying
    from the device happens in a thread of its own; until it is done, a piece is served from where
    it was. What is found here stays here, too. Thread-safe.

    Raises :class:`InvalidInputError` for a budget below one byte.
    """

    def __init__(self, below: Tier | None = None, *, budget: int, pending: int = 32) -> None:
        if isinstance(budget, bool) or budget < 1:
            raise InvalidInputError(f"the budget in RAM is {budget!r}: give bytes, from 1 on")
        self.below, self.budget = below, budget
        self.dtype: str | None = below.dtype if below is not None else None
        self.loads = below.loads if below is not None else Loads()
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # what was used last stands last
        self._bytes = self._hits = self._evicted = self._left_out = 0
        self._coming: queue.Queue[tuple[str, _Kept] | None] = queue.Queue(pending)
        self._copier = threading.Thread(target=self._copy_all, name="memos-kv-ram", daemon=True)
        self._copier.start()

    # What the engine calls ----------------------------------------------------------------

    def keep(self, node: Node[Piece]) -> None:
        """Take in what the tree evicts; returns at once, and calls nobody."""
        parent = node.parent.digest if node.parent is not None else None
        kept = _Kept(node.tokens, node.payload, node.sources, parent)
        with self._lock:
            if node.digest in self._kept:
                self._touch(node.digest)
                return
            if node.payload.nbytes > self.budget:
                self._left_out += 1
                return
            try:
                self._coming.put_nowait((node.digest, kept))
            except queue.Full:
                self._left_out += 1
                return
            self._kept[node.digest] = kept
            self._bytes += kept.piece.nbytes
            self._touch(node.digest)
            self._shrink()

    def load(self, digest: str, tokens: Sequence[int]) -> tuple[Piece, frozenset[Source]] | None:
        """The piece and every memory up to its end, from here, or else from below."""
        with self._lock:
            kept = self._kept.get(digest)
            if kept is not None and kept.tokens == tuple(tokens):
                self._touch(digest)
                self._hits += 1
                return kept.piece, kept.sources
        return self.below.load(digest, tokens) if self.below is not None else None

    def save(self, node: Node[Piece], model: Mapping[str, str] | None = None) -> None:
        """Below; here it comes when the tree evicts it."""
        if self.below is not None:
            self.below.save(node, model)

    def remove(self, digests: Collection[str]) -> None:
        """Delete pieces, here and below."""
        self._remove(digests)
        if self.below is not None:
            self.below.remove(digests)

    def remove_cubes(self, cube_ids: Collection[str]) -> list[str]:
        """Delete every piece that knows one of these memories, here and below; their digests."""
        wanted = set(cube_ids)
        found = self._remove_if(lambda source: source.cube_id in wanted)
        below = self.below.remove_cubes(cube_ids) if self.below is not None else ()
        return [*dict.fromkeys((*found, *below))]

    def drop(self, sources: Collection[Source]) -> list[str]:
        """Delete every piece here that knows one of these versions; their digests."""
        wanted = set(sources)
        return self._remove_if(lambda source: source in wanted)

    def lost(self, error: DamagedPieceError) -> None:
        """A piece that was loaded turned out to be damaged below."""
        self._remove([error.digest])
        if self.below is not None:
            self.below.lost(error)

    def clear(self) -> None:
        """Forget every piece here; what lies below stays."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0

    # Looking, waiting, closing ------------------------------------------------------------

    def stats(self) -> RamStats:
        """Counts so far."""
        with self._lock:
            return RamStats(len(self._kept), self._bytes, self._hits, self._evicted, self._left_out)

    def sources(self) -> frozenset[Source]:
        """The memories that something here was made of."""
        with self._lock:
            return frozenset().union(*(kept.sources for kept in self._kept.values()))

    def flush(self) -> None:
        """Return when everything that waits is copied, and written below."""
        self._coming.join()
        if (flush := getattr(self.below, "flush", None)) is not None:
            flush()

    def close(self) -> None:
        """End the copying, and close what is below."""
        self._coming.put(None)
        self._copier.join()
        if (close := getattr(self.below, "close", None)) is not None:
            close()

    # Copying ------------------------------------------------------------------------------

    def _copy_all(self) -> None:
        while (job := self._coming.get()) is not None:
            try:
                self._copy(*job)
            except DamagedPieceError as error:
                self.lost(error)
            except (MemoryError, RuntimeError) as error:  # torch says so when memory is full
                warn(log, "cached piece not kept in RAM: %s", error)
                self._remove([job[0]])
            finally:
                self._coming.task_done()
                del job
        self._coming.task_done()

    def _copy(self, digest: str, kept: _Kept) -> None:
        """Unless it was removed meanwhile; then nothing of it stays."""
        if self._kept.get(digest) is not kept:
            return
        here = kept.piece.in_ram()
        with self._lock:
            if self._kept.get(digest) is kept:
                self._bytes += here.nbytes - kept.piece.nbytes
                kept.piece = here
                self._shrink()

    # Under the lock, or taking it ---------------------------------------------------------

    def _touch(self, digest: str | None) -> None:
        """It is used now, and so is all that it stands on."""
        while digest is not None and (kept := self._kept.get(digest)) is not None:
            self._kept.move_to_end(digest)
            digest = kept.parent

    def _shrink(self) -> None:
        while self._bytes > self.budget:
            _, kept = self._kept.popitem(last=False)
            self._bytes -= kept.piece.nbytes
            self._evicted += 1

    def _remove_if(self, doomed: Callable[[Source], bool]) -> list[str]:
        with self._lock:
            found = [one for one, kept in self._kept.items() if any(map(doomed, kept.sources))]
            self._pop(found)
        return found

    def _remove(self, digests: Collection[str]) -> None:
        with self._lock:
            self._pop(digests)

    def _pop(self, digests: Collection[str]) -> None:
        for digest in digests:
            if (kept := self._kept.pop(digest, None)) is not None:
                self._bytes -= kept.piece.nbytes


def ram_for(device: str, below: Tier | None, budget: int | None) -> RamTier | None:
    """The tier for a model on this type of device, ``budget`` bytes; 0: none.

    ``None``: :data:`RAM_BUDGET`, and none on a CPU, where the tree lies in RAM itself.
    """
    if budget is None:
        budget = 0 if device == "cpu" else RAM_BUDGET
    return RamTier(below, budget=budget) if budget != 0 else None
