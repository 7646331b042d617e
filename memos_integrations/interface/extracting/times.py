"""When a statement was so: the words of the turn are read by our own grammar, not by the model.

What the model says counts only where it points at words of the turn, or where these say nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from memos_integrations.cube import MemCube
from memos_integrations.interface.dates import scan_times
from memos_integrations.interface.extracting import spans
from memos_integrations.query import TimeWindow

_YEAR = timedelta(days=365)

Basis = Literal["words", "model", "turn"]
"""What an event time rests on: words of the turn, the model's own date, the turn's own time."""


@dataclass(frozen=True)
class Dated:
    """A time and what it rests on."""

    moment: datetime | None = None
    basis: Basis | None = None
    phrase: str = ""
    """The words that it was read from."""


def date(turn: MemCube, span: tuple[int, int], when: str | None) -> Dated:
    """When what stands at ``span`` of the turn was so.

    In this order: the words that ``when`` points at, the first time phrase within the span, the
    date that ``when`` itself is, the turn's own time: when it was so, unless some other words of it
    say that, else when it was said.
    """
    about, text = turn.header.descriptive, turn.text
    reference = reference_of(turn)
    place = spans.find(text, when) if when else None
    phrases = list(scan_times(text, reference))
    for start, stop in [one for one in (place, span) if one is not None]:
        for found, window in _usable(phrases, reference):
            if found.start() < stop and start < found.end():
                return Dated(window.start, "words", found.group())
    if when and place is None:
        for found, window in _usable(list(scan_times(when, reference)), reference):
            return Dated(window.start, "model", found.group())
    own = about.said_at if phrases else about.event_time or about.said_at
    return Dated(own, "turn") if own is not None else Dated()


def reference_of(turn: MemCube) -> datetime | None:
    """What "last Friday" is reckoned from: when it was said, else when it was learned.

    A document without a time of its own has none.
    """
    about = turn.header.descriptive
    if about.said_at is not None or about.origin == "document":
        return about.said_at
    return about.created_at


def _usable(
    phrases: list[tuple[re.Match[str], TimeWindow]], reference: datetime | None
) -> Iterator[tuple[re.Match[str], TimeWindow]]:
    """A year or more with ``reference`` in it dates nothing, as for :class:`MemReader`."""
    for found, window in phrases:
        bounds = window.start, window.end
        long = bounds[0] is None or bounds[1] is None or bounds[1] - bounds[0] >= _YEAR
        if reference is None or reference not in window or not long:
            yield found, window
