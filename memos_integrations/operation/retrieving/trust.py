"""Trust: what came from tools, documents or imports counts less beside what was said."""

from __future__ import annotations

import numpy as np

from memos_integrations.infrastructure.snapshot import Snapshot
from memos_integrations.operation.retrieving.pool import Numbers, Pool


def untrusted(view: Snapshot, pool: Pool) -> Numbers:
    """1 for what is of low trust, if it stands beside what is not; else 0 for all."""
    low = view.untrusted(pool.pks)
    if len(low) == len(pool.pks):
        return np.zeros(len(pool.pks))
    return np.array([float(pk in low) for pk in pool.pks])
