"""Time phrases: what is found, what it means, and what is left alone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos_integrations.interface.dates import find_times

WED = datetime(2023, 5, 10, 15, 0, tzinfo=UTC)
FRI = datetime(2023, 5, 12, 9, 0, tzinfo=UTC)
SUN = datetime(2023, 5, 14, 9, 0, tzinfo=UTC)
JAN = datetime(2024, 1, 31, 9, 0, tzinfo=UTC)
EARLY = datetime(2024, 3, 1, 0, 0, tzinfo=UTC)

# text, when it was said, the phrase, first day, day after the last
TABLE = [
    ("I ran today.", WED, "today", "2023-05-10", "2023-05-11"),
    ("Dinner tonight?", WED, "tonight", "2023-05-10", "2023-05-11"),
    ("Yesterday I ran.", WED, "Yesterday", "2023-05-09", "2023-05-10"),
    ("See you tomorrow!", WED, "tomorrow", "2023-05-11", "2023-05-12"),
    ("Last night was fun", WED, "Last night", "2023-05-09", "2023-05-10"),
    ("I ran this morning", WED, "this morning", "2023-05-10", "2023-05-11"),
    ("the day before yesterday", EARLY, "the day before yesterday", "2024-02-28", "2024-02-29"),
    ("the day after tomorrow", WED, "the day after tomorrow", "2023-05-12", "2023-05-13"),
    ("3 days ago", WED, "3 days ago", "2023-05-07", "2023-05-08"),
    ("three days ago", WED, "three days ago", "2023-05-07", "2023-05-08"),
    ("a week ago", WED, "a week ago", "2023-05-01", "2023-05-08"),
    ("about two weeks ago", WED, "two weeks ago", "2023-04-24", "2023-05-01"),
    ("two weekends ago", WED, "two weekends ago", "2023-04-29", "2023-05-01"),
    ("a month ago", JAN, "a month ago", "2023-12-01", "2024-01-01"),
    ("eleven months ago", JAN, "eleven months ago", "2023-02-01", "2023-03-01"),
    ("a couple of months ago", WED, "a couple of months ago", "2023-03-01", "2023-04-01"),
    ("a few years back", WED, "a few years back", "2020-01-01", "2021-01-01"),
    ("twelve years ago", WED, "twelve years ago", "2011-01-01", "2012-01-01"),
    ("two Fridays ago", WED, "two Fridays ago", "2023-04-28", "2023-04-29"),
    ("an hour ago", WED, "an hour ago", "2023-05-10", "2023-05-11"),
    ("5 days from now", WED, "5 days from now", "2023-05-15", "2023-05-16"),
    ("last Friday", WED, "last Friday", "2023-05-05", "2023-05-06"),
    ("last Friday", FRI, "last Friday", "2023-05-05", "2023-05-06"),
    ("LAST FRIDAY", SUN, "LAST FRIDAY", "2023-05-12", "2023-05-13"),
    ("this Friday", WED, "this Friday", "2023-05-12", "2023-05-13"),
    ("this Friday", FRI, "this Friday", "2023-05-12", "2023-05-13"),
    ("next Friday", WED, "next Friday", "2023-05-19", "2023-05-20"),
    ("this coming Friday", WED, "this coming Friday", "2023-05-12", "2023-05-13"),
    ("last week", SUN, "last week", "2023-05-01", "2023-05-08"),
    ("last week's exam", WED, "last week", "2023-05-01", "2023-05-08"),
    ("this week", WED, "this week", "2023-05-08", "2023-05-15"),
    ("next week", WED, "next week", "2023-05-15", "2023-05-22"),
    ("last weekend", WED, "last weekend", "2023-05-06", "2023-05-08"),
    ("last weekend", SUN, "last weekend", "2023-05-06", "2023-05-08"),
    ("this past weekend", WED, "this past weekend", "2023-05-06", "2023-05-08"),
    ("this weekend", WED, "this weekend", "2023-05-13", "2023-05-15"),
    ("next weekend", WED, "next weekend", "2023-05-20", "2023-05-22"),
    ("over the weekend", WED, "over the weekend", "2023-05-06", "2023-05-08"),
    ("last month", JAN, "last month", "2023-12-01", "2024-01-01"),
    ("next month", JAN, "next month", "2024-02-01", "2024-03-01"),
    ("this year", WED, "this year", "2023-01-01", "2024-01-01"),
    ("late last year", WED, "late last year", "2022-09-01", "2023-01-01"),
    ("last May", WED, "last May", "2022-05-01", "2022-06-01"),
    ("last April", WED, "last April", "2023-04-01", "2023-05-01"),
    ("what did i do last may", WED, "last may", "2022-05-01", "2022-06-01"),
    ("next May", WED, "next May", "2024-05-01", "2024-06-01"),
    ("this June", WED, "this June", "2023-06-01", "2023-07-01"),
    ("last summer", WED, "last summer", "2022-06-01", "2022-09-01"),
    ("last fall", WED, "last fall", "2022-09-01", "2022-12-01"),
    ("next spring", WED, "next spring", "2024-03-01", "2024-06-01"),
    ("last winter", WED, "last winter", "2022-12-01", "2023-03-01"),
    ("this winter", JAN, "this winter", "2023-12-01", "2024-03-01"),
    ("the week before last", WED, "the week before last", "2023-04-24", "2023-05-01"),
    ("the summer before last", WED, "the summer before last", "2021-06-01", "2021-09-01"),
    ("and the weekend before?", WED, "the weekend before", "2023-05-06", "2023-05-08"),
    ("the last two weeks", WED, "the last two weeks", "2023-04-26", "2023-05-11"),
    ("in the past few months", WED, "the past few months", "2023-02-10", "2023-05-11"),
    ("in the next 3 days", WED, "the next 3 days", "2023-05-10", "2023-05-14"),
    ("On Friday I ran", WED, "On Friday", "2023-05-05", "2023-05-06"),
    ("I'll run on Friday", WED, "on Friday", "2023-05-12", "2023-05-13"),
    ("Friday night was fun", WED, "Friday night", "2023-05-05", "2023-05-06"),
    ("Friday last week", WED, "Friday last week", "2023-05-05", "2023-05-06"),
    ("I moved in May", WED, "in May", "2023-05-01", "2023-06-01"),
    ("I moved in June.", WED, "in June", "2022-06-01", "2022-07-01"),
    ("We plan to move in June.", WED, "in June", "2023-06-01", "2023-07-01"),
    ("I moved. I will rest in June", WED, "in June", "2023-06-01", "2023-07-01"),
    ("in May of last year", WED, "in May of last year", "2022-05-01", "2022-06-01"),
    ("in May 2021", WED, "in May 2021", "2021-05-01", "2021-06-01"),
    ("in Sept. it rained", WED, "in Sept", "2022-09-01", "2022-10-01"),
    ("on 7 May 2023", WED, "on 7 May 2023", "2023-05-07", "2023-05-08"),
    ("I paid by 7 May", WED, "by 7 May", "2023-05-07", "2023-05-08"),
    ("I ran on 20 May", WED, "on 20 May", "2022-05-20", "2022-05-21"),
    ("We'll marry on 20 May", WED, "on 20 May", "2023-05-20", "2023-05-21"),
    ("the 7th of May, 2021", WED, "the 7th of May, 2021", "2021-05-07", "2021-05-08"),
    ("May 7", WED, "May 7", "2023-05-07", "2023-05-08"),
    ("May 7th, 2021", WED, "May 7th, 2021", "2021-05-07", "2021-05-08"),
    ("Jan. 5, 2020", WED, "Jan. 5, 2020", "2020-01-05", "2020-01-06"),
    ("2023-05-07", WED, "2023-05-07", "2023-05-07", "2023-05-08"),
    ("2023-05-07T10:00Z", WED, "2023-05-07", "2023-05-07", "2023-05-08"),
    ("I ran on 29 February", WED, "on 29 February", "2020-02-29", "2020-03-01"),
    ("in 2022", WED, "in 2022", "2022-01-01", "2023-01-01"),
    ("early 2022", WED, "early 2022", "2022-01-01", "2022-05-01"),
    ("the first half of 2022", WED, "the first half of 2022", "2022-01-01", "2022-07-01"),
    ("the summer of 2021", WED, "the summer of 2021", "2021-06-01", "2021-09-01"),
    ("in the 90s", WED, "the 90s", "1990-01-01", "2000-01-01"),
    ("the 1980s", WED, "the 1980s", "1980-01-01", "1990-01-01"),
    ("early May", WED, "early May", "2023-05-01", "2023-05-11"),
    ("mid-May", WED, "mid-May", "2023-05-11", "2023-05-21"),
    ("late May 2021", WED, "late May 2021", "2021-05-21", "2021-06-01"),
    ("second week of June 2022", WED, "second week of June 2022", "2022-06-08", "2022-06-15"),
    ("the last week of May", WED, "the last week of May", "2023-05-25", "2023-06-01"),
    ("the week before 7 May 2023", WED, "the week before 7 May 2023", "2023-04-24", "2023-05-01"),
    ("the Sunday before 7 May", FRI, "the Sunday before 7 May", "2023-04-30", "2023-05-01"),
    ("the weekend after 7 May", FRI, "the weekend after 7 May", "2023-05-13", "2023-05-15"),
    ("two weeks before 2023-05-10", FRI, "two weeks before 2023-05-10", "2023-04-24", "2023-05-01"),
    ("since 2019", WED, "since 2019", "2019-01-01", "2023-05-11"),
    ("since May", WED, "since May", "2023-05-01", "2023-05-11"),
    ("since last\n Friday", WED, "since last Friday", "2023-05-05", "2023-05-11"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said", "phrase", "first", "after"), TABLE)
def test_a_phrase_means_these_days(
    text: str, said: datetime, phrase: str, first: str, after: str
) -> None:
    found = next(iter(find_times(text, said)), None)
    assert found is not None
    words, window = found
    assert words == phrase
    assert window.start is not None and window.end is not None
    assert (window.start.date(), window.end.date()) == tuple(
        map(date.fromisoformat, (first, after))
    )
    assert window.start.utcoffset() == window.end.utcoffset() == timedelta(0)
    assert window.start.time() == window.end.time() == datetime.min.time()


@pytest.mark.parametrize(
    "text",
    [
        "You may go.",
        "We may want 3 of them",
        "This may seem odd",
        "What comes next may surprise you",
        "May I ask you something?",
        "May the force be with you",
        "I march every morning, march 5 miles",
        "April and June are my friends",
        "on 7/5 or 07/05/23",
        "We swim on Fridays, every Friday night, in winter",
        "We swim on Friday mornings and Tuesday nights",
        "We sat, 3 may join us",
        "on the 7th floor, on the 2nd day, the 7th",
        "In two weeks of rain I learned it in two days",
        "I haven't been there in two years",
        "It runs four times in a week, once in two years",
        "Rest sounds right in a month with a move in it",
        "I lived there for two years and it took three weeks",
        "a long time ago, a while ago, the other day",
        "It feels like just yesterday",
        "one day, some day, these days",
        "31 June 2023, 2023-13-40 and 2023-02-30",
        "9999 years ago",
        "in her 30s",
        "version 2022.1 costs 2000",
        "the last year of school",
        "",
        "a 5-day trip at 20:23",
        "ſeveral weeKs ago, last ſunday, frıday night",
    ],
)
def test_no_phrase_is_seen(text: str) -> None:
    assert find_times(text, WED) == []


def test_all_phrases_come_in_order() -> None:
    found = find_times("Last week I ran, on 31 June 2023 I did not, tomorrow I rest.", WED)
    assert [words for words, _ in found] == ["Last week", "tomorrow"]


def test_without_a_reference_only_phrases_with_a_year_are_read() -> None:
    text = "Yesterday, on 7 May, since last Friday, in June 2021 and on 1 May 2020 or since 2019."
    assert [words for words, _ in find_times(text, None)] == [
        "in June 2021",
        "on 1 May 2020",
        "since 2019",
    ]


def test_days_are_days_in_utc() -> None:
    tokyo = datetime(2023, 5, 11, 1, 0, tzinfo=timezone(timedelta(hours=9)))
    assert find_times("today", tokyo) == find_times("today", WED)


@pytest.mark.parametrize("year", [1, 9999])
def test_the_ends_of_the_calendar_raise_nothing(year: int) -> None:
    said = datetime(year, 1 if year == 1 else 12, 31, tzinfo=UTC)
    for text, *_ in TABLE:
        find_times(text, said)


VOCABULARY = """
    last next this the a few two 7 31 9999 2023 2023-02-29 May may June Friday summer week weekends
    year 90s yesterday ago before of in on since early second half - ' .
"""
WORDS = st.sampled_from([*VOCABULARY.split(), "\n"])


@given(st.lists(WORDS, max_size=12).map(" ".join), st.datetimes(timezones=st.just(UTC)))
def test_any_jumble_of_such_words_is_read_without_an_error(text: str, said: datetime) -> None:
    for words, window in find_times(text, said):
        assert words in " ".join(text.split())
        assert window.start is not None and window.end is not None
