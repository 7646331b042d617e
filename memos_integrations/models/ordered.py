"""An order that came back from a framework's reranker, as one score a hit."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real

from memos_integrations.errors import RerankError
from memos_integrations.query import Hit

Given = tuple[object, object]
"""``(id of a memory, its score or None)``, best first."""


def scores_of(given: Sequence[Given], hits: Sequence[Hit]) -> list[float]:
    """The scores, if each that came back has one; else by place, from 1 down to over 0.

    What did not come back follows in its own order. Raises :class:`RerankError` for what was not
    asked about: such a reranker has lost the ids, and its order says nothing.
    """
    ids = [hit.cube.id for hit in hits]
    best: dict[str, object] = {}
    for one, score in given:
        if not isinstance(one, str) or one not in ids:
            raise RerankError("the reranker gave back something without the id of a hit")
        best.setdefault(one, score)
    kept = list(best)
    scored = [
        float(one) for one in best.values() if isinstance(one, Real) and not isinstance(one, bool)
    ]
    if len(scored) < len(kept) or not kept:
        scored = [1 - place / (len(kept) + 1) for place in range(len(kept))]
    left = [one for one in ids if one not in best]
    below = min(scored, default=0.0)
    scored += [below - (place + 1) / len(ids) for place in range(len(left))]
    by_id = dict(zip([*kept, *left], scored, strict=True))
    return [by_id[one] for one in ids]
