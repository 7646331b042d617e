"""Time phrases in a text, and the windows of time that they mean.

A small grammar finds short phrases; the arithmetic is in :mod:`.calendar_spans`. What the
rules say, for a text said on Wednesday 10 May 2023:

====================================  ======================================================
today, tonight, this morning          10 May
yesterday, last night                 9 May
three days ago, a week ago            7 May; Monday 1 May to Sunday 7 May (the whole unit)
a couple of / a few / several         2 / 3 / 5
last Friday, last week, last weekend  5 May; 1-7 May; 6-7 May (it ended before that day)
last May, last summer                 May 2022; June to August 2022 (the latest that is over)
this Friday, next Friday              12 May (first from the day on); 19 May (next calendar week)
this May, next May, next summer       May 2023; May 2024; June to August 2023
the week before last                  24-30 April
the last two weeks, past few months   up to the end of 10 May, counted back from it
on Friday, in May, 7 May, on the 7th  as the tense around them says (below), else the nearest
over the summer, at the weekend       the same, else the latest that began by 10 May
Friday 5 May, Tue 3 Nov               that date in the nearest year in which the weekday fits
in two weeks, within 3 days           24 May; 13 May (not where the tense is past)
in a month, in two years              June 2023; 2025
7 May 2023, May 7th, 2023-05-07       that day
May 2023, summer of 2021, in 2022     that month, season, year; the 90s, the 1990s: the decade
early, mid, late May; end of 2022     thirds of it; first half of, second week of: that part
the week before 7 May 2023            the unit (or weekday) before or after that date
since ...                             from its start to the end of the reference day
====================================  ======================================================

A date without a year lies ahead where its clause, else its sentence, has "will", "going to",
"plan to" or the like, or "for" before the date; else behind where there is a past tense, "ago" or
"since"; else ahead where it speaks as of plans: "flight", "booked", "due", "back on", "I'm
leaving", "ends", "by" before the date. Without such words it is the nearest to the reference; in
a question put to memory, the latest.

Days are days in UTC. Numeric dates such as 7/5 are ambiguous and left alone, as are repeated
ones ("on Fridays", "on Friday mornings") and durations ("for two years", "in two weeks of rain").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

from memos_integrations.query import TimeWindow

TimePhrase = tuple[str, TimeWindow]
"""The words of the text, and the time they mean."""

_TRIGGER_WORDS = (
    "today tonight yesterday tomorrow ago night morning afternoon evening days hours minutes"
    " week weeks weekend weekends fortnight fortnights month months year years decade decades"
    " spring summer autumn fall winter springs summers winters"
    " monday tuesday wednesday thursday friday saturday sunday"
    " mondays tuesdays wednesdays thursdays fridays saturdays sundays"
    " jan january feb february mar march apr april may jun june jul july aug august"
    " sep sept september oct october nov november dec december"
    " 00s 10s 20s 30s 40s 50s 60s 70s 80s 90s st nd rd th"
)
_TRIGGERS = frozenset(_TRIGGER_WORDS.split()) | {str(year) for year in range(1900, 2100)}
_TOKEN = re.compile(r"[a-z]+|\d{4}|\d0s")


def find_times(text: str, reference: datetime | None) -> list[TimePhrase]:
    """Return the time phrases of ``text`` in order, each with its window in UTC.

    ``reference`` (aware) is when the text was said. Without one, only phrases that carry their
    own year are resolved. Phrases that mean no possible date are left out.
    """
    return [
        (" ".join(found.group().split()), window) for found, window in scan_times(text, reference)
    ]


def scan_times(
    text: str, reference: datetime | None, *, lean: int = 0
) -> Iterator[tuple[re.Match[str], TimeWindow]]:
    """The phrases of :func:`find_times` one by one, each as its match in ``text``.

    ``lean`` is where a date without a year points if the words around it do not say: -1 back,
    1 ahead, 0 to the nearest.
    """
    if not _has_trigger(text):
        return
    # The grammar takes 20 ms to compile, which a program that reads no dates need not wait for.
    from memos_integrations.interface.time_grammar import PHRASE, RULES
    from memos_integrations.interface.time_rules import span_of

    day = reference.astimezone(UTC).date() if reference else None
    for found in PHRASE.finditer(text):
        rule = found.lastgroup or ""
        match = RULES[rule].match(text, found.start(rule))
        until = day if found.group()[:5].lower() == "since" else None
        try:
            span = span_of(rule, match, day, lean) if match else None
            window = _window(span, until) if span else None
        except (ValueError, OverflowError, LookupError):  # 31 June, 9999 years ago: no such date
            continue
        if window:
            yield found, window


def _window(span: tuple[date, date], until: date | None) -> TimeWindow:
    first, after = span
    if until and first <= until:
        after = until + timedelta(days=1)
    return TimeWindow(_midnight(first), _midnight(after))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _has_trigger(text: str) -> bool:
    """Whether ``text`` holds a word that a time phrase could hang on; quick, and mostly false."""
    return not _TRIGGERS.isdisjoint(_TOKEN.findall(text.lower()))
