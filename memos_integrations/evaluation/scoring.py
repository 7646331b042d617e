"""The figures of one question: what was found of its evidence, how far in front, at what price."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

from memos_integrations.evaluation.labelled import Asked, Turn

SHORT = 10
"""How many a search is asked for, as users ask it: all figures up to @10 come from that."""
LONG = 100
"""How many it is asked for to see further: @20, @50, sessions and budgets."""
KS = (1, 5, 10)
FURTHER = (20, 50)
BUDGETS = (500, 1_000, 2_000)
"""Tokens of a prompt."""

Figures = dict[str, float]
Count = Callable[[str], int]
"""Text to its number of tokens."""


def score(
    short: Sequence[str],
    long: Sequence[str],
    asked: Asked,
    turns: dict[str, Turn],
    cost: Callable[[str], int],
) -> Figures:
    """``short`` and ``long``: turn ids, best first; ``cost``: of a turn, in tokens."""
    wanted = asked.evidence
    figures: Figures = {f"recall@{k}": _recall(short[:k], wanted) for k in KS}
    figures |= {f"recall@{k}": _recall(long[:k], wanted) for k in FURTHER}
    figures["hit@10"] = float(figures["recall@10"] > 0)
    figures["ndcg@10"] = ndcg(short[:SHORT], wanted)
    figures["mrr"] = reciprocal_rank(long, wanted)
    talks = {turns[one].session for one in wanted}
    every = list(dict.fromkeys(turns[one].session for one in long))
    figures["session hit@10"] = float(bool(talks & set(every[:SHORT])))
    near = {turns[one].session for one in short}
    figures["session of the first 10"] = float(bool(talks & near))
    spent = list(accumulate(cost(one) for one in long))
    for budget in BUDGETS:
        fits = sum(so_far <= budget for so_far in spent)
        figures[f"recall in {budget:,} tokens"] = _recall(long[:fits], wanted)
    figures["tokens of the first 10"] = float(sum(cost(one) for one in short))
    return figures


def _recall(found: Iterable[str], wanted: frozenset[str]) -> float:
    return len(wanted & set(found)) / len(wanted)


def reciprocal_rank(found: Sequence[str], wanted: frozenset[str]) -> float:
    """1 / the rank of the first that answers; 0: none does."""
    return next((1 / rank for rank, one in enumerate(found, 1) if one in wanted), 0.0)


def ndcg(found: Sequence[str], wanted: frozenset[str]) -> float:
    """Normalised discounted cumulative gain (Järvelin and Kekäläinen, TOIS 2002), binary."""
    gain = sum(1 / math.log2(rank + 1) for rank, one in enumerate(found, 1) if one in wanted)
    best = sum(1 / math.log2(rank + 1) for rank in range(1, min(len(wanted), SHORT) + 1))
    return gain / best
