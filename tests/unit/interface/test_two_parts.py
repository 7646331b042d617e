"""Questions that ask two things, told apart from those that ask one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos_integrations.interface.two_parts import MOST, parts_of


@pytest.mark.parametrize(
    ("question", "parts"),
    [
        (
            "Where did Maya go and what did Jonas buy?",
            ("Where did Maya go?", "what did Jonas buy?"),
        ),
        (
            "What did Maya buy, and when did she buy it?",
            ("What did Maya buy?", "when did she buy it Maya?"),
        ),
        ("Who is Maya? Where does she live?", ("Who is Maya?", "Where does she live Maya?")),
        ("Did Maya swim and did Jonas run?", ("Did Maya swim?", "did Jonas run?")),
        (
            "In which town is the fair, and on what day does it open?",
            ("In which town is the fair?", "on what day does it open?"),
        ),
    ],
)
def test_two_questions(question: str, parts: tuple[str, ...]) -> None:
    assert parts_of(question) == parts


@pytest.mark.parametrize(
    "question",
    [
        "What did Maya and Jonas eat?",
        "When did Maya meet people on a hike and have a bad time?",
        "What does Tim own that reminds him of work and is his dearest thing?",
        "What does Tim own that is old and is Tim's favourite?",
        "Do you know what and why?",
        "Is it red or blue?",
        "Maya likes tea. What does she like?",
        "and what did Jonas buy?",
        "",
        "?",
    ],
)
def test_one_question(question: str) -> None:
    assert parts_of(question) == ()


@given(st.text(max_size=200))
def test_any_text_is_read(question: str) -> None:
    assert len(parts_of(question)) <= MOST


def test_a_list_of_questions_is_no_question_in_parts() -> None:
    assert parts_of(" ".join(["What did Maya eat?"] * (MOST + 1))) == ()
