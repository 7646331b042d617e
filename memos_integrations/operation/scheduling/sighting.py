"""What the store says has happened, as events."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from memos_integrations.cube import State
from memos_integrations.infrastructure.happenings import Together, Touched
from memos_integrations.operation.scheduling.events import (
    Added,
    Deleted,
    Event,
    Recalled,
    Ruled,
    Shown,
    Updated,
    Vector,
)
from memos_integrations.operation.scheduling.planner import Planner
from memos_integrations.operation.scheduling.tiers import Form, Tier

_OUT = frozenset({State.MERGED, State.EXPIRED})

_TRAINING = Form(bytes=1 << 20, build_ms=60_000.0)
"""What a memory takes in parameter memory, where nothing trains: a guess."""


class Sighting:
    """Remembers what it has told of each memory, so as to tell what is new.

    ``cache``: what the KV cache of a text takes; ``None``: nothing holds any. ``in_sets``: what is
    trained is weighed in sets, so that one memory alone has no form in parameter memory.
    """

    def __init__(self, cache: Callable[[int], Form] | None, *, in_sets: bool = False) -> None:
        self._cache = cache
        self._trained = None if cache is None or in_sets else _TRAINING
        self._told: dict[str, tuple[int, tuple[str, ...], float | None]] = {}
        self._vectors: dict[str, Vector] = {}

    def events(
        self,
        touched: Sequence[Touched],
        prompts: Sequence[Together],
        recalls: Sequence[Together],
        upto: int | None,
    ) -> list[Event]:
        """What happened, in the order of time; ``upto``: no use after these microseconds."""
        found: list[Event] = []
        for one in touched:
            found += self._event_of(one)
        kinds: tuple[tuple[type[Shown | Recalled], Sequence[Together]], ...]
        kinds = (Shown, prompts), (Recalled, recalls)
        for kind, groups in kinds:
            for group in groups:
                at = group.at.timestamp()
                if upto is None or at * 1e6 <= upto:
                    found.append(kind(at, group.cube_ids, topic=self._topic(group.cube_ids)))
        return sorted(found, key=lambda event: event.at)

    def _event_of(self, one: Touched) -> list[Event]:
        at, before = one.at.timestamp(), self._told.get(one.cube_id)
        if one.is_deleted or one.state in _OUT:
            self._told.pop(one.cube_id, None)
            self._vectors.pop(one.cube_id, None)
            return [] if before is None else [Deleted(at, one.cube_id)]
        pinned = one.priority >= 9 or one.state is State.FROZEN
        labels = (*one.labels, "pinned") if pinned else one.labels
        ends = None if one.expires_at is None else one.expires_at.timestamp()
        if one.state is State.FROZEN:
            ends = None  # it does not expire, until somebody unfreezes it
        self._told[one.cube_id] = one.version, labels, ends
        if one.vector is not None:
            self._vectors[one.cube_id] = tuple(np.frombuffer(one.vector, "<f4").tolist())
        if before is not None and before[0] == one.version:
            same = before == self._told[one.cube_id]
            return [] if same else [Ruled(at, one.cube_id, labels=labels, expires_at=ends)]
        described = (Added if before is None else Updated)(
            at,
            one.cube_id,
            plaintext=Form(one.size),
            activation=None if self._cache is None else self._cache(one.size),
            parameter=self._trained,
            labels=labels,
            vector=self._vectors.get(one.cube_id),
            expires_at=ends,
        )
        return [described]

    def _topic(self, cube_ids: Sequence[str]) -> Vector | None:
        """What a prompt was about: the mean of the memories in it."""
        known = [self._vectors[one] for one in cube_ids if one in self._vectors]
        return tuple(np.mean(known, axis=0).tolist()) if known else None


def place(planner: Planner, touched: Sequence[Touched], at: float) -> None:
    """Tell the planner who is archived: who archives or restores need not be the planner."""
    for one in touched:
        memory = planner.holding.get(one.cube_id)
        is_archived = one.state is State.ARCHIVED
        if memory is not None and (memory.tier is Tier.ARCHIVE) is not is_archived:
            planner.place(one.cube_id, Tier.ARCHIVE if is_archived else Tier.PLAINTEXT, at)
