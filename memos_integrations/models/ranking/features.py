"""Features: what a learned ranker sees of each hit, as numbers. The question is one of them all.

Most are parts of the hit's score; the others are cheap: ranks among the hits, what else was found
in the same talk, and signs in the words.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from memos_integrations.models.ranking.wording import KINDS, kind, signs
from memos_integrations.query import Hit

Features = npt.NDArray[np.float64]
"""Shape ``(hits, len(NAMES))``."""

VERSION = 2
"""Changes with the meaning of any feature: a ranker learned with another one is refused."""

TOKENS = (
    *("token_mean", "token_rare", "token_least", "token_best"),
    *("token_back", "token_frame", "token_beside", "token_most"),
)
"""Parts of a hit token by token, where the store's embedder tells them."""
PARTS = (
    *("dense", "lexical", "neighbours", "talk", "speaker", "time", "dated", "brief"),
    *("before_1", "before_2", "after_1", "after_2", "around"),
    *("words", "words_before", "words_after", "words_around", "answers"),
    *TOKENS,
)
"""Those that are parts of a hit, under their names."""
_RANKED = ("dense", "lexical")
_DERIVED = (
    *("score", "log_rank", "dense_gap", "lexical_share", "dense_log_rank", "lexical_log_rank"),
    "token_log_rank",
    *(
        "answers_what_fits",
        "by_another",
        "asks_of_a_time",
        "talk_best",
        "talk_log_rank",
        "lateness",
    ),
    *("length", "length_squared", "when_and_times", "many_and_numbers", "place_and_names"),
)
NAMES = (*PARTS, *_DERIVED, *signs(""), *KINDS)
"""Of the columns."""


def features(question: str, hits: Sequence[Hit]) -> Features:
    """One row a hit, best first as the search has them."""
    if not hits:
        return np.zeros((0, len(NAMES)))
    asked = kind(question)
    shared = _shared(hits)
    rows = [
        {**_own(hit, asked), **{name: column[i] for name, column in shared.items()}}
        for i, hit in enumerate(hits)
    ]
    return np.array([[row.get(name, 0.0) for name in NAMES] for row in rows])


def _own(hit: Hit, asked: str | None) -> dict[str, float]:
    """What one hit has by itself."""
    row = {name: hit.parts.get(name, 0.0) for name in PARTS}
    row |= signs(hit.cube.text)
    if asked is not None:
        row[asked] = 1.0
    length = math.log(1 + len(hit.cube.text.split()))
    return {
        **row,
        "score": hit.score,
        "length": length,
        "length_squared": length * length,
        "answers_what_fits": row["answers"] * row["before_1"],
        "when_and_times": row["names_times"] * (asked == "asks_when"),
        "many_and_numbers": row["names_numbers"] * (asked == "asks_how_many"),
        "place_and_names": row["names_names"] * (asked in ("asks_where", "asks_who")),
    }


def _shared(hits: Sequence[Hit]) -> Mapping[str, npt.NDArray[np.float64]]:
    """What a hit has beside the others."""
    scores = np.array([hit.score for hit in hits])
    part = {
        name: np.array([hit.parts.get(name, 0.0) for hit in hits])
        for name in (*_RANKED, "token_rare", "speaker", "time")
    }
    talk, talk_rank = _talks(hits, scores)
    moments = np.array([_moment(hit) for hit in hits])
    return {
        "log_rank": np.log1p(np.arange(len(hits))),
        "dense_gap": part["dense"].max() - part["dense"],
        "lexical_share": part["lexical"] / (part["lexical"].max() or 1.0),
        "dense_log_rank": _log_rank(part["dense"]),
        "lexical_log_rank": _log_rank(part["lexical"]),
        "token_log_rank": _log_rank(part["token_rare"]) * part["token_rare"].any(),
        "by_another": (part["speaker"] == 0) * float(part["speaker"].any()),
        "asks_of_a_time": np.full(len(hits), float(part["time"].any())),
        "talk_best": talk,
        "talk_log_rank": talk_rank,
        "lateness": (moments - moments.min()) / ((moments.max() - moments.min()) or 1.0),
    }


def _log_rank(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    places = np.empty(len(values))
    places[np.argsort(-values, kind="stable")] = np.arange(len(values))
    return np.log1p(places)


def _talks(
    hits: Sequence[Hit], scores: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Of each hit's talk (what was said at one time): its three best scores' mean, and its rank."""
    together: dict[float, list[float]] = defaultdict(list)
    for hit, score in zip(hits, scores.tolist(), strict=True):
        together[_moment(hit) // 3600].append(score)
    worth = {talk: sum(sorted(found)[-3:]) / 3 for talk, found in together.items()}
    rank = {talk: i for i, talk in enumerate(sorted(worth, key=lambda one: (-worth[one], one)))}
    talks = [_moment(hit) // 3600 for hit in hits]
    return np.array([worth[one] for one in talks]), np.log1p([rank[one] for one in talks])


def _moment(hit: Hit) -> float:
    about = hit.cube.header.descriptive
    return (about.said_at or about.created_at).timestamp()
