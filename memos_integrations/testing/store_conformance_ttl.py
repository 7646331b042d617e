"""Store conformance: items that expire. TTL is in minutes and counts from the last access."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.store.base import BaseStore

from memos_integrations.testing.store_conformance_base import NS, StoreSuite, found, keys


class TTLTests(StoreSuite):
    """The store omits expired items from reads, sets no default TTL, and refreshes on read."""

    def _needs_ttl(self) -> None:
        if not self.supports_ttl:
            pytest.skip("the store has no TTL: set supports_ttl = True where it has")

    def _put(self, store: BaseStore, key: str = "k", **value: Any) -> None:
        store.put(NS, key, value or {"text": "tea"}, ttl=self.ttl_minutes)

    def _pass(self, lifetimes: float) -> None:
        self.advance(lifetimes * self.ttl_minutes * 60)

    def test_the_store_says_whether_it_has_ttl(self, store: BaseStore) -> None:
        assert store.supports_ttl is self.supports_ttl

    def test_without_support_a_ttl_is_refused(self, store: BaseStore) -> None:
        if self.supports_ttl:
            pytest.skip("the store supports TTL")
        with pytest.raises(NotImplementedError):
            store.put(NS, "k", {}, ttl=1)
        assert store.get(NS, "k") is None

    def test_no_ttl_is_always_allowed(self, store: BaseStore) -> None:
        store.put(NS, "k", {}, ttl=None)
        assert found(store, "k").value == {}

    def test_get_omits_the_expired(self, store: BaseStore) -> None:
        self._needs_ttl()
        self._put(store)
        assert found(store, "k").value == {"text": "tea"}
        self._pass(1.5)
        assert store.get(NS, "k") is None

    @pytest.mark.parametrize("query", [None, "tea"], ids=["listing", "query"])
    def test_search_omits_the_expired(self, store: BaseStore, query: str | None) -> None:
        self._needs_ttl()
        self._put(store)
        store.put(NS, "stays", {"text": "tea"})
        self._pass(1.5)
        assert keys(store.search(NS, query=query, limit=1)) == ["stays"]
        assert keys(store.search(NS, query=query)) == ["stays"]

    def test_list_namespaces_omits_the_expired(self, store: BaseStore) -> None:
        self._needs_ttl()
        self._put(store)
        assert store.list_namespaces() == [NS]
        self._pass(1.5)
        assert store.list_namespaces() == []

    @pytest.mark.parametrize("refresh", [True, None], ids=["refresh", "default"])
    def test_get_refreshes(self, store: BaseStore, refresh: bool | None) -> None:
        self._needs_ttl()
        self._put(store)
        for _ in range(3):
            self._pass(0.6)
            assert store.get(NS, "k", refresh_ttl=refresh) is not None
        self._pass(1.5)
        assert store.get(NS, "k") is None

    def test_get_without_refresh(self, store: BaseStore) -> None:
        self._needs_ttl()
        self._put(store)
        self._pass(0.6)
        assert store.get(NS, "k", refresh_ttl=False) is not None
        self._pass(0.6)
        assert store.get(NS, "k") is None

    @pytest.mark.parametrize("refresh", [True, None], ids=["refresh", "default"])
    @pytest.mark.parametrize("query", [None, "tea"], ids=["listing", "query"])
    def test_search_refreshes(
        self, store: BaseStore, query: str | None, refresh: bool | None
    ) -> None:
        self._needs_ttl()
        self._put(store)
        for _ in range(2):
            self._pass(0.6)
            assert keys(store.search(NS, query=query, refresh_ttl=refresh)) == ["k"]

    def test_search_without_refresh(self, store: BaseStore) -> None:
        self._needs_ttl()
        self._put(store)
        self._pass(0.6)
        assert keys(store.search(NS, refresh_ttl=False)) == ["k"]
        self._pass(0.6)
        assert store.search(NS) == []

    @pytest.mark.parametrize(
        "how", [{"filter": {"n": 1}}, {"query": "tea", "limit": 1}], ids=["filter", "limit"]
    )
    def test_search_refreshes_only_what_it_returns(
        self, store: BaseStore, how: dict[str, Any]
    ) -> None:
        self._needs_ttl()
        self._put(store, "returned", text="tea", n=1)
        self._put(store, "left out", text="trains", n=2)
        self._pass(0.6)
        assert keys(store.search(NS, refresh_ttl=True, **how)) == ["returned"]
        self._pass(0.6)
        assert keys(store.search(NS)) == ["returned"]

    def test_an_update_renews(self, store: BaseStore) -> None:
        self._needs_ttl()
        self._put(store)
        self._pass(0.6)
        self._put(store, n=2)
        self._pass(0.6)
        assert found(store, "k").value == {"n": 2}

    def test_an_update_without_ttl_stays(self, store: BaseStore) -> None:
        self._needs_ttl()
        self._put(store)
        store.put(NS, "k", {"n": 2}, ttl=None)
        self._pass(1.5)
        assert found(store, "k").value == {"n": 2}

    def test_an_update_with_ttl_expires(self, store: BaseStore) -> None:
        self._needs_ttl()
        store.put(NS, "k", {"n": 1})
        self._put(store)
        self._pass(1.5)
        assert store.get(NS, "k") is None

    @pytest.mark.parametrize("options", [{}, {"ttl": None}], ids=["default", "none"])
    def test_no_ttl_never_expires(self, store: BaseStore, options: dict[str, Any]) -> None:
        self._needs_ttl()
        store.put(NS, "k", {}, **options)
        store.get(NS, "k", refresh_ttl=True)
        self._pass(3)
        assert store.get(NS, "k") is not None

    def test_put_after_expiry(self, store: BaseStore) -> None:
        self._needs_ttl()
        self._put(store)
        self._pass(1.5)
        self._put(store, n=2)
        assert found(store, "k").value == {"n": 2}

    def test_deleting_the_expired(self, store: BaseStore) -> None:
        self._needs_ttl()
        self._put(store)
        self._pass(1.5)
        store.delete(NS, "k")
        assert store.get(NS, "k") is None
