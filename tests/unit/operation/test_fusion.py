"""The weighted sum of the parts of a score, and the policy's numbers, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos_integrations import SearchPolicy
from memos_integrations.operation.retrieving.fusion import LEAST, Part, fused
from memos_integrations.operation.retrieving.likeness import scaled
from memos_integrations.operation.retrieving.question import without_names


def part(weight: float, values: list[float], most: float = 1.0) -> Part:
    return Part("one", weight, np.array(values), most)


def test_the_weighted_sum_over_what_was_possible() -> None:
    scores = fused([part(1.0, [1.0, 0.5]), part(0.5, [0.0, 2.0], most=2.0)], 2)
    assert scores.tolist() == pytest.approx([0.5, 0.75])


def test_a_penalty_takes_away_and_makes_nothing_possible() -> None:
    scores = fused([part(1.0, [1.0, 0.1]), part(-0.2, [1.0, 1.0])], 2)
    assert scores.tolist() == pytest.approx([0.8, LEAST])


def test_no_part_and_no_memories() -> None:
    assert fused([], 2).tolist() == [LEAST, LEAST]
    assert len(fused([], 0)) == 0


def test_likeness_is_measured_against_the_best() -> None:
    assert scaled(np.array([2.0, 1.0, 0.0])).tolist() == [1.0, 0.5, 0.0]
    assert scaled(np.array([0.5, -0.5])).tolist() == [1.0, 0.0]
    assert scaled(np.zeros(2)).tolist() == [0.0, 0.0]


@given(
    st.lists(
        st.tuples(st.floats(-3, 3), st.lists(st.floats(0, 1), min_size=4, max_size=4)), max_size=5
    )
)
def test_scores_lie_between_0_and_1(raw: list[tuple[float, list[float]]]) -> None:
    scores = fused([part(weight, values) for weight, values in raw], 4)
    assert all(0 < score <= 1 for score in scores)


def test_names_of_speakers_leave_the_question_unless_nothing_is_left() -> None:
    assert without_names("What is Maya's dog called?", {"Maya"}) == "What is dog called?"
    assert without_names("Who is Maya?", {"Maya"}) == "Who is Maya?"
    assert without_names("Mayas and Maya", set()) == "Mayas and Maya"


def test_the_defaults_search_both_and_prefer_neither() -> None:
    policy = SearchPolicy()
    assert (policy.dense, policy.lexical, policy.recency) == (1.0, 1.0, 0.0)
    with pytest.raises(AttributeError):
        policy.dense = 2.0  # type: ignore[misc]
