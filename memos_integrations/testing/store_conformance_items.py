"""Store conformance: items, their values and times; batches."""

from __future__ import annotations

import copy
from types import MappingProxyType
from typing import Any

import pytest
from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    PutOp,
    SearchItem,
    SearchOp,
)

from memos_integrations.testing.store_conformance_base import NS, StoreSuite, found, keys, params

VALUES: dict[str, dict[str, Any]] = {
    "empty": {},
    "none": {"v": None},
    "bools": {"yes": True, "no": False},
    "ints": {"zero": 0, "one": 1, "minus": -7},
    "large-ints": {"v": 2**53 + 1, "w": -(2**63), "x": 2**63 - 1},
    "huge-ints": {"v": 10**30},
    "floats": {"v": 0.1, "w": -2.5e-300, "x": 1e300},
    "strings": {
        "empty": "",
        "space": " \t\n",
        "quotes": "\"'`\\",
        "sql": "'; DROP TABLE store; --",
    },
    "unicode": {"名": "Zoë 🧠 \U0001f469\u200d\U0001f680 العربية"},
    "nested": {"a": [{"b": [[], {}, [1, [2, None]]]}, "c", False], "d": {"e": {"f": {}}}},
    "odd-fields": {"": 1, "a.b": 2, "$eq": 3, "a b": 4, "'": 5},
    "long-text": {"text": "word " * 20_000},
}
KEYS = {
    "slash": "a/b",
    "up": "../up",
    "period": "a.b",
    "quote": "it's",
    "quotes": 'say "hi"',
    "percent": "100%",
    "underscore": "a_b",
    "star": "*",
    "space": " a b ",
    "newline": "a\nb",
    "unicode": "🔑é",
    "empty": "",
    "long": "x" * 300,
}


class ItemTests(StoreSuite):
    """Put, get and delete one item."""

    def test_what_was_put_is_got(self, store: BaseStore) -> None:
        store.put(NS, "k", {"text": "hello"})
        item = found(store, "k")
        assert (item.namespace, item.key, item.value) == (NS, "k", {"text": "hello"})

    def test_item_types(self, store: BaseStore) -> None:
        store.put(NS, "k", {"text": "hello"})
        (hit,) = store.search(NS)
        assert isinstance(found(store, "k"), Item)
        assert isinstance(hit, SearchItem)
        assert type(hit.namespace) is tuple
        assert type(hit.value) is dict

    def test_missing_key(self, store: BaseStore) -> None:
        store.put(NS, "k", {})
        assert store.get(NS, "other") is None

    def test_missing_namespace(self, store: BaseStore) -> None:
        assert store.get(("nobody",), "k") is None

    def test_same_key_in_two_namespaces(self, store: BaseStore) -> None:
        store.put(("a",), "k", {"n": 1})
        store.put(("b",), "k", {"n": 2})
        assert found(store, "k", ("a",)).value == {"n": 1}

    def test_an_update_replaces_the_whole_value(self, store: BaseStore) -> None:
        store.put(NS, "k", {"old": 1, "both": 1})
        store.put(NS, "k", {"both": 2})
        assert found(store, "k").value == {"both": 2}
        assert len(store.search(NS)) == 1

    def test_deleted(self, store: BaseStore) -> None:
        store.put(NS, "k", {"n": 1})
        store.put(NS, "other", {"n": 2})
        store.delete(NS, "k")
        assert store.get(NS, "k") is None
        assert keys(store.search(NS)) == ["other"]

    def test_deleting_what_is_not_there(self, store: BaseStore) -> None:
        store.delete(NS, "k")
        store.put(NS, "other", {})
        store.delete(NS, "k")
        assert keys(store.search(())) == ["other"]

    @pytest.mark.parametrize("key", params(KEYS))
    def test_keys_are_any_text(self, store: BaseStore, key: str) -> None:
        store.put(NS, key, {"n": 1})
        store.put(NS, key + "x", {"n": 2})
        assert (found(store, key).key, found(store, key).value) == (key, {"n": 1})
        store.delete(NS, key)
        assert keys(store.search(NS)) == [key + "x"]

    def test_keys_are_case_sensitive(self, store: BaseStore) -> None:
        store.put(NS, "Key", {})
        assert store.get(NS, "key") is None

    def test_keys_become_strings(self, store: BaseStore) -> None:
        number: Any = 7
        store.put(NS, number, {"n": 1})
        assert found(store, "7").key == "7"
        store.delete(NS, number)
        assert store.get(NS, number) is None

    @pytest.mark.parametrize("value", params(VALUES))
    def test_values_survive(self, store: BaseStore, value: dict[str, Any]) -> None:
        store.put(NS, "k", copy.deepcopy(value))
        # repr tells True from 1 and 1 from 1.0; sorted, as JSON objects have no order.
        assert _ordered(found(store, "k").value) == _ordered(value)
        assert _ordered(store.search(NS)[0].value) == _ordered(value)

    def test_a_value_may_be_any_mapping(self, store: BaseStore) -> None:
        store.put(NS, "k", MappingProxyType({"n": 1}))
        assert found(store, "k").value == {"n": 1}

    def test_changing_a_got_value_changes_nothing(self, store: BaseStore) -> None:
        self._unless("aliased-values")
        store.put(NS, "k", {"n": 1, "list": [1]})
        value = found(store, "k").value
        value["n"] = 2
        value["list"].append(2)
        assert found(store, "k").value == {"n": 1, "list": [1]}

    def test_changing_a_searched_value_changes_nothing(self, store: BaseStore) -> None:
        self._unless("aliased-values")
        store.put(NS, "k", {"n": 1, "list": [1]})
        value = store.search(NS)[0].value
        value["n"] = 2
        value["list"].append(2)
        assert found(store, "k").value == {"n": 1, "list": [1]}

    def test_changing_what_was_put_changes_nothing(self, store: BaseStore) -> None:
        value = {"n": 1}
        store.put(NS, "k", value)
        value["n"] = 2
        assert found(store, "k").value == {"n": 1}

    def test_changing_inside_what_was_put_changes_nothing(self, store: BaseStore) -> None:
        self._unless("aliased-values")
        value = {"list": [1]}
        store.put(NS, "k", value)
        value["list"].append(2)
        assert found(store, "k").value == {"list": [1]}

    def test_an_item_in_hand_does_not_follow_updates(self, store: BaseStore) -> None:
        store.put(NS, "k", {"n": 1})
        item = found(store, "k")
        store.put(NS, "k", {"n": 2})
        assert item.value == {"n": 1}

    def test_times_know_their_zone(self, store: BaseStore) -> None:
        store.put(NS, "k", {})
        for item in (found(store, "k"), store.search(NS)[0]):
            assert item.created_at.utcoffset() is not None
            assert item.updated_at.utcoffset() is not None
            assert item.created_at <= item.updated_at

    def test_reading_does_not_touch_the_times(self, store: BaseStore) -> None:
        store.put(NS, "k", {})
        before = found(store, "k")
        self.advance(self.tick)
        store.search(NS)
        after = found(store, "k")
        assert (after.created_at, after.updated_at) == (before.created_at, before.updated_at)

    def test_an_update_moves_updated_at(self, store: BaseStore) -> None:
        store.put(NS, "k", {"n": 1})
        first = found(store, "k").updated_at
        self.advance(self.tick)
        store.put(NS, "k", {"n": 2})
        assert found(store, "k").updated_at > first

    def test_an_update_keeps_created_at(self, store: BaseStore) -> None:
        self._unless("created-at-reset")
        store.put(NS, "k", {"n": 1})
        first = found(store, "k").created_at
        self.advance(self.tick)
        store.put(NS, "k", {"n": 2})
        assert found(store, "k").created_at == first

    def test_put_after_delete_is_a_new_item(self, store: BaseStore) -> None:
        store.put(NS, "k", {})
        first = found(store, "k").created_at
        store.delete(NS, "k")
        self.advance(self.tick)
        store.put(NS, "k", {})
        assert found(store, "k").created_at > first


class BatchTests(StoreSuite):
    """Several operations at once."""

    def test_an_empty_batch(self, store: BaseStore) -> None:
        assert store.batch([]) == []

    def test_a_generator_of_operations(self, store: BaseStore) -> None:
        store.batch(PutOp(NS, str(number), {}) for number in range(3))
        assert len(store.search(NS)) == 3

    def test_results_keep_the_order(self, store: BaseStore) -> None:
        store.put(NS, "one", {"n": 1})
        store.put(NS, "two", {"n": 2})
        results: list[Any] = store.batch(
            [
                GetOp(NS, "two"),
                PutOp(NS, "three", {"n": 3}),
                SearchOp(NS, {"n": 1}),
                GetOp(NS, "nobody"),
                ListNamespacesOp(),
                GetOp(NS, "one"),
                SearchOp(NS, {"n": 2}),
            ]
        )
        two, put, search_one, nobody, namespaces, one, search_two = results
        assert (two.key, one.key) == ("two", "one")
        assert (put, nobody) == (None, None)
        assert (keys(search_one), keys(search_two)) == (["one"], ["two"])
        assert namespaces == [NS]

    def test_puts_answer_none(self, store: BaseStore) -> None:
        assert store.batch([PutOp(NS, "a", {}), PutOp(NS, "b", None)]) == [None, None]

    def test_reads_do_not_see_the_puts_of_their_batch(self, store: BaseStore) -> None:
        store.put(NS, "k", {"n": 1})
        results: list[Any] = store.batch(
            [PutOp(NS, "k", {"n": 2}), GetOp(NS, "k"), SearchOp(NS), PutOp(("new",), "k", {})]
        )
        assert results[1].value == {"n": 1}
        assert results[2][0].value == {"n": 1}
        assert found(store, "k").value == {"n": 2}

    def test_the_last_put_of_a_key_wins(self, store: BaseStore) -> None:
        store.batch([PutOp(NS, "k", {"n": number}) for number in range(3)])
        assert found(store, "k").value == {"n": 2}
        assert len(store.search(NS)) == 1

    def test_only_the_last_put_is_indexed(self, store: BaseStore) -> None:
        store.batch([PutOp(NS, "k", {"text": "apple"}), PutOp(NS, "k", {"text": "train"})])
        scores = {q: store.search(NS, query=q)[0].score or 0.0 for q in ("apple", "train")}
        assert scores["train"] > scores["apple"]

    def test_delete_in_a_batch(self, store: BaseStore) -> None:
        store.put(NS, "k", {})
        store.batch([PutOp(NS, "k", None)])
        assert store.get(NS, "k") is None

    def test_put_then_delete(self, store: BaseStore) -> None:
        store.batch([PutOp(NS, "k", {"n": 1}), PutOp(NS, "k", None)])
        assert store.get(NS, "k") is None

    def test_delete_then_put(self, store: BaseStore) -> None:
        store.put(NS, "k", {"n": 1})
        store.batch([PutOp(NS, "k", None), PutOp(NS, "k", {"n": 2})])
        assert found(store, "k").value == {"n": 2}

    def test_same_key_in_two_namespaces_of_a_batch(self, store: BaseStore) -> None:
        store.batch([PutOp(("a",), "k", {"n": 1}), PutOp(("b",), "k", {"n": 2})])
        assert found(store, "k", ("a",)).value == {"n": 1}
        assert found(store, "k", ("b",)).value == {"n": 2}

    def test_one_text_twice_in_a_batch(self, store: BaseStore) -> None:
        self._unless("duplicate-text")
        store.batch([PutOp(NS, key, {"text": "the same words"}) for key in "ab"])
        hits = store.search(NS, query="the same words")
        assert {hit.key for hit in hits} == {"a", "b"}
        assert hits[0].score == pytest.approx(hits[1].score)


def _ordered(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k!r}: {_ordered(v)}' for k, v in sorted(value.items()))}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_ordered, value))}]"
    return repr(value)
