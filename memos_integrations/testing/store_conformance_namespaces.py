"""Store conformance: which namespaces are allowed, and how they are listed."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.store.base import (
    BaseStore,
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    SearchOp,
)

from memos_integrations.testing.store_conformance_base import StoreSuite, found, params

BAD_LABELS: dict[str, Any] = {
    "period": "a.b",
    "not-a-string": 7,
    "empty-label": "",
    "nul": "a\x00b",
}
BAD_NAMESPACES: dict[str, Any] = {
    "empty": (),
    "langgraph": ("langgraph", "a"),
    **{name: ("ok", label) for name, label in BAD_LABELS.items()},
}

# prefix, suffix, and which of the namespaces of `test_prefix_and_suffix` they leave
LISTINGS = [
    ("a", "", "a a/b a/b/v1 a/b/c/v1 a/c/v2"),
    ("a/b", "", "a/b a/b/v1 a/b/c/v1"),
    ("", "v1", "a/b/v1 a/b/c/v1 d/b/v1"),
    ("", "b/v1", "a/b/v1 d/b/v1"),
    ("a", "v1", "a/b/v1 a/b/c/v1"),
    ("a/b/v1", "b/v1", "a/b/v1"),
    ("a/*", "", "a/b a/b/v1 a/b/c/v1 a/c/v2"),
    ("*/b", "", "a/b a/b/v1 a/b/c/v1 d/b/v1"),
    ("a/*/v1", "", "a/b/v1"),
    ("", "*/v1", "a/b/v1 a/b/c/v1 d/b/v1"),
    ("", "a/*/v1", "a/b/v1"),
    ("", "*/*/*/*", "a/b/c/v1"),
    ("v1", "", ""),
    ("", "a", "a"),
]


class NamespaceTests(StoreSuite):
    """Labels, and ``list_namespaces``."""

    @pytest.mark.parametrize("namespace", params(BAD_NAMESPACES))
    def test_put_refuses(self, store: BaseStore, namespace: Any) -> None:
        with pytest.raises(InvalidNamespaceError):
            store.put(namespace, "k", {})
        assert store.search(()) == []

    @pytest.mark.parametrize("label", params(BAD_LABELS))
    def test_get_search_delete_and_list_refuse(self, store: BaseStore, label: Any) -> None:
        with pytest.raises(InvalidNamespaceError):
            store.get((label,), "k")
        with pytest.raises(InvalidNamespaceError):
            store.search((label,))
        with pytest.raises(InvalidNamespaceError):
            store.delete((label,), "k")
        with pytest.raises(InvalidNamespaceError):
            store.list_namespaces(prefix=(label,))
        with pytest.raises(InvalidNamespaceError):
            store.list_namespaces(suffix=(label,))

    @pytest.mark.parametrize("label", params(BAD_LABELS))
    @pytest.mark.parametrize("verb", ["put", "delete", "get", "search", "list"])
    def test_raw_operations_refuse(self, store: BaseStore, verb: str, label: Any) -> None:
        self._unless("raw-ops-unchecked")
        path = ("ok", label)
        ops: dict[str, Op] = {
            "put": PutOp(path, "k", {}),
            "delete": PutOp(path, "k", None),
            "get": GetOp(path, "k"),
            "search": SearchOp(path),
            "list": ListNamespacesOp((MatchCondition("prefix", path),)),
        }
        with pytest.raises(InvalidNamespaceError):
            store.batch([ops[verb]])

    def test_labels_do_not_run_together(self, store: BaseStore) -> None:
        separators = "/:|,;\\ \t-_"
        store.put(("a", "b"), "k", {})
        for separator in separators:
            store.put((f"a{separator}b",), "k", {})
        assert len(store.search(("a",))) == 1
        assert len(store.list_namespaces()) == 1 + len(separators)

    def test_labels_are_case_sensitive(self, store: BaseStore) -> None:
        store.put(("Ann",), "k", {})
        assert store.search(("ann",)) == []
        assert store.list_namespaces(prefix=("ann",)) == []
        assert store.get(("ann",), "k") is None

    def test_a_deep_namespace(self, store: BaseStore) -> None:
        deep = tuple(f"level {n}" for n in range(30))
        store.put(deep, "k", {})
        assert found(store, "k", deep).namespace == deep
        assert store.list_namespaces() == [deep]

    def test_all_are_listed_once_and_sorted(self, store: BaseStore) -> None:
        for namespace in (("b",), ("a", "z"), ("a",), ("a", "b", "c"), ("b",)):
            store.put(namespace, "k", {})
            store.put(namespace, "another", {})
        assert store.list_namespaces() == [("a",), ("a", "b", "c"), ("a", "z"), ("b",)]

    def test_no_namespace_in_an_empty_store(self, store: BaseStore) -> None:
        assert store.list_namespaces() == []

    @pytest.mark.parametrize(
        ("prefix", "suffix", "expected"),
        LISTINGS,
        ids=[f"{prefix or '-'} to {suffix or '-'}" for prefix, suffix, _ in LISTINGS],
    )
    def test_prefix_and_suffix(
        self, store: BaseStore, prefix: str, suffix: str, expected: str
    ) -> None:
        for path in ("a", "a/b", "a/b/v1", "a/b/c/v1", "a/c/v2", "d/b/v1", "ab"):
            store.put(tuple(path.split("/")), "k", {})
        listed = store.list_namespaces(
            prefix=tuple(prefix.split("/")) if prefix else None,
            suffix=tuple(suffix.split("/")) if suffix else None,
        )
        assert {"/".join(namespace) for namespace in listed} == set(expected.split())

    @pytest.mark.parametrize("label", ["a%", "a_", "a?", "a[b]", "%"])
    def test_only_the_star_is_a_wildcard(self, store: BaseStore, label: str) -> None:
        for other in ("ab", "abc", "a"):
            store.put((other,), "k", {})
        store.put((label,), "k", {})
        assert store.list_namespaces(prefix=(label,)) == [(label,)]
        assert store.list_namespaces(suffix=(label,)) == [(label,)]

    def test_a_star_inside_a_label_is_literal(self, store: BaseStore) -> None:
        store.put(("ab",), "k", {})
        assert store.list_namespaces(prefix=("a*",)) == []

    def test_max_depth_shortens_and_lists_once(self, store: BaseStore) -> None:
        for namespace in (("a", "b", "c"), ("a", "b", "d"), ("a", "e", "f", "g"), ("h",)):
            store.put(namespace, "k", {})
        assert store.list_namespaces(max_depth=2) == [("a", "b"), ("a", "e"), ("h",)]
        assert store.list_namespaces(max_depth=1) == [("a",), ("h",)]
        assert len(store.list_namespaces(max_depth=9)) == 4

    def test_max_depth_matches_the_whole_path(self, store: BaseStore) -> None:
        store.put(("a", "b", "c"), "k", {})
        assert store.list_namespaces(suffix=("c",), max_depth=1) == [("a",)]
        assert store.list_namespaces(suffix=("a",), max_depth=1) == []

    def test_limit_and_offset(self, store: BaseStore) -> None:
        for name in "edcba":
            store.put((name,), "k", {})
        pages = [store.list_namespaces(limit=2, offset=offset) for offset in (0, 2, 4, 6)]
        assert pages == [[("a",), ("b",)], [("c",), ("d",)], [("e",)], []]

    def test_limit_counts_after_max_depth(self, store: BaseStore) -> None:
        for namespace in (("a", "1"), ("a", "2"), ("a", "3"), ("b", "1"), ("c", "1")):
            store.put(namespace, "k", {})
        assert store.list_namespaces(max_depth=1, limit=2) == [("a",), ("b",)]
        assert store.list_namespaces(max_depth=1, limit=2, offset=2) == [("c",)]

    def test_a_hundred_are_listed_unless_told(self, store: BaseStore) -> None:
        store.batch([PutOp((f"n{number:03}",), "k", {}) for number in range(101)])
        assert len(store.list_namespaces()) == 100
        assert len(store.list_namespaces(limit=200)) == 101

    def test_an_emptied_namespace_is_not_listed(self, store: BaseStore) -> None:
        self._unless("empty-namespaces")
        store.put(("a",), "k", {})
        store.put(("b",), "k", {})
        store.delete(("a",), "k")
        assert store.list_namespaces() == [("b",)]

    def test_reading_makes_no_namespace(self, store: BaseStore) -> None:
        self._unless("reads-create-namespaces")
        store.get(("a",), "k")
        store.search(("b",))
        store.search(("c",), query="hello")
        store.delete(("d",), "k")
        assert store.list_namespaces() == []
