"""What goes into weights: memory by memory, or in sets that one adapter knows together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from memos_integrations.operation.scheduling.actions import Consolidate
from memos_integrations.operation.scheduling.events import Learned, Weighed
from memos_integrations.operation.scheduling.moves import Moves
from memos_integrations.operation.scheduling.statistics import Memory
from memos_integrations.operation.scheduling.tiers import Form, Tier

_BEFORE = (Tier.PLAINTEXT, Tier.ACTIVATION)
"""Where a memory can be trained from."""


class Together:
    """Decides about parameter memory, with the moves of a planner."""

    def __init__(self, moves: Moves) -> None:
        self._moves, self._holding, self._rules = moves, moves.holding, moves.rules
        self._weighs = False

    def ready(self) -> list[str]:
        """Memories that are used much and stable: the most valuable first."""
        found = [one for one in self._holding if self._is_ready(one)]
        return [one.cube_id for one in self._ranked(found)]

    def _is_ready(self, memory: Memory) -> bool:
        return (
            memory.tier in _BEFORE
            and memory.uses >= self._rules.consolidate_uses
            and self._moves.now - memory.changed_at >= self._rules.stable_for
        )

    def _ranked(self, memories: Iterable[Memory]) -> list[Memory]:
        return sorted(memories, key=lambda one: (-self._moves.key(one), one.cube_id))

    # Sets ---------------------------------------------------------------------------------

    def learned(self, event: Learned) -> None:
        """Note what an adapter knows, and what it takes."""
        self._weighs = True
        known = [one for one in self._known(event.cube_ids) if one.tier is not Tier.ARCHIVE]
        for memory in known:
            self._moves.reform(memory, Tier.PARAMETER, Form(_share(event.bytes, known)))
            if memory.tier is not Tier.PARAMETER:
                self._moves.shift(memory, Tier.PARAMETER)

    def weighed(self, event: Weighed) -> None:
        """Train a set, if it pays and all of it can be: one adapter knows it together."""
        self._weighs = True
        members = [one for one in self._known(event.cube_ids) if one.tier is not Tier.ARCHIVE]
        new = [one for one in members if one.tier is not Tier.PARAMETER]
        if not new or not self._moves.acts:
            return
        why_not = self._obstacle(event, members, new) if event.pays else event.reason
        for memory in new:
            memory.waits = why_not
        if why_not:
            return
        share = Form(_share(event.form.bytes, members), event.form.build_ms / len(new))
        self._moves.spend(Tier.PARAMETER, event.form.build_ms)
        for memory in members:
            self._moves.reform(memory, Tier.PARAMETER, share)
        for memory in new:
            move = self._moves.move
            move(memory, Consolidate, Tier.PARAMETER, event.reason, build_ms=share.build_ms)

    def _obstacle(self, event: Weighed, members: Sequence[Memory], new: Sequence[Memory]) -> str:
        """Why a set cannot be trained now, whether it pays or not; empty: it can."""
        for memory in new:
            if calm := self._moves.calm(memory):
                return calm
        held = sum(one.forms[Tier.PARAMETER].bytes for one in members if one not in new)
        more = _share(event.form.bytes, members) * len(members) - held
        return self._moves.lacks(Tier.PARAMETER, event.form, more)

    # One by one ---------------------------------------------------------------------------

    def consolidate(self) -> None:
        """Train what is stable and used much, as far as there is room and time.

        Where sets are weighed, these decide.
        """
        for memory in [] if self._weighs else reversed(self._cached()):
            form = memory.forms.get(Tier.PARAMETER)
            if form is not None and form.bytes <= self._holding.free(Tier.PARAMETER):
                days = (self._moves.now - memory.changed_at) / 86_400
                why = f"used {memory.uses:g} times, unchanged for {days:.1f} days"
                self._moves.build(memory, Consolidate, Tier.PARAMETER, why)

    def _cached(self) -> list[Memory]:
        """Those in activation memory that are ready, and have been there for as long."""
        return [
            one
            for one in self._holding.ascending(Tier.ACTIVATION)
            if self._is_ready(one)
            and self._moves.now - (one.moved_at or one.changed_at) >= self._rules.stable_for
        ]

    def _known(self, cube_ids: Iterable[str]) -> list[Memory]:
        found = [self._holding.get(one) for one in dict.fromkeys(cube_ids)]
        return [one for one in found if one is not None]


def _share(bytes: int, members: Sequence[Memory]) -> int:
    """What each of a set takes of its adapter."""
    return math.ceil(bytes / max(1, len(members)))
