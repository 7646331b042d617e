"""What others may use to test against this package: fakes with no model and no wall clock."""

from __future__ import annotations

from memos_integrations.testing.fakes import (
    CountingIds,
    ExactIndex,
    FakeClock,
    HangingIndex,
    WordEmbedder,
)

__all__ = ["CountingIds", "ExactIndex", "FakeClock", "HangingIndex", "WordEmbedder"]
