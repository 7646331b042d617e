"""Questions: their words, their time and their names."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from memos_integrations.errors import InvalidInputError
from memos_integrations.interface import MemReader
from memos_integrations.query import MemoryCall, TimeWindow

NOW = datetime(2023, 5, 10, 12, 0, tzinfo=UTC)


def test_a_question_with_a_time_and_names() -> None:
    question = "What did Bob Dylan do last May in New York?"
    window = TimeWindow(datetime(2022, 5, 1, tzinfo=UTC), datetime(2022, 6, 1, tzinfo=UTC))
    assert MemReader().ask(question, now=NOW) == MemoryCall(
        question, window, ("Bob Dylan", "New York"), "last May"
    )


def test_a_question_without_either() -> None:
    assert MemReader().ask("what must I not cook?", now=NOW) == MemoryCall("what must I not cook?")


def test_the_first_time_counts() -> None:
    call = MemReader().ask("Was it in June 2022 or in July 2022?", now=NOW)
    assert call.phrase == "in June 2022"
    assert call.entities == ()


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("When is my birthday?", ()),
        ("May I call you? I'm Ann, and I've met Bob", ("Ann", "Bob")),
        ("Tell me about Caroline", ("Caroline",)),
        ("Caroline went where?", ("Caroline",)),
        ("Where did Caroline's sister go?", ("Caroline",)),
        ("Is Rex Ann’s dog, or is Rex Bob's?", ("Rex Ann", "Rex Bob")),
        ("What is Maya's cat called, and MAYA’S van?", ("Maya", "MAYA")),
        ("Did Ann and Bob meet? Did Ann leave?", ("Ann", "Bob")),
        ("Was \"The Gift\" in 'project x'?", ("The Gift", "project x")),
        ("Is “Summer Sounds” by «ABBA»?", ("Summer Sounds", "ABBA")),
        ("Who read Lord of the Rings?", ("Lord of the Rings",)),
        ("Is J. K. Rowling with Dr. Seuss?", ("J. K. Rowling", "Dr. Seuss")),
        ("Who was in the University of Oslo?", ("University of Oslo",)),
        ("Who is Élodie from Москва?", ("Élodie", "Москва")),
        ("what's IBM's and AT&T's price?", ("IBM", "AT&T")),
        ("Ann\nBob?", ("Ann", "Bob")),
        ("it wasn't the kids' or the dogs' fault", ()),
    ],
)  # fmt: skip
def test_names(question: str, names: tuple[str, ...]) -> None:
    assert MemReader().ask(question, now=NOW).entities == names


@pytest.mark.parametrize(
    ("question", "first"),
    [
        ("What did I do in June?", "2022-06-01"),
        ("Who was it on 20 May?", "2022-05-20"),
        ("Tea on the 11th?", "2023-04-11"),
        ("Which tea on Thursday?", "2023-05-04"),
        ("What will I do in June?", "2023-06-01"),
        ("When is my flight on 20 May?", "2023-05-20"),
        ("What happens in two weeks?", "2023-05-24"),
        ("Why on Friday 26 May?", "2023-05-26"),
    ],
)
def test_a_date_without_a_year_is_the_latest_unless_the_words_look_ahead(
    question: str, first: str
) -> None:
    window = MemReader().ask(question, now=NOW).window
    assert window is not None and window.start is not None
    assert window.start.date().isoformat() == first


@pytest.mark.parametrize("question", ["", " \n", "a\x00b", "\ud800", None, 7, "a" * 1_048_577])
def test_bad_questions(question: object) -> None:
    with pytest.raises(InvalidInputError, match="question"):
        MemReader().ask(question, now=NOW)  # type: ignore[arg-type]


@pytest.mark.parametrize("part", ["in May, ", "“", "Aa ", "on 7 May Ann ", "' \"", "A. "])
def test_the_longest_questions_take_seconds_at_most(part: str) -> None:
    question = part * (60_000 // len(part.encode())) + "in 2022"
    assert MemReader().ask(question, now=NOW).window is not None


def test_now_needs_a_zone() -> None:
    with pytest.raises(InvalidInputError, match=r"now .* has no time zone"):
        MemReader().ask("what?", now=datetime(2023, 5, 10))
