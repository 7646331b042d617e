"""How well a memory fits by itself: meaning and words, each against the best one."""

from __future__ import annotations

import numpy as np

from memos_integrations.operation.retrieving.policy import SearchPolicy
from memos_integrations.operation.retrieving.pool import Numbers, Pool


def likeness(pool: Pool, policy: SearchPolicy) -> Numbers:
    """0 to 1: the weighted mean of both; 1 for what is best by both."""
    meaning, words = policy.dense, policy.lexical
    if "dense" not in pool.sources:
        meaning = 0.0
    if not pool.lexical.any() and meaning:
        words = 0.0  # a question without words that stand anywhere is one of meaning alone
    total = meaning + words or 1.0
    mixed: Numbers = meaning / total * scaled(pool.dense) + words / total * scaled(pool.lexical)
    return mixed


def scaled(scores: Numbers) -> Numbers:
    """From 0 (no likeness, or the least if that is below) to 1 (the best)."""
    if not len(scores):
        return scores
    low, high = min(0.0, float(scores.min())), float(scores.max())
    if high <= low:
        return np.zeros_like(scores)
    spread: Numbers = (scores - low) / (high - low)
    return spread
