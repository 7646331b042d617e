"""Candidate sources: each asks the snapshot for the best it knows, as ``(cube key, score)``."""

from __future__ import annotations

from collections.abc import Sequence

from memos_integrations.infrastructure.filters import Clause
from memos_integrations.infrastructure.snapshot import Narrowed, Snapshot
from memos_integrations.operation.retrieving.policy import SearchPolicy
from memos_integrations.operation.retrieving.question import Question

Ranked = Sequence[tuple[int, float]]
"""``(cube key, score)``, best first."""


def candidates(
    view: Snapshot,
    question: Question,
    policy: SearchPolicy,
    want: int,
    filters: Sequence[Clause],
) -> dict[str, Ranked]:
    """By source: the best ``want`` it knows."""
    found: dict[str, Ranked] = {}
    vector = question.vector if policy.dense else None
    few = isinstance(filters, Narrowed)
    # The index works while SQL is asked for the words.
    asked = None if vector is None or few else view.ask(vector, want)
    if policy.lexical:
        found["lexical"] = view.matching(question.words, want, filters)
    if vector is not None:
        found["dense"] = view.nearest(vector, want, filters, asked)
    return dict(sorted(found.items()))
