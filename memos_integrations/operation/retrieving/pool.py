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


def gather(
    view: Snapshot,
    question: Question,
    sources: Mapping[str, Ranked],
    filters: Sequence[Clause],
    *,
    neighbours: bool,
    linked: Sequence[int] = (),
) -> Pool:
    """The pool of what the sources found."""
    found = list(dict.fromkeys([pk for ranked in sources.values() for pk, _ in ranked]))
    found += [pk for pk in linked if pk not in set(found)]
    about = view.about(found)
    found = [pk for pk in found if pk in about]
    before: dict[int, int] = {}
    if neighbours:
        before = _neighbours(view, found, about, filters)
    pks = list(about)
    row = {pk: i for i, pk in enumerate(pks)}
    links = set(linked)
    return Pool(
        pks=pks,
        about=[about[pk] for pk in pks],
        dense=_cosines(view, question, sources, pks),
        lexical=_spread(dict(sources.get("lexical", ())), pks),
        before=np.array([row.get(before.get(pk, 0), -1) for pk in pks], dtype=np.int64),
        linked=np.array([float(pk in links) for pk in pks]),
        now=view.now,
        sources=sources,
    )


def _neighbours(
    view: Snapshot, found: Sequence[int], about: dict[int, About], filters: Sequence[Clause]
) -> dict[int, int]:
    """By key: the turn before it. Those that nothing found are added to ``about``."""
    rows = view.around([pk for pk in found if about[pk].is_turn])
    new = {pk for row in rows for pk in row if pk is not None and pk not in about}
    about.update(view.about(view.shown(new, filters)))
    before: dict[int, int] = {}
    for row in rows:
        for earlier, later in pairwise(row):
            if earlier is not None and later is not None and _one_talk(about, earlier, later):
                before[later] = earlier
    within = set(found) | set(before) | set(before.values())
    for pk in new & about.keys() - within:
        del about[pk]
    return before


def _one_talk(about: Mapping[int, About], earlier: int, later: int) -> bool:
    one, other = about.get(earlier), about.get(later)
    if one is None or other is None or not (one.is_turn and other.is_turn):
        return False
    return abs(other.moment - one.moment) <= SAME_TALK


def _cosines(
    view: Snapshot, question: Question, sources: Mapping[str, Ranked], pks: Sequence[int]
) -> Numbers:
    if question.vector is None or "dense" not in sources:
        return np.zeros(len(pks))
    near = dict(sources["dense"])
    vectors = view.vectors(pks)
    if vectors:
        cosines = np.stack(list(vectors.values())) @ question.vector
        for pk, exact in zip(vectors, cosines.tolist(), strict=True):
            # The index answers to within a hair; what is much nearer is so by a piece of its text.
            if near.get(pk, -1.0) <= exact + TOLERANCE:
                near[pk] = exact
    return _spread(near, pks)


def _spread(scores: Mapping[int, float], pks: Sequence[int]) -> Numbers:
    return np.array([scores.get(pk, 0.0) for pk in pks], dtype=np.float64)
