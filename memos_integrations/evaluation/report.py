"""What an evaluation found, by row, category and conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memos_integrations.evaluation.intervals import Interval, interval
from memos_integrations.evaluation.labelled import Labelled
from memos_integrations.evaluation.scoring import Figures

CERTAIN = (
    "recall@10",
    "mrr",
    "session hit@10",
    "recall in 500 tokens",
    "recall in 1,000 tokens",
)
"""The figures whose intervals are told."""


@dataclass(frozen=True)
class Scores:
    """The figures of one row, question by question."""

    values: Mapping[str, npt.NDArray[np.float64]]
    milliseconds: npt.NDArray[np.float64]

    @classmethod
    def of(cls, figures: Sequence[Figures], milliseconds: Sequence[float]) -> Scores:
        """From one dictionary a question."""
        names = figures[0] if figures else {}
        values = {name: np.array([one[name] for one in figures]) for name in names}
        return cls(values, np.array(milliseconds))


@dataclass(frozen=True)
class Report:
    """All rows over the same questions."""

    data: Labelled
    category: tuple[str, ...]
    """Of each question."""
    conversation: tuple[str, ...]
    """Of each question."""
    rows: Mapping[str, Scores]

    def mean(self, row: str, figure: str, *, category: str | None = None) -> float:
        """Over all questions, or those of a category."""
        return float(self.rows[row].values[figure][self._of(self.category, category)].mean())

    def in_conversation(self, row: str, figure: str, conversation: str) -> float:
        """The mean over the questions about one conversation."""
        chosen = self._of(self.conversation, conversation)
        return float(self.rows[row].values[figure][chosen].mean())

    def interval(self, row: str, figure: str) -> Interval:
        """Of the mean over all questions."""
        return interval(self.rows[row].values[figure])

    def lead(self, row: str, other: str, figure: str) -> Interval:
        """How far ``row`` is before ``other``, question by question."""
        return interval(self.rows[row].values[figure] - self.rows[other].values[figure])

    def milliseconds(self, row: str, percentile: float = 50) -> float:
        """Of one search of ten, the question's embedding apart."""
        return float(np.percentile(self.rows[row].milliseconds, percentile))

    def _of(self, each: Sequence[str], wanted: str | None) -> npt.NDArray[np.bool_]:
        return np.array([wanted is None or one == wanted for one in each])

    def plain(self) -> dict[str, Any]:
        """JSON-plain: every mean, by row and category, and intervals of the main figures.

        Of those, too, how far the first row leads.
        """
        return {
            "data": self.data.name,
            "conversations": len(self.data.conversations),
            "turns": self.data.turns,
            "questions": self.data.questions,
            "skipped": dict(self.data.skipped),
            "rows": {row: self._row(row) for row in self.rows},
        }

    def _row(self, row: str) -> dict[str, Any]:
        names = list(self.rows[row].values)
        by_category = {
            category: {name: self.mean(row, name, category=category) for name in names}
            for category in self.data.categories
        }
        return {
            "all": {name: self.mean(row, name) for name in names},
            "interval": {name: self.interval(row, name) for name in CERTAIN},
            "the first row leads by": {
                name: self.lead(next(iter(self.rows)), row, name) for name in CERTAIN
            },
            "by category": by_category,
            "recall@10 by conversation": {
                one.id: self.in_conversation(row, "recall@10", one.id)
                for one in self.data.conversations
                if one.questions
            },
            "milliseconds": {"p50": self.milliseconds(row), "p95": self.milliseconds(row, 95)},
        }
