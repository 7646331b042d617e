"""Feedback as a ranker learns from it: the features of what was found, and which of it was right.

There is no word of a question or a memory in it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from memos_integrations.models.ranking.features import Features, features
from memos_integrations.query import Hit


@dataclass(frozen=True)
class Judged:
    """One question."""

    features: Features
    """Of the hits, in the order of the search: ``(hits, features)``."""
    right: npt.NDArray[np.bool_]
    """Which of the hits are right, ``(hits,)``."""
    wanted: int
    """How many memories are right, found or not."""

    @classmethod
    def of(cls, question: str, hits: Sequence[Hit], right: Collection[str]) -> Judged:
        """``right``: ids of memories."""
        found = np.array([hit.cube.id in right for hit in hits], dtype=np.bool_)
        return cls(features(question, hits), found, len(right))

    @property
    def teaches(self) -> bool:
        """Whether something right was found, beside something that is not."""
        return bool(self.right.any() and not self.right.all())
