"""Store conformance: many threads at once, and the async twins of the verbs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from langgraph.store.base import BaseStore, GetOp, InvalidNamespaceError, PutOp, SearchOp

from memos_integrations.testing.store_conformance_base import NS, StoreSuite, found, keys, params
from memos_integrations.testing.store_conformance_namespaces import BAD_LABELS, BAD_NAMESPACES

THREADS, PUTS = 8, 25


def _together(work: Callable[[int], Any], threads: int = THREADS) -> list[Any]:
    """Run ``work(0)``, ``work(1)``… at the same moment; what one raises is raised here."""
    start = Barrier(threads)

    def run(number: int) -> Any:
        start.wait(30)
        return work(number)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # take turns far more often than usual, so that races show
    try:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(run, range(threads)))
    finally:
        sys.setswitchinterval(interval)


class ThreadTests(StoreSuite):
    """One store in several threads."""

    def _write(self, store: BaseStore, thread: int) -> None:
        for number in range(PUTS):
            store.put(NS, f"{thread}/{number}", {"text": f"tea {thread} {number}"})

    def test_threads_lose_no_put(self, store: BaseStore) -> None:
        _together(lambda thread: self._write(store, thread))
        hits = store.search(NS, limit=THREADS * PUTS + 1)
        assert set(keys(hits)) == {f"{t}/{n}" for t in range(THREADS) for n in range(PUTS)}

    def test_threads_lose_no_vector(self, store: BaseStore) -> None:
        self._unless("not-thread-safe")

        def write(thread: int) -> None:
            for number in range(PUTS):
                store.put(("new", str(number)), str(thread), {"text": f"tea {thread} {number}"})

        _together(write)
        hits = store.search((), query="tea", limit=THREADS * PUTS + 1)
        assert sum(hit.score is not None for hit in hits) == THREADS * PUTS

    def test_threads_on_one_key_leave_one_value(self, store: BaseStore) -> None:
        def write(thread: int) -> None:
            for _ in range(5):
                store.put(NS, "k", {"a": thread, "b": thread})

        _together(write)
        value = found(store, "k").value
        assert value["a"] == value["b"]
        assert keys(store.search(NS)) == ["k"]

    def test_threads_get_whole_values(self, store: BaseStore) -> None:
        store.put(NS, "k", {"a": -1, "b": -1})

        def work(thread: int) -> list[dict[str, Any]]:
            if thread == 0:
                for number in range(PUTS):
                    store.put(NS, "k", {"a": number, "b": number})
            return [found(store, "k").value for _ in range(PUTS)]

        for values in _together(work, 4):
            assert all(value["a"] == value["b"] for value in values)

    def test_threads_search_while_others_write(self, store: BaseStore) -> None:
        self._unless("not-thread-safe")
        store.put(NS, "first", {"text": "tea"})

        def work(thread: int) -> None:
            if thread < 4:
                self._write(store, thread)
            for _ in range(PUTS):
                assert "first" in keys(store.search(NS, limit=1_000))
                assert store.list_namespaces() == [NS]

        _together(work)

    def test_threads_delete_once_and_for_all(self, store: BaseStore) -> None:
        store.batch([PutOp(NS, str(number), {}) for number in range(PUTS)])

        def work(_: int) -> None:
            for number in range(PUTS):
                store.delete(NS, str(number))

        _together(work, 4)
        assert store.search(NS) == []


class AsyncTests(StoreSuite):
    """The twins in async code; the sync verbs are called from a worker thread."""

    @pytest.mark.asyncio
    async def test_aput_and_aget(self, store: BaseStore) -> None:
        await store.aput(NS, "k", {"n": 1})
        item = await store.aget(NS, "k")
        assert item is not None
        assert item == await asyncio.to_thread(store.get, NS, "k")
        assert await store.aget(NS, "other") is None

    @pytest.mark.asyncio
    async def test_aput_updates(self, store: BaseStore) -> None:
        await store.aput(NS, "k", {"n": 1})
        await store.aput(NS, "k", {"n": 2})
        item = await store.aget(NS, "k")
        assert item is not None
        assert item.value == {"n": 2}

    @pytest.mark.asyncio
    async def test_aget_finds_what_put_stored(self, store: BaseStore) -> None:
        await asyncio.to_thread(store.put, NS, "k", {"n": 1})
        item = await store.aget(NS, "k")
        assert item is not None
        assert item.value == {"n": 1}

    @pytest.mark.asyncio
    async def test_adelete(self, store: BaseStore) -> None:
        await store.aput(NS, "k", {"n": 1})
        await store.adelete(NS, "k")
        await store.adelete(NS, "nobody")
        assert await store.aget(NS, "k") is None
        assert await asyncio.to_thread(store.get, NS, "k") is None

    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        "how",
        [{}, {"filter": {"n": {"$gt": 2}}}, {"query": "tea 3"}, {"limit": 2, "offset": 1}],
        ids=["all", "filter", "query", "page"],
    )
    async def test_asearch(self, store: BaseStore, how: dict[str, Any]) -> None:
        for number in range(5):
            await store.aput(NS, str(number), {"text": f"tea {number}", "n": number})
        hits = await store.asearch(NS, **how)
        assert hits
        assert [hit.dict() for hit in hits] == [
            hit.dict() for hit in await asyncio.to_thread(store.search, NS, **how)
        ]

    @pytest.mark.asyncio
    async def test_asearch_ranks(self, store: BaseStore) -> None:
        await store.aput(NS, "train", {"text": "northern train"})
        await store.aput(NS, "tea", {"text": "green tea"})
        await store.aput(NS, "plain", {"text": "green tea"}, index=False)
        hits = await store.asearch(NS, query="green tea", limit=2)
        assert keys(hits) == ["tea", "train"]

    @pytest.mark.asyncio
    async def test_alist_namespaces(self, store: BaseStore) -> None:
        for namespace in (("a", "b", "v1"), ("a", "c", "v1"), ("d", "v2")):
            await store.aput(namespace, "k", {})
        how: dict[str, Any] = {"prefix": ("a",), "suffix": ("*", "v1"), "max_depth": 2}
        assert await store.alist_namespaces(**how) == [("a", "b"), ("a", "c")]
        assert len(await store.alist_namespaces(limit=2)) == 2
        everything = await asyncio.to_thread(store.list_namespaces)
        assert await store.alist_namespaces() == everything

    @pytest.mark.asyncio
    async def test_abatch(self, store: BaseStore) -> None:
        await store.aput(NS, "k", {"n": 1})
        results: list[Any] = await store.abatch(
            [PutOp(NS, "k", {"n": 2}), GetOp(NS, "k"), SearchOp(NS, {"n": 1})]
        )
        assert results[0] is None
        assert results[1].value == {"n": 1}
        assert keys(results[2]) == ["k"]
        assert await store.abatch([]) == []

    @pytest.mark.asyncio
    @pytest.mark.parametrize("namespace", params(BAD_NAMESPACES))
    async def test_aput_refuses(self, store: BaseStore, namespace: Any) -> None:
        with pytest.raises(InvalidNamespaceError):
            await store.aput(namespace, "k", {})
        assert await store.asearch(()) == []

    @pytest.mark.asyncio
    @pytest.mark.parametrize("label", params(BAD_LABELS))
    async def test_raw_abatch_refuses(self, store: BaseStore, label: Any) -> None:
        self._unless("raw-ops-unchecked")
        with pytest.raises(InvalidNamespaceError):
            await store.abatch([PutOp(("ok", label), "k", {})])

    @pytest.mark.asyncio
    async def test_without_support_a_ttl_is_refused_by_aput(self, store: BaseStore) -> None:
        if self.supports_ttl:
            pytest.skip("the store supports TTL")
        with pytest.raises(NotImplementedError):
            await store.aput(NS, "k", {}, ttl=1)

    @pytest.mark.asyncio
    async def test_aputs_at_once_are_all_kept(self, store: BaseStore) -> None:
        await asyncio.gather(*(store.aput(NS, str(n), {"text": f"tea {n}"}) for n in range(20)))
        hits = await store.asearch(NS, limit=50)
        assert set(keys(hits)) == {str(number) for number in range(20)}

    @pytest.mark.asyncio
    async def test_aputs_at_once_on_one_key_leave_one_value(self, store: BaseStore) -> None:
        await asyncio.gather(*(store.aput(NS, "k", {"a": n, "b": n}) for n in range(20)))
        (hit,) = await store.asearch(NS)
        assert hit.value["a"] == hit.value["b"]

    @pytest.mark.asyncio
    async def test_verbs_of_all_kinds_at_once(self, store: BaseStore) -> None:
        await store.aput(NS, "k", {"text": "tea"})
        item, hits, ranked, namespaces = await asyncio.gather(
            store.aget(NS, "k"),
            store.asearch(NS),
            store.asearch(NS, query="tea"),
            store.alist_namespaces(),
        )
        assert item is not None
        assert keys(hits) == keys(ranked) == ["k"]
        assert namespaces == [NS]
