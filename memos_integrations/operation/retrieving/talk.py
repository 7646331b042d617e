"""A turn counts more in a talk that fits: who asks about a day asks about what was said on it."""

from __future__ import annotations

import numpy as np

from memos_integrations.operation.retrieving.pool import SAME_TALK, Numbers, Pool


def talk(pool: Pool, likeness: Numbers) -> Numbers:
    """0 to 1: the likeness of the best turn of its talk. Without turns there is no talk.

    A talk is what was said without the pause of an hour in between; beside turns a fact or a
    document is a talk of its own.
    """
    turns = np.flatnonzero([one.is_turn for one in pool.about])
    if not len(turns):
        return np.zeros_like(likeness)
    best = likeness.copy()
    moments = np.array([pool.about[i].moment for i in turns])
    order = np.argsort(moments, kind="stable")
    begins = np.flatnonzero(
        np.diff(moments[order], prepend=moments.min() - 2 * SAME_TALK) > SAME_TALK
    )
    of_each = np.maximum.reduceat(likeness[turns[order]], begins)
    lengths = np.diff(begins, append=len(order))
    best[turns[order]] = np.repeat(of_each, lengths)
    return best
