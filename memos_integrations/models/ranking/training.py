"""Training: listwise, as ListNet does with one hit on top (Cao et al., ICML 2007).

Of each question, the softmax over the scores of its hits is to give all its weight to those that
are right, evenly. The loss is the mean cross entropy over questions, and a ridge that holds the
weights at those of the search itself: with little feedback little is changed. It is minimised by
L-BFGS (scipy), from seeded beginnings: the same feedback gives the same ranker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from memos_integrations.errors import FeedbackError, MissingExtraError
from memos_integrations.models.ranking.features import NAMES
from memos_integrations.models.ranking.judged import Judged
from memos_integrations.models.ranking.network import HIDDEN, Member, Network, Numbers

LEAST = 20
"""So many questions must teach something."""
MEMBERS = 4
RIDGE = 12.0
"""In questions: of twice as many, each counts as much, and the ridge half of it."""
BELIEF = 1.5
"""The weight of the search's own score (standardised) that the ridge holds on to."""
BEGINNING = 0.1
"""Deviation of the weights of the hidden layer at the beginning."""
ROUNDS = 60


def train(feedback: Sequence[Judged]) -> Network:
    """A network for this feedback. Raises :class:`FeedbackError` if it is too little."""
    taught = [one for one in feedback if one.teaches]
    if len(taught) < LEAST:
        raise FeedbackError(
            f"{len(taught)} of {len(feedback)} questions teach something: it takes {LEAST} with "
            "something right among what was found, and something that is not"
        )
    every = np.concatenate([one.features for one in taught])
    scale = every.std(axis=0)
    network = Network(every.mean(axis=0), np.where(scale > 0, scale, 1.0), ())
    # Half the precision is enough for slopes, and takes half the time.
    lists = Lists(network.standardised(every).astype(np.float32), taught)
    members = [_member(lists, seed) for seed in range(MEMBERS)]
    return Network(network.mean, network.scale, members)


class Lists:
    """All questions' hits in one array of rows, and what their scores are to be."""

    def __init__(self, rows: Numbers, taught: Sequence[Judged]) -> None:
        self.rows = rows
        sizes = [len(one.right) for one in taught]
        self.starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self.of = np.repeat(np.arange(len(taught)), sizes)
        shares = [one.right / one.right.sum() for one in taught]
        self.target = np.concatenate(shares).astype(rows.dtype)
        self.ridge = RIDGE / len(taught)
        self.belief = np.zeros(Member.of(np.zeros(_weights()), len(NAMES)).flat.shape)
        self.belief[NAMES.index("score")] = BELIEF

    def loss(self, flat: Numbers) -> tuple[float, Numbers]:
        """The loss of all weights in one row, and its gradient."""
        member, count = Member.of(flat.astype(self.rows.dtype), len(NAMES)), len(self.starts)
        hidden = member.hidden(self.rows)
        scores = member.score(self.rows, hidden)
        scores = scores - np.maximum.reduceat(scores, self.starts)[self.of]
        grown = np.exp(scores)
        total = np.add.reduceat(grown, self.starts)[self.of]
        entropy = -float(self.target @ (scores - np.log(total))) / count
        away = flat - self.belief
        slope = member.gradient(self.rows, hidden, (grown / total - self.target) / count)
        return entropy + self.ridge * float(away @ away), slope + 2 * self.ridge * away


def _weights() -> int:
    return len(NAMES) + HIDDEN * len(NAMES) + 2 * HIDDEN


def _member(lists: Lists, seed: int) -> Member:
    begin = np.random.default_rng(seed).normal(0.0, BEGINNING, _weights())
    begin[: len(NAMES)] = lists.belief[: len(NAMES)]
    found = _minimise()(lists.loss, begin, jac=True, method="L-BFGS-B", options={"maxiter": ROUNDS})
    return Member.of(np.asarray(found.x, dtype=np.float64), len(NAMES))


def _minimise() -> Any:
    try:
        from scipy.optimize import minimize
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "scipy":
            raise
        raise MissingExtraError(
            "training a ranker needs scipy: pip install 'memos-integrations[ranker]'"
        ) from None
    return minimize
