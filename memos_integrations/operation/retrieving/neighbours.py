"""A turn counts more if the turns around it fit: an answer seldom repeats what was asked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from memos_integrations.operation.retrieving.pool import Numbers, Pool

AFTER_QUESTION = 3.0
"""How much more the turn before counts if it is a question."""

TWO_AWAY = 2 / 3
"""How much the turn before that counts, and the second one after."""

MOST = AFTER_QUESTION + 1 + 2 * TWO_AWAY
"""The most that :func:`neighbours` gives."""

Rows = npt.NDArray[np.int64]
"""A row for each memory of the pool; -1: none."""


def neighbours(pool: Pool, likeness: Numbers) -> Numbers:
    """0 to :data:`MOST`: the likeness of the two turns before and of the two after."""
    asks = np.array([one.asks for one in pool.about], dtype=np.float64)
    asked = likeness * (1 + (AFTER_QUESTION - 1) * asks)
    before, after = pool.before, _after(pool.before)
    near = _of(asked, before) + _of(likeness, after)
    further = _of(likeness, _twice(before)) + _of(likeness, _twice(after))
    both: Numbers = near + TWO_AWAY * further
    return both


def _after(before: Rows) -> Rows:
    """The row of the turn after each."""
    after = np.full_like(before, -1)
    later = np.flatnonzero(before >= 0)
    after[before[later]] = later
    return after


def _twice(step: Rows) -> Rows:
    return np.where(step >= 0, step[step], -1)


def _of(values: Numbers, rows: Rows) -> Numbers:
    found: Numbers = np.where(rows >= 0, values[rows], 0.0)
    return found
