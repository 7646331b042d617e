"""Calendar arithmetic: the days that a unit, a weekday, a month or a season covers.

A ``Span`` is ``(first day, day after the last)``. Weeks begin on Monday, weekends are Saturday
and Sunday, and seasons are the meteorological ones of the northern hemisphere: summer is June to
August, winter begins in December of the year that names it.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable, Iterator
from datetime import MAXYEAR, MINYEAR, date, timedelta

from dateutil.relativedelta import relativedelta

Span = tuple[date, date]

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}
MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}
"""The first three letters of each month, and its number."""

UNITS = {
    "day": relativedelta(days=1),
    "night": relativedelta(days=1),
    "evening": relativedelta(days=1),
    "morning": relativedelta(days=1),
    "afternoon": relativedelta(days=1),
    "week": relativedelta(weeks=1),
    "weekend": relativedelta(weeks=1),
    "fortnight": relativedelta(weeks=2),
    "month": relativedelta(months=1),
    "year": relativedelta(years=1),
    "decade": relativedelta(years=10),
    "minute": relativedelta(minutes=0),
    "hour": relativedelta(hours=0),
}


def day_of(year: int, month: int, day: int) -> Span:
    """One day; ``ValueError`` where the calendar has no such day."""
    first = date(year, month, day)
    return first, first + timedelta(days=1)


def month_of(year: int, month: int, *, months: int = 1) -> Span:
    """``months`` whole months from the first of ``month``."""
    first = date(year, month, 1)
    return first, first + relativedelta(months=months)


def year_of(year: int, *, years: int = 1) -> Span:
    """``years`` whole years from the first of January."""
    return date(year, 1, 1), date(year + years, 1, 1)


def named_in_year(name: str, year: int) -> Span:
    """The month or season ``name`` (lower case, short or long) that begins in ``year``."""
    if name in SEASONS:
        return month_of(year, SEASONS[name], months=3)
    return month_of(year, MONTHS[name[:3]])


def part_of(span: Span, part: str) -> Span:
    """The early, mid or late third of a span, a half of it, or such as its ``second week``."""
    first, after = span
    length = (after - first).days
    if part.endswith("week"):
        return _week_in(span, part.split()[0])
    if length < 3:
        return span
    if part.endswith("half"):
        years = (length + 2) // 365
        middle = first + (
            relativedelta(months=6 * years) if years else relativedelta(days=length // 2)
        )
        return (first, middle) if part == "first half" else (middle, after)
    months = (length + 2) // 91  # a season or a year has whole months in its thirds
    third = relativedelta(months=months) if months else relativedelta(days=length // 3)
    if part in ("early", "beginning", "start"):
        return first, first + third
    if part in ("mid", "middle"):
        return first + third, first + third * 2
    return first + third * 2, after


def shift(day: date, unit: str, count: int) -> date:
    """``day`` moved by ``count`` units; a month's end is clipped to the shorter month."""
    moved: date = day + UNITS[unit] * count
    return moved


def relative(name: str, day: date, count: int) -> Span:
    """The unit, weekday, month or season ``count`` away from ``day``: -1 last, 0 this, 1 next.

    A unit counts calendar units: last week is Monday to Sunday of the week before. A last Friday
    or May ended before ``day``; a next Friday is the one of next calendar week; a next May starts
    after ``day``; this Friday is the first on or after ``day``; this May is the one of this year.
    """
    if name in UNITS:
        return _period(name, shift(day, name, count))
    if name in WEEKDAYS and count > 0:
        return _weekday(name, day + timedelta(weeks=count))
    spans = _occurrences(name, day, abs(count))
    if count < 0:
        return [span for span in spans if span[1] <= day][count]
    if count > 0:
        return [span for span in spans if span[0] > day][count - 1]
    if name in WEEKDAYS:
        return nearest(name, day, 1)
    around = [span for span in spans if span[0] <= day < span[1]]
    return around[0] if around else named_in_year(name, day.year)


def nearest(name: str, day: date, way: int) -> Span:
    """The ``name`` closest to ``day``, on the side that ``way`` says.

    -1: the latest that began by ``day``; 1: the first that is not over; 0: of either side.
    """
    spans = _occurrences(name, day, 1)
    if way > 0:
        return next(span for span in spans if span[1] > day)
    if way < 0:
        return next(span for span in reversed(spans) if span[0] <= day)
    return min(spans, key=lambda span: max(span[0] - day, day - span[1] + timedelta(days=1)))


def nearest_date(month: int, number: int, day: date, way: int, weekday: int | None = None) -> Span:
    """Such a day of a year, closest to ``day``: -1 by then, 1 from then on, 0 of either side.

    ``weekday`` (0 is Monday) chooses the year where one fits, whatever ``way`` says.
    """
    months = ((day.year + step, month) for step in range(-9, 10))
    return _closest(_numbered(months, number), day, way, weekday)


def nearest_number(number: int, day: date, way: int, weekday: int | None = None) -> Span:
    """The day ``number`` of a month, chosen as in :func:`nearest_date`."""
    months = (divmod(day.year * 12 + day.month - 1 + step, 12) for step in range(-14, 15))
    return _closest(_numbered(((y, m + 1) for y, m in months), number), day, way, weekday)


def _numbered(months: Iterable[tuple[int, int]], number: int) -> Iterator[date]:
    for year, month in months:
        if MINYEAR <= year <= MAXYEAR and 1 <= number <= monthrange(year, month)[1]:
            yield date(year, month, number)


def _closest(dates: Iterable[date], day: date, way: int, weekday: int | None) -> Span:
    found = list(dates)
    fitting = [one for one in found if one.weekday() == weekday]
    first = min(
        fitting or [one for one in found if (one - day).days * way >= 0],
        key=lambda one: abs(one - day),
    )
    return first, first + timedelta(days=1)


def _week_in(span: Span, which: str) -> Span:
    """The first, second, third, fourth or last seven days of a span."""
    first, after = span
    if which == "last":
        return after - timedelta(days=7), after
    start = first + timedelta(days=7 * ("first", "second", "third", "fourth").index(which))
    return start, start + timedelta(days=7)


def _period(unit: str, day: date) -> Span:
    monday = day - timedelta(days=day.weekday())
    if unit in ("week", "fortnight"):
        return monday, monday + timedelta(days=7)
    if unit == "weekend":
        return monday + timedelta(days=5), monday + timedelta(days=7)
    if unit == "month":
        return month_of(day.year, day.month)
    if unit in ("year", "decade"):
        return year_of(day.year)
    return day, day + timedelta(days=1)


def _weekday(name: str, day: date) -> Span:
    start = day + timedelta(days=WEEKDAYS.index(name) - day.weekday())
    return start, start + timedelta(days=1)


def _occurrences(name: str, day: date, reach: int) -> list[Span]:
    """The spans called ``name`` around ``day``, oldest first: enough for ``reach`` each way."""
    steps = range(-reach - 1, reach + 2)
    if name in UNITS:
        return [_period(name, shift(day, name, step)) for step in steps]
    if name in WEEKDAYS:
        return [_weekday(name, day + timedelta(weeks=step)) for step in steps]
    return [named_in_year(name, day.year + step) for step in steps]
