"""Candidate sources and their fusion by reciprocal rank (Cormack et al., SIGIR 2009)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from memos_integrations.cube import MemCube
from memos_integrations.errors import InvalidInputError
from memos_integrations.infrastructure.filters import Clause
from memos_integrations.infrastructure.lexical import telling_words
from memos_integrations.infrastructure.snapshot import Narrowed, Snapshot
from memos_integrations.protocols import Vectors
from memos_integrations.query import Hit, MemoryCall, Successor, TimeWindow

Ranked = Sequence[tuple[int, float]]
"""``(cube key, score)``, best first."""

_SECONDS_A_DAY = 86_400.0


@dataclass(frozen=True)
class SearchPolicy:
    """How search weighs what it knows. A weight of 0 turns its source off."""

    dense: float = 1.0
    """Weight of meaning: cosine between the question and the memory."""
    lexical: float = 1.0
    """Weight of words: BM25."""
    rrf_k: int = 60
    """Reciprocal rank fusion's constant: larger makes top ranks count less."""
    recency: float = 0.0
    """Weight of newness: halves every ``half_life_days`` since the event (or the writing)."""
    half_life_days: float = 30.0
    event_time: float = 0.5
    """Weight of falling into the time that the question speaks of ("last May")."""
    candidates: int = 50
    """How many of each source are fused, at least."""
    links: float = 0.0
    """Weight of being linked to what the other sources found first (see ``organise``)."""
    superseded: float = 1.0
    """0: leave what was replaced where it is; else what replaced it comes first."""
    untrusted: float = 0.9
    """What the scores of memories of low trust (tools, documents, imports) are multiplied with,
    where a user's or the assistant's are found beside them; 1: they rank as all others."""
    same_words: float = 0.97
    """Cosine from which two memories with mostly the same words count as one in a result."""

    def __post_init__(self) -> None:
        numbers = vars(self).values()
        if not all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers):
            raise InvalidInputError(f"every part of a search policy is a number: {self}")
        weights = (self.dense, self.lexical, self.recency, self.event_time, self.links)
        if not all(math.isfinite(w) and w >= 0 for w in weights):
            raise InvalidInputError("search weights must be finite and not negative")
        if self.dense + self.lexical == 0:
            raise InvalidInputError("dense and lexical are both 0: nothing would be searched")
        if self.rrf_k < 1 or self.candidates < 1 or not self.half_life_days > 0:
            raise InvalidInputError("rrf_k, candidates and half_life_days must be positive")
        if not 0 < self.untrusted <= 1:
            raise InvalidInputError(f"untrusted is {self.untrusted}: give a number over 0, up to 1")


LINKED_FROM = 8
"""How many of the best candidates bring in what is linked to them."""

MOST_CANDIDATES = 2_000
"""Where widening the search ends when all it finds are repeats."""


def retrieve(
    view: Snapshot,
    call: MemoryCall,
    vector: Vectors | None,
    *,
    policy: SearchPolicy,
    limit: int,
    filters: Sequence[Clause] = (),
) -> list[tuple[int, Hit]]:
    """The best ``limit`` memories for a question, each with its key.

    ``vector``: the question, float32 ``(dimension,)``, unit length; needed if ``policy.dense``.
    The score is the weighted mean of ``(k + 1) / (k + rank)`` over the sources, so 1 means
    first in each. When repeats of one another fill the candidates, more are asked for.
    """
    want = max(policy.candidates, limit * 2 + 8)
    filters = view.narrowed(filters)
    while True:
        sources = _candidates(view, call, vector, policy, want, filters)
        found = _ranked(view, call, _with_links(view, sources, policy), policy, limit)
        exhausted = all(len(ranked) < want for _, ranked in sources.values())
        if len(found) == limit or exhausted or want >= MOST_CANDIDATES:
            return _newest_first(view, call, found, policy, limit, filters)
        want *= 4


def _candidates(
    view: Snapshot,
    call: MemoryCall,
    vector: Vectors | None,
    policy: SearchPolicy,
    want: int,
    filters: Sequence[Clause],
) -> dict[str, tuple[float, Ranked]]:
    """By source: its weight, and the best ``want`` it knows."""
    sources: dict[str, tuple[float, Ranked]] = {}
    by_meaning = policy.dense > 0 and vector is not None
    few = isinstance(filters, Narrowed)
    asked = view.ask(vector, want) if by_meaning and vector is not None and not few else None
    if policy.lexical:
        sources["lexical"] = policy.lexical, view.matching(call.text, want, filters)
    if by_meaning and vector is not None:
        sources["dense"] = policy.dense, view.nearest(vector, want, filters, asked)
    return dict(sorted(sources.items()))


def _with_links(
    view: Snapshot, sources: dict[str, tuple[float, Ranked]], policy: SearchPolicy
) -> dict[str, tuple[float, Ranked]]:
    """The sources, and what is linked to the best of them, in the order of those."""
    if not policy.links:
        return sources
    fused = fuse(sources, policy.rrf_k)
    best = sorted(fused, key=lambda pk: (-fused[pk], pk))[:LINKED_FROM]
    linked = view.linked(best)
    near = list(dict.fromkeys(other for pk in best for other in linked[pk] if other not in best))
    return {**sources, "links": (policy.links, [(pk, 1.0) for pk in near])} if near else sources


def _newest_first(
    view: Snapshot,
    call: MemoryCall,
    found: list[tuple[int, Hit]],
    policy: SearchPolicy,
    limit: int,
    filters: Sequence[Clause],
) -> list[tuple[int, Hit]]:
    """What was replaced says so, and comes after what replaced it.

    That is brought in if it was not found itself. A question about a time is about what held then.
    """
    newer = view.successors([pk for pk, _ in found], filters) if policy.superseded else {}
    if not newer:
        return found
    hits = dict(found)
    fetched = view.load(sorted({pk for pk in newer.values() if pk not in hits}))
    for pk, cube in fetched.items():
        hits[pk] = Hit(cube, 0.0)
    order: list[int] = []
    for pk, hit in found:
        if (successor := newer.get(pk)) is not None:
            hits[pk] = _superseded(hit, hits[successor].cube)
            if call.window is None and successor not in order:
                better = max(hit.score, hits[successor].score)
                why = hits[successor].why or f"replaces {_short(hit)}"
                hits[successor] = replace(hits[successor], score=better, why=why)
                order.append(successor)
        if pk not in order:
            order.append(pk)
    return [(pk, hits[pk]) for pk in order[:limit]]


def _short(hit: Hit) -> str:
    return f"…{hit.cube.id[-6:]}"


def _superseded(hit: Hit, by: MemCube) -> Hit:
    about = by.header.descriptive
    since = about.event_time or about.said_at or about.created_at
    note = f"superseded on {since:%Y-%m-%d}: {by.text[:80]!r}"
    why = f"{hit.why}; {note}" if hit.why else note
    return replace(hit, why=why, superseded_by=Successor(by.id, by.text, since))


def _ranked(
    view: Snapshot,
    call: MemoryCall,
    sources: Mapping[str, tuple[float, Ranked]],
    policy: SearchPolicy,
    limit: int,
) -> list[tuple[int, Hit]]:
    """The candidates fused, timed, without repeats, cut and explained."""
    fused = fuse(sources, policy.rrf_k)
    ranks = {
        name: {pk: i + 1 for i, (pk, _) in enumerate(found)} for name, (_, found) in sources.items()
    }
    parts = {name: dict(found) for name, (_, found) in sources.items()}
    if policy.recency or (policy.event_time and call.window):
        cubes = view.load(list(fused))
        fused = _timed(fused, cubes, call.window, view.now, policy)
    if policy.untrusted < 1:
        low = view.untrusted(list(fused))
        if len(low) < len(fused):
            fused = {pk: n * policy.untrusted if pk in low else n for pk, n in fused.items()}
    # Who is first by meaning and second by words ties with who is the other way round.
    near = parts.get("dense", {})
    order = sorted(fused, key=lambda pk: (-fused[pk], -near.get(pk, -1.0), pk))
    chosen = _without_repeats(view, order, limit, policy.same_words)
    return [
        (
            pk,
            Hit(
                cube=cube,
                score=fused[pk],
                parts={name: found[pk] for name, found in parts.items() if pk in found},
                why=explain(cube, {n: r[pk] for n, r in ranks.items() if pk in r}, parts, pk, call),
            ),
        )
        for pk, cube in chosen.items()
    ]


def fuse(sources: Mapping[str, tuple[float, Ranked]], k: int) -> dict[int, float]:
    """Weighted reciprocal rank fusion, scaled to 1 for what is first everywhere."""
    total = sum(weight for weight, _ in sources.values()) or 1.0
    fused: dict[int, float] = {}
    for weight, found in sources.values():
        for rank, (pk, _) in enumerate(found, 1):
            fused[pk] = fused.get(pk, 0.0) + weight / total * (k + 1) / (k + rank)
    return fused


def _timed(
    fused: Mapping[int, float],
    cubes: Mapping[int, MemCube],
    window: TimeWindow | None,
    now: datetime,
    policy: SearchPolicy,
) -> dict[int, float]:
    """Fold newness and the question's time into the score; nothing is dropped."""
    window_weight = policy.event_time if window else 0.0
    total = 1.0 + policy.recency + window_weight
    timed = {}
    for pk, score in fused.items():
        about = cubes[pk].header.descriptive
        moment = about.event_time or about.said_at or about.created_at
        days = max(0.0, (now - moment).total_seconds() / _SECONDS_A_DAY)
        fresh = policy.recency * 0.5 ** (days / policy.half_life_days)
        inside = window_weight if window is not None and _speaks_of(cubes[pk], window) else 0.0
        timed[pk] = (score + fresh + inside) / total
    return timed


def _speaks_of(cube: MemCube, window: TimeWindow) -> bool:
    about = cube.header.descriptive
    return any(
        moment is not None and moment in window for moment in (about.event_time, about.said_at)
    )


def _without_repeats(
    view: Snapshot, order: Sequence[int], limit: int, alike: float
) -> dict[int, MemCube]:
    """The first ``limit`` that do not say again what a better one says."""
    chosen: dict[int, MemCube] = {}
    vectors: dict[int, Vectors] = {}
    step = limit + 4
    for start in range(0, len(order), step):
        page = order[start : start + step]
        cubes = view.load(page)
        vectors.update(view.vectors(page))
        for pk in page:
            if len(chosen) == limit:
                return chosen
            cube = cubes[pk]
            if not any(_same(cube, chosen[c], vectors[pk], vectors[c], alike) for c in chosen):
                chosen[pk] = cube
    return chosen


def _same(one: MemCube, other: MemCube, a: Vectors, b: Vectors, alike: float) -> bool:
    about, besides = one.header, other.header
    if about.descriptive.speaker != besides.descriptive.speaker:
        return False
    if about.behaviour.context_fingerprint == besides.behaviour.context_fingerprint:
        return True
    if float(np.dot(a, b)) < alike:
        return False
    words, others = set(one.text.casefold().split()), set(other.text.casefold().split())
    return len(words & others) >= 0.9 * len(words | others)


def explain(
    cube: MemCube,
    ranks: Mapping[str, int],
    parts: Mapping[str, Mapping[int, float]],
    pk: int,
    call: MemoryCall,
) -> str:
    """Why this memory came back, in one line."""
    reasons = []
    if "dense" in ranks:
        reasons.append(f"meaning #{ranks['dense']} (cosine {parts['dense'][pk]:.2f})")
    if "lexical" in ranks:
        shared = shared_words(call.text, cube)
        words = f": {', '.join(shared)}" if shared else ""
        reasons.append(f"words #{ranks['lexical']}{words}")
    if "links" in ranks:
        reasons.append("linked to a better one")
    if call.window is not None and _speaks_of(cube, call.window):
        reasons.append(f"time: {call.phrase}" if call.phrase else "time")
    return "; ".join(reasons)


def shared_words(question: str, cube: MemCube) -> list[str]:
    """The telling words that question and memory share, as the question has them (five at most)."""
    said = f"{cube.header.descriptive.speaker or ''} {cube.text}".lower()
    return [word for word in telling_words(question) if word[:5] in said][:5]
