"""Our store and LangGraph's own in memory, against the conformance suite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from langgraph.store.memory import InMemoryStore

from memos_integrations import IndexPolicy, MemOS
from memos_integrations.langchain import MemOSStore
from memos_integrations.testing import FakeClock
from memos_integrations.testing.store_conformance import StoreConformance, WordHashEmbeddings
from memos_integrations.testing.store_conformance_base import StoreSuite
from memos_integrations.testing.store_conformance_search import MeaningTests


class TestInMemoryStore(StoreConformance):
    quirks = frozenset(
        {
            "aliased-values",
            "bool-equals-int",
            "created-at-reset",
            "duplicate-text",
            "empty-namespaces",
            "not-thread-safe",
            "numeric-order-only",
            "order-raises",
            "raw-ops-unchecked",
            "reads-create-namespaces",
            "stale-vectors",
            "unscored-repeated",
            "whole-value-path",
        }
    )

    @pytest.fixture
    def store(self) -> InMemoryStore:
        embed = WordHashEmbeddings()
        return InMemoryStore(index={"dims": embed.dims, "embed": embed, "fields": ["text"]})


class TestMemOSStore(StoreConformance):
    supports_ttl = True

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[MemOSStore]:
        self.clock = FakeClock()
        with MemOS.open(tmp_path, embedder=WordHashEmbeddings(), clock=self.clock) as memory:
            yield MemOSStore(memory.session("app"), fields=["text"])

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds=seconds)


class TestMemOSStoreOverAnIndex(MeaningTests, StoreSuite):
    """Semantic search with a Chroma index in every namespace from its third item on."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[MemOSStore]:
        policy = IndexPolicy(exact_below=3, check_every=0.1)
        with MemOS.open(tmp_path, embedder=WordHashEmbeddings(), index_policy=policy) as memory:
            yield MemOSStore(memory.session("app"), fields=["text"])
