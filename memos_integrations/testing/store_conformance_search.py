"""Store conformance: search by prefix, by filter, page by page, and by meaning."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
from langgraph.store.base import BaseStore, PutOp, SearchOp

from memos_integrations.testing.store_conformance_base import NS, StoreSuite, found, keys

PEOPLE: dict[str, dict[str, Any]] = {
    "ann": {"age": 30, "city": "Oslo", "tags": ["a", "b"], "meta": {"lang": "en"}, "nick": None},
    "bob": {"age": 40, "city": "Rome", "tags": ["b", "a"], "meta": {"lang": "de"}, "nick": "bo"},
    "cai": {"age": 50.5, "city": "oslo", "tags": [], "meta": {}, "nick": "O'\"Cai%"},
    "dot": {"age": -1, "city": "", "tags": ["a"], "meta": {"lang": None}, "nick": "null"},
}
FILTERS: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({}, "ann bob cai dot"),
    "equal": ({"city": "Oslo"}, "ann"),
    "equal-number": ({"age": 50.5}, "cai"),
    "equal-empty": ({"city": ""}, "dot"),
    "equal-quotes": ({"nick": "O'\"Cai%"}, "cai"),
    "percent-is-literal": ({"nick": "%"}, ""),
    "equal-null": ({"nick": None}, "ann"),
    "the-word-null": ({"nick": "null"}, "dot"),
    "text-is-no-number": ({"age": "30"}, ""),
    "equal-list": ({"tags": ["a", "b"]}, "ann"),
    "equal-empty-list": ({"tags": []}, "cai"),
    "equal-dict": ({"meta": {"lang": "de"}}, "bob"),
    "unknown-field": ({"nobody": 1}, ""),
    "several": ({"city": "Oslo", "age": 30}, "ann"),
    "several-none": ({"city": "Oslo", "age": 40}, ""),
    "$eq": ({"city": {"$eq": "Rome"}}, "bob"),
    "$eq-null": ({"nick": {"$eq": None}}, "ann"),
    "$eq-list": ({"tags": {"$eq": ["b", "a"]}}, "bob"),
    "$ne": ({"city": {"$ne": "Oslo"}}, "bob cai dot"),
    "$ne-null": ({"nick": {"$ne": None}}, "bob cai dot"),
    "$gt": ({"age": {"$gt": 40}}, "cai"),
    "$gte": ({"age": {"$gte": 40}}, "bob cai"),
    "$lt": ({"age": {"$lt": 30}}, "dot"),
    "$lte": ({"age": {"$lte": 30}}, "ann dot"),
    "$gt-negative": ({"age": {"$gt": -1.5}}, "ann bob cai dot"),
    "range": ({"age": {"$gte": 30, "$lt": 50.5}}, "ann bob"),
    "empty-range": ({"age": {"$gt": 40, "$lt": 40}}, ""),
    "$gt-and-$ne": ({"age": {"$gt": 0, "$ne": 40}}, "ann cai"),
    "two-fields": ({"age": {"$gt": 0}, "city": {"$ne": "Rome"}}, "ann cai"),
}


class PrefixTests(StoreSuite):
    """The namespace prefix of a search."""

    def test_an_empty_store(self, store: BaseStore) -> None:
        assert store.search(()) == []
        assert store.search(("a",), query="hello") == []

    def test_prefix_reaches_deeper(self, store: BaseStore) -> None:
        for namespace in (("a",), ("a", "b"), ("a", "b", "c"), ("b", "a")):
            store.put(namespace, "/".join(namespace), {})
        assert set(keys(store.search(("a",)))) == {"a", "a/b", "a/b/c"}
        assert set(keys(store.search(("a", "b")))) == {"a/b", "a/b/c"}

    def test_prefix_is_of_labels_and_not_of_letters(self, store: BaseStore) -> None:
        store.put(("a",), "one", {})
        store.put(("ab",), "two", {})
        assert keys(store.search(("a",))) == ["one"]

    def test_empty_prefix_is_everything(self, store: BaseStore) -> None:
        store.put(("a",), "one", {})
        store.put(("b", "c"), "two", {})
        assert set(keys(store.search(()))) == {"one", "two"}

    @pytest.mark.parametrize("label", ["a%", "a_", "a*", "a?", "a[b]", "*", "%"])
    def test_no_wildcards(self, store: BaseStore, label: str) -> None:
        for other in ("ab", "abc", "a"):
            store.put((other,), other, {"text": "decoy"})
        store.put((label,), "literal", {"text": "literal"})
        assert keys(store.search((label,))) == ["literal"]
        assert keys(store.search((label,), query="decoy")) == ["literal"]
        assert found(store, "literal", (label,)).namespace == (label,)


class FilterTests(StoreSuite):
    """Filters on the fields of values."""

    @pytest.mark.parametrize(
        ("where", "expected"), [pytest.param(*case, id=name) for name, case in FILTERS.items()]
    )
    def test_filter(self, store: BaseStore, where: dict[str, Any], expected: str) -> None:
        store.batch([PutOp(NS, name, value) for name, value in PEOPLE.items()])
        assert sorted(keys(store.search(NS, filter=where))) == expected.split()

    @pytest.mark.parametrize("operator", ["$gt", "$gte", "$lt", "$lte"])
    @pytest.mark.parametrize("other", [{}, {"n": None}, {"n": "word"}, {"n": [5]}], ids=str)
    def test_order_leaves_out_what_has_none(
        self, store: BaseStore, operator: str, other: dict[str, Any]
    ) -> None:
        self._unless("order-raises")
        store.put(NS, "number", {"n": 5})
        store.put(NS, "other", other)
        bound = 4 if operator.startswith("$g") else 6
        assert keys(store.search(NS, filter={"n": {operator: bound}})) == ["number"]

    def test_order_of_texts(self, store: BaseStore) -> None:
        self._unless("numeric-order-only")
        for day in ("2025-12-31", "2026-01-01", "2026-02-01"):
            store.put(NS, day, {"day": day})
        hits = store.search(NS, filter={"day": {"$gte": "2026-01-01"}})
        assert set(keys(hits)) == {"2026-01-01", "2026-02-01"}

    def test_not_equal_includes_a_missing_field(self, store: BaseStore) -> None:
        store.put(NS, "red", {"colour": "red"})
        store.put(NS, "none", {})
        assert keys(store.search(NS, filter={"colour": {"$ne": "red"}})) == ["none"]

    def test_true_is_not_one(self, store: BaseStore) -> None:
        self._unless("bool-equals-int")
        store.put(NS, "true", {"v": True})
        store.put(NS, "one", {"v": 1})
        assert keys(store.search(NS, filter={"v": True})) == ["true"]
        assert keys(store.search(NS, filter={"v": 1})) == ["one"]
        assert keys(store.search(NS, filter={"v": {"$eq": True}})) == ["true"]
        assert keys(store.search(NS, filter={"v": {"$ne": True}})) == ["one"]

    @pytest.mark.parametrize("flag", [True, False])
    def test_booleans(self, store: BaseStore, flag: bool) -> None:
        store.put(NS, "yes", {"v": True})
        store.put(NS, "no", {"v": False})
        assert keys(store.search(NS, filter={"v": flag})) == ["yes" if flag else "no"]

    @pytest.mark.parametrize("field", ["a.b", "it's", 'say "hi"', "naïve", "a b", "a%"])
    def test_field_names_are_literal(self, store: BaseStore, field: str) -> None:
        store.put(NS, "hit", {field: 1})
        store.put(NS, "miss", {field: 2, "a": {"b": 1}})
        assert keys(store.search(NS, filter={field: 1})) == ["hit"]

    def test_large_integers_are_exact(self, store: BaseStore) -> None:
        store.put(NS, "a", {"n": 2**53})
        store.put(NS, "b", {"n": 2**53 + 1})
        assert keys(store.search(NS, filter={"n": 2**53 + 1})) == ["b"]

    def test_unknown_operator(self, store: BaseStore) -> None:
        store.put(NS, "k", {"n": 1})
        with pytest.raises(ValueError, match=r"\$near"):
            store.search(NS, filter={"n": {"$near": 1}})


class PagingTests(StoreSuite):
    """Limit and offset."""

    def _fill(self, store: BaseStore) -> set[str]:
        ops = [
            PutOp(("a", str(n % 3)), f"k{n}", {"text": f"tea {n}", "even": not n % 2})
            for n in range(12)
        ]
        store.batch(ops)
        return {op.key for op in ops}

    def _pages(self, store: BaseStore, size: int, **how: Any) -> list[list[str]]:
        pages: list[list[str]] = []
        while len(pages) < 20:
            page = keys(store.search(("a",), limit=size, offset=len(pages) * size, **how))
            if not page:
                break
            pages.append(page)
        return pages

    def test_ten_unless_told(self, store: BaseStore) -> None:
        self._fill(store)
        assert len(store.search(("a",))) == 10

    @pytest.mark.parametrize("limit", [0, 1, 5, 50])
    def test_limit(self, store: BaseStore, limit: int) -> None:
        self._fill(store)
        assert len(store.search(("a",), limit=limit)) == min(limit, 12)

    @pytest.mark.parametrize("size", [1, 5, 12])
    @pytest.mark.parametrize("query", [None, "tea 3"], ids=["listing", "query"])
    def test_pages_are_the_whole(self, store: BaseStore, size: int, query: str | None) -> None:
        everything = self._fill(store)
        pages = self._pages(store, size, query=query)
        assert sorted(chain.from_iterable(pages)) == sorted(everything)
        assert all(len(page) == size for page in pages[:-1])

    @pytest.mark.parametrize("query", [None, "tea 3"], ids=["listing", "query"])
    def test_pages_of_a_filter(self, store: BaseStore, query: str | None) -> None:
        self._fill(store)
        pages = self._pages(store, 4, filter={"even": True}, query=query)
        assert sorted(chain.from_iterable(pages)) == sorted(f"k{n}" for n in range(0, 12, 2))
        assert [len(page) for page in pages] == [4, 2]

    def test_pages_of_a_query_follow_its_ranking(self, store: BaseStore) -> None:
        self._fill(store)
        store.put(("a",), "best", {"text": "green tea cup"})
        store.put(("a",), "next", {"text": "green tea"})
        hits = store.search(("a",), query="green tea cup", limit=2)
        assert keys(hits) == ["best", "next"]
        assert keys(store.search(("a",), query="green tea cup", limit=1, offset=1)) == ["next"]

    @pytest.mark.parametrize("query", [None, "tea"], ids=["listing", "query"])
    def test_beyond_the_end(self, store: BaseStore, query: str | None) -> None:
        self._fill(store)
        assert store.search(("a",), offset=12, query=query) == []
        assert store.search(("a",), offset=1_000, query=query) == []

    def test_unscored_items_come_at_most_once(self, store: BaseStore) -> None:
        self._unless("unscored-repeated")
        for n in range(3):
            store.put(("a",), f"scored{n}", {"text": f"tea {n}"})
            store.put(("a",), f"unscored{n}", {"text": f"tea {n}"}, index=False)
        listed = list(chain.from_iterable(self._pages(store, 2, query="tea")))
        assert len(listed) == len(set(listed))
        assert {"scored0", "scored1", "scored2"} <= set(listed)


class MeaningTests(StoreSuite):
    """Search with a query. Texts that share words must be near."""

    def _scores(self, store: BaseStore, query: str) -> dict[str, float]:
        """The items that were ranked; items without a score are as if not found."""
        hits = store.search((), query=query, limit=100)
        return {hit.key: hit.score for hit in hits if hit.score is not None}

    def test_best_first(self, store: BaseStore) -> None:
        store.put(NS, "far", {"text": "trains leave from the northern platform"})
        store.put(NS, "near", {"text": "she drinks green tea with lemon"})
        store.put(NS, "nearest", {"text": "green tea"})
        assert keys(store.search(NS, query="green tea")) == ["nearest", "near", "far"]

    def test_scores_are_floats_and_do_not_rise(self, store: BaseStore) -> None:
        for number in range(8):
            store.put(NS, str(number), {"text": " ".join(["tea"] + ["cup"] * number)})
        scores = [hit.score for hit in store.search(NS, query="tea")]
        assert len(scores) == 8
        assert all(type(score) is float for score in scores)
        assert scores == sorted(scores, key=lambda score: -(score or 0.0))

    def test_no_score_without_a_query(self, store: BaseStore) -> None:
        store.put(NS, "k", {"text": "tea"})
        assert store.search(NS)[0].score is None

    def test_prefix_holds_with_a_query(self, store: BaseStore) -> None:
        store.put(("a",), "one", {"text": "tea"})
        store.put(("ab",), "two", {"text": "tea"})
        assert keys(store.search(("a",), query="tea")) == ["one"]

    def test_filter_holds_with_a_query(self, store: BaseStore) -> None:
        for number in range(20):
            store.put(NS, f"red{number}", {"text": f"green tea {number}", "kind": "red"})
        store.put(NS, "blue", {"text": "trains", "kind": "blue"})
        assert keys(store.search(NS, query="green tea", filter={"kind": "blue"}, limit=1)) == [
            "blue"
        ]

    def test_limit_takes_the_best(self, store: BaseStore) -> None:
        for number in range(30):
            store.put(NS, f"k{number}", {"text": "tea" if number == 17 else f"train {number}"})
        assert keys(store.search(NS, query="tea", limit=1)) == ["k17"]

    def test_an_update_moves_the_vector(self, store: BaseStore) -> None:
        store.put(NS, "k", {"text": "green tea"})
        store.put(NS, "other", {"text": "green grass"})
        store.put(NS, "k", {"text": "northern trains"})
        assert keys(store.search(NS, query="green tea"))[0] == "other"
        assert keys(store.search(NS, query="northern trains"))[0] == "k"

    def test_an_update_without_text_drops_the_vector(self, store: BaseStore) -> None:
        self._unless("stale-vectors")
        store.put(NS, "k", {"text": "green tea"})
        store.put(NS, "k", {"n": 1})
        assert self._scores(store, "green tea") == {}
        assert found(store, "k").value == {"n": 1}

    def test_an_unindexed_update_drops_the_vector(self, store: BaseStore) -> None:
        self._unless("stale-vectors")
        store.put(NS, "k", {"text": "green tea"})
        store.put(NS, "k", {"text": "green tea"}, index=False)
        assert self._scores(store, "green tea") == {}

    def test_an_update_of_other_fields_drops_the_vector(self, store: BaseStore) -> None:
        self._unless("stale-vectors")
        store.put(NS, "k", {"text": "green tea", "title": "trains"})
        store.put(NS, "k", {"text": "green tea", "title": "trains"}, index=["title"])
        store.put(NS, "other", {"text": "green grass"})
        assert keys(store.search(NS, query="green tea"))[0] == "other"

    def test_a_shorter_list_drops_its_vectors(self, store: BaseStore) -> None:
        self._unless("stale-vectors")
        store.put(NS, "k", {"items": ["trains", "green tea"]}, index=["items[*]"])
        store.put(NS, "k", {"items": ["trains"]}, index=["items[*]"])
        store.put(NS, "other", {"text": "green grass"})
        assert keys(store.search(NS, query="green tea"))[0] == "other"

    def test_a_deleted_item_is_not_found(self, store: BaseStore) -> None:
        store.put(NS, "k", {"text": "green tea"})
        store.delete(NS, "k")
        assert store.search(NS, query="green tea") == []

    def test_delete_takes_the_vector_along(self, store: BaseStore) -> None:
        store.put(NS, "k", {"text": "green tea"})
        store.delete(NS, "k")
        store.put(NS, "k", {"text": "green tea"}, index=False)
        assert self._scores(store, "green tea") == {}

    def test_unindexed_items_are_not_ranked(self, store: BaseStore) -> None:
        store.put(NS, "plain", {"text": "green tea"}, index=False)
        store.put(NS, "ranked", {"text": "trains"})
        assert keys(store.search(NS, query="green tea"))[0] == "ranked"
        assert set(self._scores(store, "green tea")) == {"ranked"}
        assert found(store, "plain").value == {"text": "green tea"}
        assert set(keys(store.search(NS))) == {"plain", "ranked"}

    def test_items_without_the_field_are_not_ranked(self, store: BaseStore) -> None:
        store.put(NS, "k", {"title": "green tea"})
        assert self._scores(store, "green tea") == {}

    def test_fields_of_one_item(self, store: BaseStore) -> None:
        store.put(NS, "k", {"text": "trains", "other": "green tea"}, index=["other"])
        store.put(NS, "usual", {"text": "trains", "other": "green tea"})
        assert keys(store.search(NS, query="green tea"))[0] == "k"
        assert keys(store.search(NS, query="trains"))[0] == "usual"

    @pytest.mark.parametrize(
        "path",
        ["meta.title", "parts[0].text", "parts[-1].note", "parts[*].text", "tags[*]", "tags[1]"],
    )
    def test_paths(self, store: BaseStore, path: str) -> None:
        value: dict[str, Any] = {
            "text": "unrelated trains",
            "meta": {"title": "green tea"},
            "parts": [{"text": "green tea", "note": "x"}, {"text": "y", "note": "green tea"}],
            "tags": ["z", "green tea"],
        }
        store.put(NS, "k", value, index=[path])
        store.put(NS, "alone", {"text": "green tea"})
        scores = self._scores(store, "green tea")
        assert scores["k"] == pytest.approx(scores["alone"], abs=1e-5)

    def test_the_best_of_several_vectors_counts(self, store: BaseStore) -> None:
        items = [{"text": "trains"}, {"text": "green tea"}, {"text": "boats"}]
        store.put(NS, "many", {"items": items}, index=["items[*].text"])
        store.put(NS, "close", {"text": "green tea and trains"})
        hits = store.search(NS, query="green tea")
        assert keys(hits) == ["many", "close"]

    def test_several_fields_of_one_item(self, store: BaseStore) -> None:
        store.put(NS, "k", {"a": "green tea", "b": "trains"}, index=["a", "b"])
        store.put(NS, "alone", {"text": "green tea trains"})
        for query in ("green tea", "trains"):
            assert keys(store.search(NS, query=query)) == ["k", "alone"]

    def test_one_text_in_two_fields(self, store: BaseStore) -> None:
        self._unless("duplicate-text")
        store.put(NS, "k", {"a": "green tea", "b": "green tea"}, index=["a", "b"])
        assert set(self._scores(store, "green tea")) == {"k"}

    def test_the_whole_value_of_one_item(self, store: BaseStore) -> None:
        self._unless("whole-value-path")
        store.put(NS, "k", {"title": "green tea"}, index=["$"])
        assert set(self._scores(store, "green tea")) == {"k"}

    def test_several_queries_in_a_batch(self, store: BaseStore) -> None:
        store.put(NS, "tea", {"text": "green tea"})
        store.put(NS, "train", {"text": "northern train"})
        queries = ("northern train", "green tea", None)
        trains, teas, listing = store.batch([SearchOp(NS, query=query) for query in queries])
        assert keys(trains)[0] == "train"
        assert keys(teas)[0] == "tea"
        assert len(keys(listing)) == 2
