"""A search from its question to its hits; each step is a file in ``retrieving``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from memos_integrations.infrastructure.filters import Clause
from memos_integrations.infrastructure.snapshot import Snapshot
from memos_integrations.operation.retrieving.candidates import Ranked, candidates
from memos_integrations.operation.retrieving.diversity import spread_out
from memos_integrations.operation.retrieving.fusion import Part, fused, parts
from memos_integrations.operation.retrieving.likeness import likeness
from memos_integrations.operation.retrieving.policy import SearchPolicy
from memos_integrations.operation.retrieving.pool import Numbers, Pool, gather, with_turns_around
from memos_integrations.operation.retrieving.question import Question, without_names
from memos_integrations.operation.retrieving.reasons import explain
from memos_integrations.operation.retrieving.repeats import without_repeats
from memos_integrations.operation.retrieving.replaced import newest_first
from memos_integrations.operation.retrieving.trust import untrusted
from memos_integrations.query import Hit

__all__ = ["Question", "SearchPolicy", "retrieve", "without_names"]

AROUND = 20
"""Around how many of the best candidates the turns before and after are looked at.

More take time and find no more: on LoCoMo all of them found a little less.
"""

LINKED_FROM = 8
"""How many of the best candidates bring in what is linked to them."""

MOST_CANDIDATES = 2_000
"""Where widening the search ends when all it finds are repeats."""


def retrieve(
    view: Snapshot,
    question: Question,
    *,
    policy: SearchPolicy,
    limit: int,
    filters: Sequence[Clause] = (),
) -> list[tuple[int, Hit]]:
    """The best ``limit`` memories for a question, each with its key.

    When repeats of one another fill the candidates, more are asked for.
    """
    want = max(policy.candidates, limit * 2 + 8)
    filters = view.narrowed(filters)
    while True:
        sources = candidates(view, question, policy, want, filters)
        pool = _pool(view, question, sources, policy, filters)
        found = _ranked(view, question, pool, policy, limit)
        exhausted = all(len(ranked) < want for ranked in sources.values())
        if len(found) == limit or exhausted or want >= MOST_CANDIDATES:
            return newest_first(view, question.call, found, policy, limit, filters)
        want *= 4


def _pool(
    view: Snapshot,
    question: Question,
    sources: Mapping[str, Ranked],
    policy: SearchPolicy,
    filters: Sequence[Clause],
) -> Pool:
    """What the sources found, what is linked to the best of it, and the turns around those."""
    pool = gather(view, question, sources)
    best = _order(pool, likeness(pool, policy))
    if policy.links:
        linked = view.linked([pool.pks[i] for i in best[:LINKED_FROM]])
        near = dict.fromkeys(one for others in linked.values() for one in others)
        near = {pk: None for pk in near if pk not in linked}
        if near:
            allowed = view.shown(near, filters)
            pool = gather(view, question, sources, [pk for pk in near if pk in allowed])
            best = _order(pool, likeness(pool, policy))
    if not policy.neighbours:
        return pool
    return with_turns_around(pool, view, question, best[:AROUND], filters)


def _ranked(
    view: Snapshot, question: Question, pool: Pool, policy: SearchPolicy, limit: int
) -> list[tuple[int, Hit]]:
    """The pool weighed, without repeats, cut and explained."""
    every = parts(pool, question, policy)
    scores = fused(every, len(pool.pks))
    if policy.untrusted < 1:
        low = untrusted(pool)
        scores = scores * np.where(low > 0, policy.untrusted, 1.0)
        every.append(Part("untrusted", 0.0, low))
    best = _order(pool, scores)
    if policy.diverse:
        best = spread_out(pool, scores, best, limit, policy.diverse)
    order = [pool.pks[i] for i in best]
    chosen = without_repeats(view, order, limit, policy.same_words, pool.vectors)
    row = {pk: i for i, pk in enumerate(pool.pks)}
    ranks = {
        name: {pk: i + 1 for i, (pk, _) in enumerate(found)} for name, found in pool.sources.items()
    }
    hits = []
    for pk, cube in chosen.items():
        made_of = _parts_of(pool, every, row[pk])
        placed = {name: ranked[pk] for name, ranked in ranks.items() if pk in ranked}
        why = explain(cube, placed, made_of, question)
        hits.append((pk, Hit(cube, float(scores[row[pk]]), made_of, why)))
    return hits


def _order(pool: Pool, scores: Numbers) -> list[int]:
    """Rows, best first; of equal scores the nearer meaning, then the older."""
    best: list[int] = np.lexsort((np.array(pool.pks), -pool.dense, -scores)).tolist()
    return best


def _parts_of(pool: Pool, every: Sequence[Part], i: int) -> dict[str, float]:
    """What the score of one memory is made of: cosine, BM25, and each part that it has."""
    made_of = {}
    if "dense" in pool.sources:
        made_of["dense"] = float(pool.dense[i])
    if pool.lexical[i]:
        made_of["lexical"] = float(pool.lexical[i])
    named = (part for part in every if part.name != "likeness")
    made_of.update({part.name: float(part.values[i]) for part in named if part.values[i]})
    return made_of
