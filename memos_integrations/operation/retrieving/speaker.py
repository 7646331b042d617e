"""A question about a person is mostly answered by what that person said."""

from __future__ import annotations

import numpy as np

from memos_integrations.infrastructure.snapshot import first_name
from memos_integrations.operation.retrieving.pool import Numbers, Pool
from memos_integrations.operation.retrieving.question import Question


def speaker(pool: Pool, question: Question) -> Numbers:
    """1 for what the one says whom the question names; 0 for all if it names none or several."""
    named = {first_name(name) for name in question.named}
    if len(named) != 1:
        return np.zeros(len(pool.pks))
    [name] = named
    return np.array([float(first_name(one.speaker or "") == name) for one in pool.about])
