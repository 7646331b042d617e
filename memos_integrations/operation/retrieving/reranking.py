"""Reranking: the best hits in the order that another model gives them; none comes, none goes."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from memos_integrations.errors import RerankError
from memos_integrations.operation.retrieving.policy import SearchPolicy
from memos_integrations.operation.retrieving.pool import Numbers
from memos_integrations.protocols import Reranker
from memos_integrations.query import Hit, MemoryCall

log = logging.getLogger(__name__)

Found = Sequence[tuple[int, Hit]]
"""Hits with their keys, best first."""


def reranked(
    reranker: Reranker, call: MemoryCall, found: Found, policy: SearchPolicy
) -> list[tuple[int, Hit]]:
    """The first ``policy.reranked`` in the reranker's order, the others after them.

    Its score stands in ``hit.parts["reranker"]``; ``hit.score`` stays what it was. What is of low
    trust loses as much as before, and what was replaced stays behind what replaced it. A reranker
    that fails is logged, and the order stays as it was: a search answers all the same.
    """
    head, rest = list(found[: policy.reranked]), list(found[policy.reranked :])
    if not head:
        return rest
    try:
        scores = _scores(reranker, call.text, [hit for _, hit in head])
    except Exception as error:  # foreign code may raise anything; a search answers all the same
        log.warning(
            "the reranker %s failed (%s): hits stay in the order of the search",
            type(reranker).__name__,
            type(error).__name__,
        )
        log.debug("why the reranker failed", exc_info=error)
        return [*head, *rest]
    order = np.argsort(-_trusted(scores, head, policy), kind="stable").tolist()
    moved = [
        (head[old][0], _told(head[old][1], scores[old], old + 1, new + 1))
        for new, old in enumerate(order)
    ]
    return [*_newest_first(moved, call), *rest]


def _scores(reranker: Reranker, question: str, hits: list[Hit]) -> list[float]:
    """One finite number a hit, or :class:`RerankError`."""
    scores = [float(score) for score in reranker.rerank(question, hits)]
    if len(scores) != len(hits) or not all(map(math.isfinite, scores)):
        raise RerankError(
            f"{type(reranker).__name__} gave {len(scores)} scores for {len(hits)} hits: "
            "rerank returns one finite number for each hit, in their order"
        )
    return scores


def _trusted(scores: list[float], head: Found, policy: SearchPolicy) -> Numbers:
    """From 0 to 1, whatever the reranker's scale is; less for what is of low trust."""
    raw = np.array(scores)
    spread = (raw - raw.min()) / ((raw.max() - raw.min()) or 1.0)
    low = np.array([bool(hit.parts.get("untrusted")) for _, hit in head])
    scaled: Numbers = spread * np.where(low, policy.untrusted, 1.0)
    return scaled


def _told(hit: Hit, score: float, old: int, new: int) -> Hit:
    why = f"reranked #{old} → #{new}" if old != new else f"reranked, stays #{new}"
    return replace(
        hit,
        parts={**hit.parts, "reranker": score},
        why=f"{hit.why}; {why}" if hit.why else why,
    )


def _newest_first(moved: Found, call: MemoryCall) -> list[tuple[int, Hit]]:
    """What replaced a hit before it, unless the question is about a time."""
    if call.window is not None:
        return list(moved)
    by_id = {hit.cube.id: (pk, hit) for pk, hit in moved}
    order: dict[str, tuple[int, Hit]] = {}
    for pk, hit in moved:
        after = hit.superseded_by
        if after is not None and after.id in by_id:
            order.setdefault(after.id, by_id[after.id])
        order.setdefault(hit.cube.id, (pk, hit))
    return list(order.values())
