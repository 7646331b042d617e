"""What the engine asks of a place for pieces below memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from memos_integrations.memories.activation.loads import Loads
from memos_integrations.memories.activation.prefix_tree import Node
from memos_integrations.memories.activation.segments import Source
from memos_integrations.memories.activation.tensors import DamagedPieceError, Piece


class Tier(Protocol):
    """A place for pieces below memory, such as a folder. Thread-safe."""

    dtype: str | None
    """``None``: what is loaded is bit for bit what was saved; else what it is rounded to."""

    loads: Loads
    """How fast pieces are read from there."""

    def load(self, digest: str, tokens: Sequence[int]) -> tuple[Piece, frozenset[Source]] | None:
        """The piece and every memory up to its end; ``None`` if it is not there, or damaged."""
        ...

    def save(self, node: Node[Piece], model: Mapping[str, str] | None = None) -> None:
        """Keep a piece, and whose it is; never raises, and may do so later."""
        ...

    def remove(self, digests: Collection[str]) -> None:
        """Delete pieces."""
        ...

    def remove_cubes(self, cube_ids: Collection[str]) -> Collection[str]:
        """Delete every piece that knows one of these memories; return their digests."""
        ...

    def lost(self, error: DamagedPieceError) -> None:
        """A piece that was loaded turned out to be damaged: delete it."""
        ...
