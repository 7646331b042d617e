"""Several wordings of one question: each is searched, a memory counts by the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from memos_integrations.query import Hit

Found = list[tuple[int, Hit]]
"""Hits with their keys, best first."""


def together(question: Found, others: Sequence[tuple[str, Found]], weight: float) -> Found:
    """The hits of the question, and those of its ``others`` at ``weight`` times their scores.

    A hit that another wording has found better says so.
    """
    best = dict(question)
    for words, found in others:
        for pk, hit in found:
            score = weight * hit.score
            if pk not in best or score > best[pk].score:
                best[pk] = replace(hit, score=score, why=f"{hit.why}; asked as {words!r:.80}")
    return sorted(best.items(), key=lambda pair: -pair[1].score)
