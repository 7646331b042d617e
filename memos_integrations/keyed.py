"""Memories under keys: what a key-value store and a chat history need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from memos_integrations.checks import Namespace
from memos_integrations.cube import Draft, MemCube


@dataclass(frozen=True)
class KeyedDraft:
    """What is to stand under a key."""

    namespace: Namespace
    key: str
    draft: Draft | None
    """``None`` takes away what stands there."""
    spans: Sequence[tuple[int, int]] = ()
    """The pieces of the text that it is found by, ``text[start:stop]``; none: it is not searched.

    Its nearness to a question is that of the nearest piece.
    """
    ttl: timedelta | None = None
    """How long it lives from the last time it was written or used; ``None``: for good."""
    new: bool = False
    """The key was made just now, so nothing can stand there: it need not be looked for."""
    release: bool = False
    """With no draft: take the key away, and leave the memory without one if it is searched."""


@dataclass(frozen=True)
class KeyedMemory:
    """What stands under a key."""

    namespace: Namespace
    key: str
    cube: MemCube
    created_at: datetime
    """When the key was first written; ``cube.created_at`` is the last time."""
    ttl: timedelta | None
    pk: int
    """Internal."""
    score: float | None = None
    """Cosine to the question; ``None`` without a question, or if it is not searched."""
