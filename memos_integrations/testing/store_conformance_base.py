"""What every part of the store conformance suite shares: the hooks, the quirks, an embedder."""

from __future__ import annotations

import hashlib
import math
import re
import time
from typing import Any, ClassVar

import pytest
from langchain_core.embeddings import Embeddings
from langgraph.store.base import BaseStore, Item

NS = ("users", "ann")
"""The namespace of the tests in which it does not matter."""

QUIRKS: dict[str, str] = {
    "aliased-values": "a value is shared with the caller, so changing one changes the other",
    "bool-equals-int": "a filter takes True for 1 and False for 0, which JSON tells apart",
    "created-at-reset": "an update gives the item a new created_at",
    "duplicate-text": "embedding one text twice in a batch raises",
    "empty-namespaces": "a namespace is still listed when its last item has been deleted",
    "not-thread-safe": "searches and vectors suffer when other threads write",
    "numeric-order-only": "ordering operators turn both sides into floats, so dates raise",
    "order-raises": "ordering operators raise on a missing field, on None and on other types",
    "raw-ops-unchecked": "namespaces in raw operations are not validated",
    "reads-create-namespaces": "reading or deleting what is not there makes its namespace listed",
    "stale-vectors": "vectors of texts that an update removed or un-indexed are still ranked",
    "unscored-repeated": "with a query, items without vectors come back on every later page",
    "whole-value-path": 'index=["$"] for one item looks for a field named "$"',
}
"""Known deviations: a name for :attr:`StoreSuite.quirks`, and what such a store does."""


class WordHashEmbeddings(Embeddings):
    """Texts that share words are near: a bag of hashed words, unit length, the same everywhere."""

    def __init__(self, dims: int = 64) -> None:
        self.dims = dims

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector of length ``dims`` per text."""
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """A vector of length ``dims``; a text without words gets one of its own."""
        counts = [0.0] * self.dims
        for word in re.findall(r"\w+", text.casefold()) or [""]:
            digest = hashlib.sha256(word.encode("utf-8", "surrogatepass")).digest()
            counts[int.from_bytes(digest[:8], "big") % self.dims] += 1.0
        length = math.hypot(*counts)
        return [count / length for count in counts]


class StoreSuite:
    """What a store's author sets, and small helpers of the tests."""

    quirks: ClassVar[frozenset[str]] = frozenset()
    """Names from :data:`QUIRKS` that the store is known to have; their tests are skipped."""
    supports_ttl: ClassVar[bool] = False
    """Whether the store expires items, and omits expired ones from every read."""
    ttl_minutes: ClassVar[float] = 0.02
    """The lifetime that the TTL tests give, in minutes."""
    tick: ClassVar[float] = 0.01
    """Seconds after which the store's timestamps differ."""

    @pytest.fixture
    def store(self) -> BaseStore:
        """A new, empty store that embeds the field ``text``. Override this."""
        raise NotImplementedError("override the fixture `store` with one that returns your store")

    def advance(self, seconds: float) -> None:
        """Let the store's clock pass ``seconds``. Override this where the clock is a fake."""
        time.sleep(seconds)

    def _unless(self, quirk: str) -> None:
        """Skip the test where the store is known to have this quirk."""
        if quirk in self.quirks:
            pytest.skip(f"known quirk {quirk!r}: {QUIRKS[quirk]}")


def found(store: BaseStore, key: str, namespace: tuple[str, ...] = NS) -> Item:
    """The item, which must be there."""
    item = store.get(namespace, key)
    assert item is not None, f"{key!r} is not in {namespace}"
    return item


def keys(items: object) -> list[str]:
    """The keys of a search's result, in its order."""
    assert isinstance(items, list)
    return [item.key for item in items]


def params(cases: dict[str, Any]) -> list[Any]:
    """Named cases for ``parametrize``."""
    return [pytest.param(case, id=name) for name, case in cases.items()]
