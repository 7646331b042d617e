"""A conformance suite for LangGraph stores: what the docstrings of ``BaseStore`` promise."""

from __future__ import annotations

import pytest

from memos_integrations.testing.store_conformance_base import (
    QUIRKS,
    StoreSuite,
    WordHashEmbeddings,
)

# Before their import, so that a failing `assert` shows its values.
pytest.register_assert_rewrite(
    "memos_integrations.testing.store_conformance_items",
    "memos_integrations.testing.store_conformance_namespaces",
    "memos_integrations.testing.store_conformance_search",
    "memos_integrations.testing.store_conformance_sharing",
    "memos_integrations.testing.store_conformance_ttl",
)

from memos_integrations.testing.store_conformance_items import (  # noqa: E402
    BatchTests,
    ItemTests,
)
from memos_integrations.testing.store_conformance_namespaces import NamespaceTests  # noqa: E402
from memos_integrations.testing.store_conformance_search import (  # noqa: E402
    FilterTests,
    MeaningTests,
    PagingTests,
    PrefixTests,
)
from memos_integrations.testing.store_conformance_sharing import (  # noqa: E402
    AsyncTests,
    ThreadTests,
)
from memos_integrations.testing.store_conformance_ttl import TTLTests  # noqa: E402

__all__ = ["QUIRKS", "StoreConformance", "WordHashEmbeddings"]


class StoreConformance(
    ItemTests,
    NamespaceTests,
    BatchTests,
    PrefixTests,
    FilterTests,
    PagingTests,
    MeaningTests,
    TTLTests,
    ThreadTests,
    AsyncTests,
    StoreSuite,
):
    """Subclass it in a test module, with a fixture that returns a new, empty store::

        from langgraph.store.memory import InMemoryStore
        from memos_integrations.testing.store_conformance import (
            StoreConformance,
            WordHashEmbeddings,
        )

        class TestMyStore(StoreConformance):
            quirks = frozenset({"created-at-reset"})

            @pytest.fixture
            def store(self):
                embed = WordHashEmbeddings()
                return InMemoryStore(
                    index={"dims": embed.dims, "embed": embed, "fields": ["text"]}
                )

    - The store must embed the field ``text``; any embedder will do for which texts are near when
      they share words.
    - ``quirks`` names known deviations from :data:`QUIRKS`; their tests are skipped, with the
      reason. An empty set is the aim.
    - ``supports_ttl = True`` for a store that expires items. It must omit expired items from
      reads (``TTLConfig.omit_expired``), refresh on read and give no default TTL. With a real
      clock the tests sleep for parts of ``ttl_minutes``; with a fake one, override ``advance``::

          @pytest.fixture
          def store(self):
              self.clock = FakeClock()
              return MyStore(clock=self.clock)

          def advance(self, seconds):
              self.clock.advance(seconds=seconds)

    - ``tick`` is the resolution of the store's timestamps in seconds.

    Needs pytest and pytest-asyncio.
    """

    def test_quirks_are_known(self) -> None:
        """A quirk that is misspelt would skip nothing."""
        assert self.quirks <= set(QUIRKS)
