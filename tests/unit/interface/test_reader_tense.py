"""Dates that do not name their year: which one is meant."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from memos_integrations.interface.dates import find_times

SUN = datetime(2026, 9, 6, 12, 0, tzinfo=UTC)
OCT = datetime(2026, 10, 18, 12, 0, tzinfo=UTC)


def first_days(text: str, said: datetime) -> list[tuple[str, str]]:
    return [
        (phrase, window.start.date().isoformat())
        for phrase, window in find_times(text, said)
        if window.start
    ]


@pytest.mark.parametrize(
    ("text", "phrase", "first"),
    [
        ("I fly to Porto on Friday 23 October", "on Friday 23 October", "2026-10-23"),
        ("Friday 23 October", "Friday 23 October", "2026-10-23"),
        ("Monday, 5 October", "Monday, 5 October", "2026-10-05"),
        ("on Friday the 23rd of October", "on Friday the 23rd of October", "2026-10-23"),
        ("Friday, October 23rd", "Friday, October 23rd", "2026-10-23"),
        ("Friday night, 23 October", "Friday night, 23 October", "2026-10-23"),
        ("friday 23 october", "friday 23 october", "2026-10-23"),
        ("Tue 3 Nov 2026", "Tue 3 Nov 2026", "2026-11-03"),
        ("Thurs. 3 Sept", "Thurs. 3 Sept", "2026-09-03"),
        ("Friday 24 October", "Friday 24 October", "2025-10-24"),  # a Friday in 2025
        ("We cancelled it and leave on Friday 23 October", "on Friday 23 October", "2026-10-23"),
        ("the week before Friday 23 October", "the week before Friday 23 October", "2026-10-12"),
        ("Meet me on Friday the 13th.", "on Friday the 13th", "2026-11-13"),
        ("On Friday, 23 people came", "On Friday", "2026-09-04"),
    ],
)
def test_a_weekday_and_a_date_are_one_phrase(text: str, phrase: str, first: str) -> None:
    assert first_days(text, SUN) == [(phrase, first)]


@pytest.mark.parametrize(
    ("text", "said", "first"),
    [
        # nothing says: the nearest
        ("My own birthday is the 10th of October", SUN, "2026-10-10"),
        ("Her birthday: March 3", SUN, "2027-03-03"),
        ("Her birthday: 3 September", SUN, "2026-09-03"),
        ("middle of November", OCT, "2026-11-11"),
        ("The concert in October sounds great", SUN, "2026-10-01"),
        ("Tea on Tuesday?", SUN, "2026-09-08"),
        ("on the 7th", SUN, "2026-09-07"),
        ("on the 31st", SUN, "2026-08-31"),
        ("Snow over the winter", SUN, "2025-12-01"),
        # what was
        ("I moved in October", SUN, "2025-10-01"),
        ("We met on the 7th, by chance", SUN, "2026-08-07"),
        ("On the 7th I ran", SUN, "2026-08-07"),
        ("I wasn't well on 10 October", SUN, "2025-10-10"),
        ("I have met her on Monday", SUN, "2026-08-31"),
        ("In October, as it happens, I moved", SUN, "2025-10-01"),
        ("Sleepless since the 7th", SUN, "2026-08-07"),
        ("My flight was late on 10 October", SUN, "2025-10-10"),
        ("We took the train and on Monday the bus", SUN, "2026-08-31"),
        ("I needed it by Friday", SUN, "2026-09-04"),
        ("Thanks for Friday!", SUN, "2026-09-04"),
        ("In Oct. it rained", SUN, "2025-10-01"),
        # what is to come
        ("I'm back on the 1st of November", OCT, "2026-11-01"),
        ("The baby isn't due until the middle of November", OCT, "2026-11-11"),
        ("I’ll go on 20 August", SUN, "2027-08-20"),
        ("I booked a flight for 20 January", SUN, "2027-01-20"),
        ("We're off in March, we're planning a trip", SUN, "2027-03-01"),
        ("The lease runs out on the 30th, and I signed", SUN, "2026-09-30"),
        ("I need it by the 3rd", SUN, "2026-10-03"),
        ("I've got the dentist on 3 March", SUN, "2027-03-03"),
        ("I'm cooking for six on Friday", SUN, "2026-09-11"),
        ("She rented one for Friday", SUN, "2026-09-11"),
        ("Good luck on Friday.", SUN, "2026-09-11"),
        ("I moved. I start in January", SUN, "2027-01-01"),
        ("The wedding is in June", SUN, "2027-06-01"),
        ("The shop is closed on Monday", SUN, "2026-09-07"),
    ],
)
def test_the_words_around_a_date_choose_its_year(text: str, said: datetime, first: str) -> None:
    assert [day for _, day in first_days(text, said)] == [first]


def test_each_clause_has_its_own_tense() -> None:
    text = "We saw a film on Friday and we'll see another on Saturday; I ran on the 1st."
    assert first_days(text, SUN) == [
        ("on Friday", "2026-09-04"),
        ("on Saturday", "2026-09-12"),
        ("on the 1st", "2026-09-01"),
    ]


@pytest.mark.parametrize(
    ("text", "phrase", "first", "after"),
    [
        ("In two weeks we have the weekend", "In two weeks", "2026-09-20", "2026-09-21"),
        ("I'm leaving in 3 days.", "in 3 days", "2026-09-09", "2026-09-10"),
        ("It is due in a month", "in a month", "2026-10-01", "2026-11-01"),
        ("It will be done within two weeks", "within two weeks", "2026-09-20", "2026-09-21"),
        ("It ends in two months' time", "in two months' time", "2026-11-01", "2026-12-01"),
        ("Ready in a few days", "in a few days", "2026-09-09", "2026-09-10"),
        ("We'll see in five years", "in five years", "2031-01-01", "2032-01-01"),
        ("in the last two weeks", "the last two weeks", "2026-08-23", "2026-09-07"),
    ],
)
def test_a_time_from_now(text: str, phrase: str, first: str, after: str) -> None:
    ((words, window),) = find_times(text, SUN)
    assert words == phrase
    assert window.start is not None and window.end is not None
    assert (window.start.date().isoformat(), window.end.date().isoformat()) == (first, after)


@pytest.mark.parametrize("text", ["on Friday 23 October", "on the 7th", "in May", "in two weeks"])
def test_without_a_reference_they_mean_nothing(text: str) -> None:
    assert find_times(text, None) == []


@pytest.mark.parametrize("number", ["0th", "32nd", "99th"])
def test_days_that_no_month_has(number: str) -> None:
    assert find_times(f"on the {number}", SUN) == []
