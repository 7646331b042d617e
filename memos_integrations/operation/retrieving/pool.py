"""The pool: all that a search weighs, in arrays, with what each part of the score needs.

It holds what the sources found, and the turns around those; the latter only if they pass the
gate and the filters, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from memos_integrations.infrastructure.filters import Clause
from memos_integrations.infrastructure.index_keeper import TOLERANCE
from memos_integrations.infrastructure.snapshot import Snapshot
from memos_integrations.infrastructure.turns import About
from memos_integrations.operation.retrieving.candidates import Ranked
from memos_integrations.operation.retrieving.question import Question
from memos_integrations.protocols import Vectors

Numbers = npt.NDArray[np.float64]
"""One number for each memory of the pool."""

SAME_TALK = 3_600_000_000
"""Microseconds: turns further apart than an hour are of two conversations."""


@dataclass(frozen=True)
class Pool:
    """The memories that are weighed; row ``i`` of each array is about ``pks[i]``."""

    pks: list[int]
    about: list[About]
    dense: Numbers
    """Cosine; 0 where it is not asked."""
    lexical: Numbers
    """BM25; 0 for what has none of the words."""
    before: npt.NDArray[np.int64]
    """The row of the turn before it in its conversation; -1: none, or not in the pool."""
    linked: Numbers
    """1 for what is linked to the best of the others."""
    now: datetime
    sources: Mapping[str, Ranked] = field(default_factory=dict)
    vectors: Mapping[int, Vectors] = field(default_factory=dict)
    """Those that were read; by words alone none is."""


def gather(
    view: Snapshot,
    question: Question,
    sources: Mapping[str, Ranked],
    further: Sequence[int] = (),
) -> Pool:
    """The pool of what the sources found, and of ``further`` keys that may be shown."""
    found = dict.fromkeys([pk for ranked in sources.values() for pk, _ in ranked])
    about = view.about([*found, *(pk for pk in further if pk not in found)])
    linked = set(further)
    links = np.array([float(pk in linked) for pk in about])
    return _pool(view, question, sources, about, links, {})


def with_turns_around(
    pool: Pool, view: Snapshot, question: Question, best: Sequence[int], filters: Sequence[Clause]
) -> Pool:
    """The pool with the turns around the rows ``best``, and which comes before which."""
    about = dict(zip(pool.pks, pool.about, strict=True))
    rows = view.around([pool.pks[i] for i in best if pool.about[i].is_turn])
    new = {pk for row in rows for pk in row if pk is not None and pk not in about}
    near = {**about, **view.about(view.shown(new, filters))}
    before: dict[int, int] = {}
    for row in rows:
        for earlier, later in pairwise(row):
            if earlier is not None and later is not None and one_talk(near, earlier, later):
                before[later] = earlier
    within = about.keys() | before.keys() | set(before.values())
    kept = {pk: one for pk, one in near.items() if pk in within}
    links = np.concatenate([pool.linked, np.zeros(len(kept) - len(about))])
    made = _pool(view, question, pool.sources, kept, links, pool.vectors)
    at = {pk: i for i, pk in enumerate(kept)}
    made.before[:] = [at.get(before.get(pk, 0), -1) for pk in kept]
    return made


def _pool(
    view: Snapshot,
    question: Question,
    sources: Mapping[str, Ranked],
    about: Mapping[int, About],
    linked: Numbers,
    known: Mapping[int, Vectors],
) -> Pool:
    pks, vectors = list(about), dict(known)
    if question.vector is not None and "dense" in sources:
        vectors.update(view.vectors([pk for pk in pks if pk not in known]))
    return Pool(
        pks=pks,
        about=list(about.values()),
        dense=_cosines(question.vector, dict(sources.get("dense", ())), vectors, pks),
        lexical=_spread(dict(sources.get("lexical", ())), pks),
        before=np.full(len(pks), -1, dtype=np.int64),
        linked=linked,
        now=view.now,
        sources=sources,
        vectors=vectors,
    )


def one_talk(about: Mapping[int, About], earlier: int, later: int) -> bool:
    """Whether both are turns, with less than an hour in between."""
    one, other = about.get(earlier), about.get(later)
    if one is None or other is None or not (one.is_turn and other.is_turn):
        return False
    return abs(other.moment - one.moment) <= SAME_TALK


def _cosines(
    asked: Vectors | None,
    near: dict[int, float],
    vectors: Mapping[int, Vectors],
    pks: Sequence[int],
) -> Numbers:
    if asked is None or not vectors:
        return _spread(near, pks)
    cosines = np.stack(list(vectors.values())) @ asked
    for pk, exact in zip(vectors, cosines.tolist(), strict=True):
        # The index answers to within a hair; what is much nearer is so by a piece of its text.
        if near.get(pk, -1.0) <= exact + TOLERANCE:
            near[pk] = exact
    return _spread(near, pks)


def _spread(scores: Mapping[int, float], pks: Sequence[int]) -> Numbers:
    return np.array([scores.get(pk, 0.0) for pk in pks], dtype=np.float64)
