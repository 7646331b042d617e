"""How memory is asked for: what callers say, read into drafts and memory calls."""

from __future__ import annotations

from memos_integrations.interface.reader import MemReader

__all__ = ["MemReader"]
