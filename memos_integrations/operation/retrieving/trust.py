"""Trust: what came from tools, documents or imports counts less beside what was said."""

from __future__ import annotations

import numpy as np

from memos_integrations.operation.retrieving.pool import Numbers, Pool


def untrusted(pool: Pool) -> Numbers:
    """1 for what is of low trust, if it stands beside what is not; else 0 for all."""
    low = np.array([float(one.low) for one in pool.about])
    return np.zeros_like(low) if low.all() else low
