"""A turn counts more if the turns before it fit: an answer seldom repeats what was asked."""

from __future__ import annotations

import numpy as np

from memos_integrations.operation.retrieving.pool import Numbers, Pool

AFTER_QUESTION = 3.0
"""How much more the turn before counts if it is a question."""

TWO_BEFORE = 2 / 3
"""How much the turn before that counts."""

MOST = AFTER_QUESTION + TWO_BEFORE
"""The most that :func:`neighbours` gives."""


def neighbours(pool: Pool, likeness: Numbers) -> Numbers:
    """0 to :data:`MOST`: the likeness of the two turns before."""
    asks = np.array([one.asks for one in pool.about], dtype=np.float64)
    before = likeness * (1 + (AFTER_QUESTION - 1) * asks)
    there = pool.before >= 0
    two = np.where(there, pool.before[pool.before], -1)
    near: Numbers = np.where(there, before[pool.before], 0.0)
    near = near + TWO_BEFORE * np.where(two >= 0, likeness[two], 0.0)
    return near
