"""What a reranker learns of a hit beside its own score: its words, and the turns around it.

Each is a part of the hit: ``before_1``, ``before_2``, ``after_1``, ``after_2`` (cosine of a turn
around it in the same talk), ``around`` (cosine of all of them as one), ``words``,
``words_before``, ``words_after``, ``words_around`` (the share of the question's telling words,
rare ones counting more), ``answers`` (1: the turn before is a question).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from memos_integrations.infrastructure.filters import Clause
from memos_integrations.infrastructure.lexical import telling_words
from memos_integrations.infrastructure.snapshot import Snapshot
from memos_integrations.infrastructure.turns import About
from memos_integrations.operation.retrieving.pool import SAME_TALK
from memos_integrations.operation.retrieving.question import Question, without_names
from memos_integrations.protocols import Vectors
from memos_integrations.query import Hit

Row = tuple[int | None, ...]
"""Two turns before, itself, two turns after."""
Stems = frozenset[str]

_PLACES = {"before_2": 0, "before_1": 1, "after_1": 3, "after_2": 4}
_WINDOW = (0.3, 0.6, 1.0, 0.4, 0.0)
"""How much each turn of a row counts in ``around``."""
_STEM = 5
"""So many letters of a word are compared."""


def with_surroundings(
    view: Snapshot,
    question: Question,
    found: Sequence[tuple[int, Hit]],
    filters: Sequence[Clause],
) -> list[tuple[int, Hit]]:
    """The same hits with these parts. The turns around pass the gate and the filters, too."""
    about = view.about([pk for pk, _ in found])
    rows = view.around([pk for pk, one in about.items() if one.is_turn])
    new = {pk for row in rows for pk in row if pk is not None and pk not in about}
    about = {**about, **view.about(view.shown(new, view.narrowed(filters)))}
    around = {row[2]: _of_one_talk(row, about) for row in rows}
    vectors = view.vectors(list(about)) if question.vector is not None else {}
    stems = {pk: _stems(one.text) for pk, one in about.items()}
    worth = _worth(question, stems)
    hits = []
    for pk, hit in found:
        row = around.get(pk, (None, None, pk, None, None))
        more = {**_meanings(row, vectors, question), **_words(row, stems, worth)}
        more["answers"] = float(row[1] is not None and about[row[1]].asks)
        hits.append((pk, replace(hit, parts={**hit.parts, **_there(more)})))
    return hits


def _there(parts: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in parts.items() if value}


def _of_one_talk(row: Row, about: Mapping[int, About]) -> Row:
    """The row, cut where a turn may not be shown or an hour of silence lies between."""
    kept = list(row)
    for places in ((2, 1, 0), (2, 3, 4)):
        for near, far in pairwise(places):
            if not _together(about, kept[near], kept[far]):
                kept[far] = None
    return tuple(kept)


def _together(about: Mapping[int, About], one: int | None, other: int | None) -> bool:
    here, there = about.get(one or 0), about.get(other or 0)
    if here is None or there is None or not there.is_turn:
        return False
    return abs(here.moment - there.moment) <= SAME_TALK


def _meanings(row: Row, vectors: Mapping[int, Vectors], question: Question) -> dict[str, float]:
    """The cosines of the turns around, and of all as one."""
    there = [vectors.get(pk or 0) for pk in row]
    if question.vector is None or there[2] is None:
        return {}
    asked = question.vector
    more = {name: _cosine(there[place], asked) for name, place in _PLACES.items()}
    weighed = [w * one for w, one in zip(_WINDOW, there, strict=True) if one is not None]
    return {**more, "around": _cosine(np.sum(weighed, axis=0), asked)}


def _cosine(one: Vectors | None, asked: Vectors) -> float:
    """``asked`` has unit length."""
    return 0.0 if one is None else float(one @ asked) / (float(np.linalg.norm(one)) or 1.0)


def _words(row: Row, stems: Mapping[int, Stems], worth: Mapping[str, float]) -> dict[str, float]:
    """The shares of the question that stand in the turn, beside it, and in all three."""
    before, here, after = (stems.get(pk or 0, frozenset()) for pk in row[1:4])
    said = {"words": here, "words_before": before, "words_after": after}
    said["words_around"] = before | here | after
    return {
        name: sum(share for word, share in worth.items() if word in words)
        for name, words in said.items()
    }


def _worth(question: Question, stems: Mapping[int, Stems]) -> dict[str, float]:
    """Of each word of the question: its share of the whole, by how rare it is here."""
    known = Counter(stem for one in stems.values() for stem in one)
    asked = _stems(without_names(question.call.text, question.named))
    rare = {stem: math.log(1 + len(stems) / (0.5 + known[stem])) for stem in sorted(asked)}
    total = sum(rare.values()) or 1.0
    return {stem: worth / total for stem, worth in rare.items()}


def _stems(text: str) -> Stems:
    return frozenset(word[:_STEM] for word in telling_words(text))
