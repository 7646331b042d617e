"""Bootstrap intervals (Efron, Annals of Statistics 1979): how far the questions' draw matters."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

DRAWS = 2_000

Interval = tuple[float, float]
"""From, to: 95% of the draws lie in it."""


def interval(values: npt.NDArray[np.float64], seed: int = 0) -> Interval:
    """Of the mean, over questions drawn anew; the same for the same values.

    Of a difference: pass the differences question by question, and both rows see the same draw.
    """
    draw = np.random.default_rng(seed)
    means = [float(values[draw.integers(0, len(values), len(values))].mean()) for _ in range(DRAWS)]
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)
