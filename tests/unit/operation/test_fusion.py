"""Reciprocal rank fusion and the policy's numbers, by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos_integrations import SearchPolicy
from memos_integrations.operation.retrieval import fuse


def test_weighted_reciprocal_ranks() -> None:
    fused = fuse({"a": (1.0, [(7, 0.9), (8, 0.8)]), "b": (3.0, [(8, 5.0)])}, k=60)
    assert fused == {7: pytest.approx(0.25), 8: pytest.approx(0.25 * 61 / 62 + 0.75)}


def test_what_is_first_everywhere_has_1() -> None:
    sources = {"a": (0.3, [(1, 9.0), (2, 8.0)]), "b": (2.0, [(1, 0.1), (3, 0.0)])}
    fused = fuse(sources, k=60)
    assert fused[1] == pytest.approx(1.0)
    assert fused[3] == pytest.approx(2.0 / 2.3 * 61 / 62)
    assert fused[2] == pytest.approx(0.3 / 2.3 * 61 / 62)


def test_scores_of_the_sources_do_not_matter_but_their_order() -> None:
    assert fuse({"a": (1.0, [(1, 0.9), (2, 0.1)])}, 60) == fuse({"a": (1.0, [(1, 3), (2, 2)])}, 60)


def test_a_small_constant_lets_top_ranks_count_more() -> None:
    ranked = {"a": (1.0, [(1, 0.0), (2, 0.0)])}
    assert fuse(ranked, 1)[2] == pytest.approx(2 / 3)
    assert fuse(ranked, 60)[2] == pytest.approx(61 / 62)


def test_no_source_and_no_hits() -> None:
    assert fuse({}, 60) == {}
    assert fuse({"a": (1.0, [])}, 60) == {}


ranked = st.lists(st.integers(1, 30), unique=True, max_size=20).map(
    lambda keys: [(key, 0.0) for key in keys]
)


@given(
    st.dictionaries(st.sampled_from("abc"), st.tuples(st.floats(0.01, 10), ranked), min_size=1),
    st.integers(1, 200),
)
def test_fused_scores_lie_between_0_and_1(
    sources: dict[str, tuple[float, list[tuple[int, float]]]], k: int
) -> None:
    fused = fuse(sources, k)
    assert set(fused) == {key for _, found in sources.values() for key, _ in found}
    assert all(0 < score <= 1 + 1e-12 for score in fused.values())
    for _, found in sources.values():
        if len(sources) == 1:
            assert sorted(fused, key=lambda key: -fused[key]) == [key for key, _ in found]


def test_the_defaults_search_both_and_prefer_neither() -> None:
    policy = SearchPolicy()
    assert (policy.dense, policy.lexical, policy.rrf_k, policy.recency) == (1.0, 1.0, 60, 0.0)
    with pytest.raises(AttributeError):
        policy.dense = 2.0  # type: ignore[misc]
