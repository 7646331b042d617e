"""A small network over features: a line, and one hidden layer beside it; in numpy alone.

``s(x) = a·x + c·tanh(B x + b)`` for each row ``x`` of standardised features. Several of them, from
other beginnings, give their mean: what one has learned by chance the others have not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

HIDDEN = 16
"""Units of the hidden layer."""


@dataclass(frozen=True)
class Member:
    """The weights of one network over ``d`` features."""

    line: Numbers
    """a, ``(d,)``."""
    inner: Numbers
    """B, ``(HIDDEN, d)``."""
    bias: Numbers
    """b, ``(HIDDEN,)``."""
    outer: Numbers
    """c, ``(HIDDEN,)``."""

    @classmethod
    def of(cls, flat: Numbers, count: int) -> Self:
        """From all weights in one row, for ``count`` features; see :attr:`flat`."""
        ends = np.cumsum([count, HIDDEN * count, HIDDEN])
        line, inner, bias, outer = np.split(flat, ends)
        return cls(line, inner.reshape(HIDDEN, count), bias, outer)

    @property
    def flat(self) -> Numbers:
        """All weights in one row."""
        return np.concatenate([self.line, self.inner.ravel(), self.bias, self.outer])

    def hidden(self, rows: Numbers) -> Numbers:
        """``tanh(B x + b)``, ``(n, HIDDEN)``."""
        made: Numbers = np.tanh(rows @ self.inner.T + self.bias)
        return made

    def score(self, rows: Numbers, hidden: Numbers | None = None) -> Numbers:
        """s, ``(n,)``. ``hidden``: if it is known already."""
        hidden = self.hidden(rows) if hidden is None else hidden
        made: Numbers = rows @ self.line + hidden @ self.outer
        return made

    def gradient(self, rows: Numbers, hidden: Numbers, of_scores: Numbers) -> Numbers:
        """Of a loss, by all weights in one row, from its gradient by the scores ``(n,)``."""
        within = of_scores[:, None] * self.outer * (1 - hidden**2)
        return np.concatenate(
            [
                rows.T @ of_scores,
                (within.T @ rows).ravel(),
                within.sum(axis=0),
                hidden.T @ of_scores,
            ]
        )


@dataclass(frozen=True)
class Network:
    """Members over the same features, and how these are standardised."""

    mean: Numbers
    scale: Numbers
    members: Sequence[Member]

    def score(self, features: Numbers) -> Numbers:
        """The mean of the members' scores, ``(n,)``."""
        rows = self.standardised(features)
        made: Numbers = np.mean([member.score(rows) for member in self.members], axis=0)
        return made

    def standardised(self, features: Numbers) -> Numbers:
        """Mean 0 and deviation 1 over the feedback; far beyond it nothing is believed."""
        rows: Numbers = np.clip((features - self.mean) / self.scale, -MOST, MOST)
        return rows


MOST = 8.0
"""So many deviations from the mean are the most."""
