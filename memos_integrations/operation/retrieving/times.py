"""Times: the one that the question speaks of, a time at all, and newness. Nothing is dropped."""

from __future__ import annotations

import numpy as np

from memos_integrations.infrastructure.schema import from_micros, to_micros
from memos_integrations.infrastructure.turns import About
from memos_integrations.operation.retrieving.pool import Numbers, Pool
from memos_integrations.operation.retrieving.question import Question
from memos_integrations.query import TimeWindow

_MICROS_A_DAY = 86_400_000_000.0


def within(pool: Pool, question: Question) -> Numbers:
    """1 for what happened or was said in the time that the question speaks of."""
    window = question.call.window
    if window is None:
        return np.zeros(len(pool.pks))
    return np.array([float(speaks_of(one, window)) for one in pool.about])


def speaks_of(one: About, window: TimeWindow) -> bool:
    """Whether it happened or was said in a time."""
    return any(
        moment is not None and from_micros(moment) in window
        for moment in (one.event_time, one.said_at)
    )


def dated(pool: Pool, question: Question) -> Numbers:
    """Where the question asks when: 1 for what names a time other than that of its saying."""
    if not question.asks_when:
        return np.zeros(len(pool.pks))
    return np.array(
        [float(one.event_time not in (None, one.said_at)) for one in pool.about], dtype=np.float64
    )


def newness(pool: Pool, half_life_days: float) -> Numbers:
    """1 for now and what is to come; half of it every ``half_life_days`` before."""
    now = to_micros(pool.now)
    moments = np.array([one.event_time or one.said_at or one.created_at for one in pool.about])
    days = np.maximum(0.0, (now - moments) / _MICROS_A_DAY)
    fresh: Numbers = 0.5 ** (days / half_life_days)
    return fresh
