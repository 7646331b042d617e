"""What each rule of the grammar means, in days."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta

from memos_integrations.interface import calendar_spans as spans
from memos_integrations.interface.calendar_spans import Span
from memos_integrations.interface.time_grammar import COUNTS

_AHEAD = re.compile(
    r"(?i)(?:\b(?:will|shall|won't|gonna|going to|plan(?:ning|s)? to|hop(?:e|es|ing) to|upcoming"
    r"|looking forward|can't wait|about to|let's)\b|['’]ll\b)"
)
_STOP = re.compile(r"[.!?\n]")
_TURN = {"last": -1, "previous": -1, "past": -1, "this": 0, "next": 1, "coming": 1, "upcoming": 1}
_HOURS = ("night", "evening", "morning", "afternoon")
_WORDS = {
    "the day before yesterday": -2,
    "yesterday": -1,
    "today": 0,
    "tonight": 0,
    "tomorrow": 1,
    "the day after tomorrow": 2,
}


def span_of(rule: str, match: re.Match[str], day: date | None) -> Span | None:
    """The days that ``match`` of ``rule`` means, said on ``day``; ``None`` where it means none.

    Raises ``ValueError``, ``OverflowError`` or ``LookupError`` for dates that no calendar has.
    """
    if rule in _WITH_YEAR:
        span = _WITH_YEAR[rule](match, day)
    else:
        span = _RESOLVERS[rule](match, day) if day else None
    part = match.groupdict().get("part")
    return spans.part_of(span, part.lower()) if span and part else span


def _written(match: re.Match[str], day: date | None) -> Span | None:
    """A date that stands there in figures, with its year or without."""
    got = match.groupdict()
    if got["iso"]:
        first = date.fromisoformat(got["iso"])
        return spans.day_of(first.year, first.month, first.day)
    year = int(got["y1"] or got["y2"] or got["y3"] or got["y4"] or 0)
    if got["season"]:
        return spans.named_in_year(got["season"].lower(), year)
    name, number = got["m1"] or got["m2"] or got["m3"], got["d1"] or got["d3"]
    month = spans.MONTHS[name[:3].lower()]
    if not number:
        return spans.month_of(year, month)
    if year:
        return spans.day_of(year, month, int(number))
    marked = got["s1"] or got["s3"] or got["of"] or got.get("on") or got.get("way")
    if day is None or (name in ("may", "march") and not marked):
        return None  # "march 5 miles"
    return spans.nearest_date(month, int(number), day, forward=_looks_ahead(match))


def _year(match: re.Match[str], _: date | None) -> Span | None:
    return spans.year_of(int(match["year"]))


def _decade(match: re.Match[str], _: date | None) -> Span | None:
    if not (match["century"] or match["the"] or match["part"]):
        return None  # "in her 30s"
    century = int(match["century"] or (19 if int(match["ten"]) >= 3 else 20))
    return spans.year_of(century * 100 + int(match["ten"]) * 10, years=10)


def _anchored(match: re.Match[str], day: date | None) -> Span | None:
    anchor = _written(match, day)
    if anchor is None:
        return None
    name, way = match["what"].lower(), match["way"].lower()
    count = 1 if match["n"].lower() == "the" else _count(match["n"])
    if way == "of":
        return spans.relative(name, anchor[0], 0)
    if way in ("before", "preceding"):
        return spans.relative(name, anchor[0], -count)
    if name in spans.UNITS:
        return spans.relative(name, anchor[1] - timedelta(days=1), count)
    return spans.nearest(name, anchor[1], forward=True)


def _within(match: re.Match[str], day: date) -> Span | None:
    name, count = match["inner"].lower(), _TURN[match["rel"].lower()]
    around = spans.relative(match["outer"].lower(), day, count)
    if name in spans.WEEKDAYS:
        weekly = match["outer"].lower() == "week"
        return spans.nearest(name, around[1] - timedelta(days=1), forward=False) if weekly else None
    return spans.named_in_year(name, around[0].year)


def _rolling(match: re.Match[str], day: date) -> Span | None:
    count = _count(match["n"] or "a")
    unit, way = (match["what"] or match["what2"]).lower(), (match["way"] or match["way2"]).lower()
    if way == "next":
        return day, spans.shift(day, unit, count) + timedelta(days=1)
    return spans.shift(day, unit, -count), day + timedelta(days=1)


def _before_last(match: re.Match[str], day: date) -> Span | None:
    if match["what2"]:
        return spans.relative(match["what2"].lower(), day, -1)
    return spans.relative(match["what"].lower(), day, -2 if match["way"].lower()[0] == "b" else 2)


def _relative(match: re.Match[str], day: date) -> Span | None:
    name, turn = match["what"].lower(), match["rel"].lower().split()[-1]
    if name in _HOURS:
        known = turn == "this" or (turn in ("last", "past") and name in ("night", "evening"))
        return spans.relative("day", day, _TURN[turn]) if known else None
    if turn in ("coming", "upcoming") and name not in ("week", "month", "year"):
        return spans.nearest(name, day + timedelta(days=1), forward=True)
    return spans.relative(name, day, _TURN[turn])


def _ago(match: re.Match[str], day: date) -> Span | None:
    count = _count(match["n"])
    past = match["way"].lower() in ("ago", "back")
    return spans.relative(match["what"].lower(), day, -count if past else count)


def _word(match: re.Match[str], day: date) -> Span | None:
    words = " ".join(match["word"].lower().split())
    return spans.relative("day", day, _WORDS[words])


def _bare(match: re.Match[str], day: date) -> Span | None:
    name = (
        match["month"]
        or match["season"]
        or match["weekend"]
        or match["weekday"]
        or match["weekday2"]
    )
    return spans.nearest(name.lower(), day, forward=_looks_ahead(match))


def _looks_ahead(match: re.Match[str]) -> bool:
    """Whether the sentence around ``match`` (200 characters each way) is about the future."""
    before = match.string[max(0, match.start() - 200) : match.start()]
    after = match.string[match.end() : match.end() + 200]
    sentence = _STOP.split(before)[-1] + " " + _STOP.split(after)[0]
    return bool(_AHEAD.search(sentence))


def _count(word: str) -> int:
    if word.isdecimal():
        return int(word)
    return [COUNTS[part] for part in word.lower().split() if part in COUNTS][-1]


_WITH_YEAR: dict[str, Callable[[re.Match[str], date | None], Span | None]] = {
    "anchored": _anchored,
    "written": _written,
    "year": _year,
    "decade": _decade,
}
_RESOLVERS: dict[str, Callable[[re.Match[str], date], Span | None]] = {
    "within": _within,
    "rolling": _rolling,
    "before_last": _before_last,
    "relative": _relative,
    "ago": _ago,
    "word": _word,
    "bare": _bare,
}
