"""What was replaced says so, and comes after what replaced it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from memos_integrations.cube import MemCube
from memos_integrations.infrastructure.filters import Clause
from memos_integrations.infrastructure.snapshot import Snapshot
from memos_integrations.operation.retrieving.policy import SearchPolicy
from memos_integrations.query import Hit, MemoryCall, Successor


def newest_first(
    view: Snapshot,
    call: MemoryCall,
    found: list[tuple[int, Hit]],
    policy: SearchPolicy,
    limit: int,
    filters: Sequence[Clause],
) -> list[tuple[int, Hit]]:
    """What replaced a hit is brought in if it was not found itself.

    A question about a time is about what held then: its order stays.
    """
    newer = view.successors([pk for pk, _ in found], filters) if policy.superseded else {}
    if not newer:
        return found
    hits = dict(found)
    fetched = view.load(sorted({pk for pk in newer.values() if pk not in hits}))
    for pk, cube in fetched.items():
        hits[pk] = Hit(cube, 0.0)
    order: list[int] = []
    for pk, hit in found:
        if (successor := newer.get(pk)) is not None:
            hits[pk] = _superseded(hit, hits[successor].cube)
            if call.window is None and successor not in order:
                better = max(hit.score, hits[successor].score)
                why = hits[successor].why or f"replaces {_short(hit)}"
                hits[successor] = replace(hits[successor], score=better, why=why)
                order.append(successor)
        if pk not in order:
            order.append(pk)
    return [(pk, hits[pk]) for pk in order[:limit]]


def _short(hit: Hit) -> str:
    return f"…{hit.cube.id[-6:]}"


def _superseded(hit: Hit, by: MemCube) -> Hit:
    about = by.header.descriptive
    since = about.event_time or about.said_at or about.created_at
    note = f"superseded on {since:%Y-%m-%d}: {by.text[:80]!r}"
    why = f"{hit.why}; {note}" if hit.why else note
    return replace(hit, why=why, superseded_by=Successor(by.id, by.text, since))
