"""When memories are due: at the end of their lifespan, and when they have grown cold."""

from __future__ import annotations

from collections.abc import Iterator

from memos_integrations.operation.scheduling.holding import Holding
from memos_integrations.operation.scheduling.ranking import Agenda
from memos_integrations.operation.scheduling.rules import Rules
from memos_integrations.operation.scheduling.statistics import Memory
from memos_integrations.operation.scheduling.tiers import Tier


class Due:
    """The memories of a holding by the time at which something must be looked at."""

    def __init__(self, holding: Holding, rules: Rules) -> None:
        self._holding, self._rules = holding, rules
        self._lapses = Agenda(self._lapses_at)
        self._chills = Agenda(self._chills_at)

    def note(self, memory: Memory) -> None:
        """It is new, or not what it was."""
        self._lapses.note(memory.cube_id)
        self._chills.note(memory.cube_id)

    def note_place(self, memory: Memory) -> None:
        """It has moved."""
        if memory.tier is not Tier.ARCHIVE:
            self._chills.note(memory.cube_id)

    def over(self, now: float) -> Iterator[Memory]:
        """Those whose lifespan is over."""
        return self._known(list(self._lapses.pop(now)))

    def cold(self, now: float) -> Iterator[Memory]:
        """Those that were not used for long."""
        return self._known(list(self._chills.pop(now)))

    def _known(self, cube_ids: list[str]) -> Iterator[Memory]:
        for cube_id in cube_ids:
            memory = self._holding.get(cube_id)
            if memory is not None:
                yield memory

    def _lapses_at(self, cube_id: str) -> float | None:
        memory = self._holding.get(cube_id)
        return None if memory is None else memory.expires_at

    def _chills_at(self, cube_id: str) -> float | None:
        """When a memory is cold: after a long time, and one that is long for it."""
        memory, rules = self._holding.get(cube_id), self._rules
        if memory is None or memory.tier is Tier.ARCHIVE or rules.archive_after is None:
            return None
        usual = 4 * memory.gap if memory.gap is not None else 0.0
        return max(memory.last_use, memory.changed_at) + max(rules.archive_after, usual)
