"""Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): hits that differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from memos_integrations.operation.retrieving.pool import Numbers, Pool

AMONG = 4
"""How many times as many as are wanted are chosen from."""


def spread_out(
    pool: Pool, scores: Numbers, order: Sequence[int], limit: int, weight: float
) -> list[int]:
    """The rows in another order: each next one has the best of score − ``weight`` x likeness.

    Likeness is the greatest cosine to one that stands before it. What was found by words alone,
    without vectors, keeps its place.
    """
    head = list(order[: AMONG * limit])
    if not all(pool.pks[i] in pool.vectors for i in head) or len(head) < 2:
        return list(order)
    vectors = np.stack([pool.vectors[pool.pks[i]] for i in head])
    worth, like = scores[head], np.zeros(len(head))
    left, chosen = list(range(len(head))), []
    while left:
        best = max(left, key=lambda i: worth[i] - weight * like[i])
        chosen.append(head[best])
        left.remove(best)
        like = np.maximum(like, vectors @ vectors[best])
    return [*chosen, *order[len(head) :]]
