"""Which memories may not be served from a cache, asked at the moment of use. No torch here."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from memos_integrations.memories.activation.segments import Source


class Gate(Protocol):
    """Says which of these memories may not be served."""

    def __call__(self, sources: Collection[Source]) -> Collection[Source]: ...


def allow(sources: Collection[Source]) -> Collection[Source]:
    """All may be served."""
    return ()
