"""A question about a person is mostly answered by what that person said."""

from __future__ import annotations

import re

import numpy as np

from memos_integrations.infrastructure.snapshot import first_name
from memos_integrations.infrastructure.turns import About
from memos_integrations.operation.retrieving.pool import Numbers, Pool
from memos_integrations.operation.retrieving.question import Question


def speaker(pool: Pool, question: Question) -> Numbers:
    """1 for what the one says whom the question names; 0 for all if it names none or several.

    What nobody said (a fact, a document) is hers if it names her.
    """
    named = {first_name(name) for name in question.named}
    if len(named) != 1:
        return np.zeros(len(pool.pks))
    [name] = named
    says = re.compile(rf"\b{re.escape(name)}\b", re.IGNORECASE)
    return np.array([float(_is_hers(one, name, says)) for one in pool.about])


def _is_hers(one: About, name: str, says: re.Pattern[str]) -> bool:
    if one.speaker is None and not one.is_turn:
        return says.search(one.text) is not None
    return first_name(one.speaker or "") == name
