"""A memory whose questions wait for a gate: it shows whether an event loop goes on meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from memos_integrations import MemorySession, MemOS
from memos_integrations.protocols import Vectors
from memos_integrations.testing import WordEmbedder


class WaitingEmbedder(WordEmbedder):
    """Embeds questions only once somebody else has opened the gate."""

    def __init__(self, gate: threading.Event) -> None:
        super().__init__()
        self._gate = gate

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return np.stack([super(WaitingEmbedder, self).embed_query(text) for text in texts])

    def embed_query(self, text: str) -> Vectors:
        if not self._gate.wait(20):
            raise TimeoutError("nobody opened the gate: the event loop stood still")
        return super().embed_query(text)


@pytest.fixture
def gate() -> threading.Event:
    return threading.Event()


@pytest.fixture
def waiting(open_store: Callable[..., MemOS], gate: threading.Event) -> MemorySession:
    return open_store(embedder=WaitingEmbedder(gate)).session("maya")
