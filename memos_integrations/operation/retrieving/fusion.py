"""Fusion: the parts of a score, weighted and summed.

A sum of scaled scores keeps how much better the best is, which reciprocal ranks throw away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from memos_integrations.operation.retrieving import manner, times
from memos_integrations.operation.retrieving.likeness import likeness
from memos_integrations.operation.retrieving.neighbours import MOST, neighbours
from memos_integrations.operation.retrieving.policy import SearchPolicy
from memos_integrations.operation.retrieving.pool import Numbers, Pool
from memos_integrations.operation.retrieving.question import Question
from memos_integrations.operation.retrieving.speaker import speaker
from memos_integrations.operation.retrieving.talk import talk

LEAST = 1e-6
"""The score of what has nothing for it, or less: it was found all the same."""


@dataclass(frozen=True)
class Part:
    """One part of the scores."""

    name: str
    weight: float
    values: Numbers
    most: float = 1.0
    """The most that a memory can have of it."""


def parts(pool: Pool, question: Question, policy: SearchPolicy) -> list[Part]:
    """Every part that is on; penalties have a negative weight. Likeness comes first."""
    own = likeness(pool, policy)
    every = [
        Part("likeness", 1.0, own),
        Part("neighbours", policy.neighbours, neighbours(pool, own), MOST),
        Part("talk", policy.talk, talk(pool, own)),
        Part("speaker", policy.speaker, speaker(pool, question)),
        Part("time", policy.event_time, times.within(pool, question)),
        Part("dated", policy.dated, times.dated(pool, question)),
        Part("links", policy.links, pool.linked),
        Part("question", -policy.question, manner.question(pool)),
        Part("brief", -policy.brief, manner.brief(pool)),
    ]
    if policy.recency:
        every.append(Part("recency", policy.recency, times.newness(pool, policy.half_life_days)))
    return [part for part in every if part.weight and part.values.any()]


def fused(every: list[Part], count: int) -> Numbers:
    """Scores from just above 0 to 1: the sum over the most that this question could give."""
    if not every:
        return np.full(count, LEAST)
    possible = sum(part.weight * part.most for part in every if part.weight > 0) or 1.0
    total: Numbers = np.sum([part.weight * part.values for part in every], axis=0) / possible
    return np.clip(total, LEAST, 1.0)
