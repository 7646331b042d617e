"""What each rule of the grammar means, in days."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta

from memos_integrations.interface import calendar_spans as spans
from memos_integrations.interface.calendar_spans import Span
from memos_integrations.interface.tense import direction
from memos_integrations.interface.time_grammar import COUNTS

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


def span_of(rule: str, match: re.Match[str], day: date | None, lean: int = 0) -> Span | None:
    """The days that ``match`` of ``rule`` means, said on ``day``; ``None`` where it means none.

    ``lean`` is where a date without a year points if the words around it do not say: -1 back,
    1 ahead, 0 to the nearest. Raises ``ValueError``, ``OverflowError`` or ``LookupError`` for
    dates that no calendar has.
    """
    if rule in _ALONE:
        span = _ALONE[rule](match)
    elif rule in _TENSED:
        span = _TENSED[rule](match, day, lean)
    else:
        span = _RESOLVERS[rule](match, day) if day else None
    part = match.groupdict().get("part")
    return spans.part_of(span, part.lower()) if span and part else span


def _written(match: re.Match[str], day: date | None, lean: int) -> Span | None:
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
    weekday = _weekday(got["onday"])
    marks = got["s1"], got["s3"], got["of"], got["onday"], got.get("on"), got.get("way")
    if day is None or (name in ("may", "march") and not any(marks)):
        return None  # "march 5 miles"
    return spans.nearest_date(month, int(number), day, direction(match) or lean, weekday)


def _number(match: re.Match[str], day: date | None, lean: int) -> Span | None:
    """A day of some month: on the 7th."""
    if day is None:
        return None
    way, weekday = direction(match) or lean, _weekday(match["onday"])
    return spans.nearest_number(int(match["number"]), day, way, weekday)


def _weekday(name: str | None) -> int | None:
    starts = [weekday[:3] for weekday in spans.WEEKDAYS]
    return starts.index(name[:3].lower()) if name else None


def _year(match: re.Match[str]) -> Span | None:
    return spans.year_of(int(match["year"]))


def _decade(match: re.Match[str]) -> Span | None:
    if not (match["century"] or match["the"] or match["part"]):
        return None  # "in her 30s"
    century = int(match["century"] or (19 if int(match["ten"]) >= 3 else 20))
    return spans.year_of(century * 100 + int(match["ten"]) * 10, years=10)


def _anchored(match: re.Match[str], day: date | None, lean: int) -> Span | None:
    anchor = _written(match, day, lean)
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
    return spans.nearest(name, anchor[1], 1)


def _within(match: re.Match[str], day: date) -> Span | None:
    name, count = match["inner"].lower(), _TURN[match["rel"].lower()]
    around = spans.relative(match["outer"].lower(), day, count)
    if name in spans.WEEKDAYS:
        weekly = match["outer"].lower() == "week"
        return spans.nearest(name, around[1] - timedelta(days=1), -1) if weekly else None
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
        return spans.nearest(name, day + timedelta(days=1), 1)
    return spans.relative(name, day, _TURN[turn])


def _ago(match: re.Match[str], day: date) -> Span | None:
    count = _count(match["n"])
    past = match["way"].lower() in ("ago", "back")
    return spans.relative(match["what"].lower(), day, -count if past else count)


def _offset(match: re.Match[str], day: date) -> Span | None:
    if direction(match) < 0:
        return None  # "we learned it in two weeks"
    unit = match["what"].lower()
    ahead = spans.shift(day, unit, _count(match["n"]))
    return spans.relative(unit if unit in ("month", "year") else "day", ahead, 0)


def _word(match: re.Match[str], day: date) -> Span | None:
    words = " ".join(match["word"].lower().split())
    return spans.relative("day", day, _WORDS[words])


def _bare(match: re.Match[str], day: date | None, lean: int) -> Span | None:
    if day is None:
        return None
    got = match.groupdict()
    way = direction(match) or lean
    if got["season"] or got["weekend"]:
        return spans.nearest((got["season"] or got["weekend"]).lower(), day, way or -1)
    return spans.nearest((got["month"] or got["weekday"] or got["weekday2"]).lower(), day, way)


def _count(word: str) -> int:
    if word.isdecimal():
        return int(word)
    return [COUNTS[part] for part in word.lower().split() if part in COUNTS][-1]


_ALONE: dict[str, Callable[[re.Match[str]], Span | None]] = {"year": _year, "decade": _decade}
_TENSED: dict[str, Callable[[re.Match[str], date | None, int], Span | None]] = {
    "anchored": _anchored,
    "written": _written,
    "number": _number,
    "bare": _bare,
}
_RESOLVERS: dict[str, Callable[[re.Match[str], date], Span | None]] = {
    "within": _within,
    "rolling": _rolling,
    "before_last": _before_last,
    "relative": _relative,
    "ago": _ago,
    "offset": _offset,
    "word": _word,
}
