"""Leave one conversation out: weights chosen on the others, shown on the one left out.

The search for weights is small and the same each time: from a plain hybrid, where meaning and words
weigh alike and nothing else weighs anything, one pass over :data:`GRID`, one weight after the
other, each set to what is best on the other conversations, and left as it is if nothing is better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from memos_integrations.evaluation.labelled import Conversation, Labelled
from memos_integrations.evaluation.rows import Row
from memos_integrations.evaluation.scoring import SHORT, Count, Figures, score
from memos_integrations.operation.retrieving.policy import SearchPolicy

GRID: Mapping[str, tuple[float, ...]] = {
    "lexical": (0.5, 1.0, 2.0),
    "speaker": (0.0, 0.25, 0.5, 1.0),
    "neighbours": (0.0, 0.075, 0.15, 0.3),
    "talk": (0.0, 0.25, 0.5, 1.0),
    "event_time": (0.0, 0.35, 0.7, 1.4),
    "dated": (0.0, 0.15, 0.3),
}
"""The weights that are chosen, in this order, and what each may be."""

_PLAIN: dict[str, Any] = {**dict.fromkeys(GRID, 0.0), "question": 0.0, "brief": 0.0, "lexical": 1.0}
NEUTRAL = SearchPolicy(**_PLAIN)
"""A plain hybrid of meaning and words."""

SHOWN = ("recall@10", "mrr", "recall in 500 tokens", "recall in 1,000 tokens")
"""The figures of a row."""

ENOUGH = 50
"""How many a search is asked for: more than 1,000 tokens hold, and half the work of a hundred."""

CHOSEN_BY = ("recall@10", "mrr", "recall in 1,000 tokens")
"""Weights are chosen by the mean of these."""

RowOf = Callable[[SearchPolicy], Row]
"""A way to search a conversation for each policy."""


@dataclass(frozen=True)
class HeldOut:
    """What stood in no choice of its weights."""

    conversation: str
    chosen: dict[str, float]
    """The weights that the other conversations chose."""
    figures: dict[str, Figures]
    """By ``plain hybrid``, ``chosen on the others`` and ``default``."""


def leave_one_out(
    data: Labelled, row_of: RowOf, count: Count, default: SearchPolicy
) -> list[HeldOut]:
    """One fold a conversation. What a policy finds in a conversation is asked once."""
    asked = _Asked(row_of, count)
    talks = [one for one in data.conversations if one.questions]
    folds = []
    for held in talks:
        others = [one for one in talks if one is not held]
        policy = _best(asked, others)
        rows = {"plain hybrid": NEUTRAL, "chosen on the others": policy, "default": default}
        figures = {name: asked.means([held], one) for name, one in rows.items()}
        folds.append(HeldOut(held.id, {name: getattr(policy, name) for name in GRID}, figures))
    return folds


def _best(asked: _Asked, talks: Sequence[Conversation]) -> SearchPolicy:
    best = NEUTRAL
    for name, values in GRID.items():
        each: list[dict[str, Any]] = [{name: value} for value in values]
        tried = [best, *(replace(best, **one) for one in each)]
        best = max(tried, key=lambda one: asked.worth(talks, one))
    return best


class _Asked:
    """The figures of each question, by conversation and policy."""

    def __init__(self, row_of: RowOf, count: Count) -> None:
        self._row_of, self._count = row_of, count
        self._known: dict[tuple[str, SearchPolicy], list[Figures]] = {}

    def worth(self, talks: Sequence[Conversation], policy: SearchPolicy) -> float:
        means = self.means(talks, policy)
        return fmean(means[figure] for figure in CHOSEN_BY)

    def means(self, talks: Sequence[Conversation], policy: SearchPolicy) -> Figures:
        every = [one for talk in talks for one in self._figures(talk, policy)]
        return {figure: fmean(one[figure] for one in every) for figure in SHOWN}

    def _figures(self, talk: Conversation, policy: SearchPolicy) -> list[Figures]:
        key = talk.id, policy
        if key not in self._known:
            search = self._row_of(policy)(talk)
            turns = {turn.id: turn for turn in talk.turns}
            costs = {turn.id: self._count(turn.line) for turn in talk.turns}
            found = []
            for one in talk.questions:
                long = search(one.text, ENOUGH)
                found.append(score(long[:SHORT], long, one, turns, costs.__getitem__))
            self._known[key] = found
        return self._known[key]
