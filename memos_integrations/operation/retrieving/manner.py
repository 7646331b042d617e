"""Turns that seldom answer anything: questions, and the briefest. Facts lose nothing."""

from __future__ import annotations

import math

import numpy as np

from memos_integrations.operation.retrieving.pool import Numbers, Pool

ENOUGH_WORDS = 40
"""From here on a turn is not brief."""


def question(pool: Pool) -> Numbers:
    """1 for a turn that ends in a question."""
    return np.array([float(one.asks) for one in pool.about])


def brief(pool: Pool) -> Numbers:
    """1 for a turn of one word, down to 0 for one of :data:`ENOUGH_WORDS`, by their logarithm."""
    full = math.log(ENOUGH_WORDS)
    words = [one.text.count(" ") + 1 if one.is_turn else ENOUGH_WORDS for one in pool.about]
    short: Numbers = np.clip(1 - np.log(np.array(words, dtype=np.float64)) / full, 0, 1)
    return short
