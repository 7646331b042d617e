"""What is where: memories by id, bytes by tier, and in each tier the least valuable first."""

from __future__ import annotations

from collections.abc import Iterator

from memos_integrations.operation.scheduling.ranking import Ranking
from memos_integrations.operation.scheduling.rules import Budgets
from memos_integrations.operation.scheduling.statistics import Memory
from memos_integrations.operation.scheduling.tiers import BOUNDED, TAKEN, Tier


class Holding:
    """The memories that a scheduler knows."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._memories: dict[str, Memory] = {}
        self.bytes: dict[Tier, int] = dict.fromkeys(BOUNDED, 0)
        self._ranked: dict[Tier, Ranking] = {tier: Ranking() for tier in Tier}

    def __len__(self) -> int:
        return len(self._memories)

    def __iter__(self) -> Iterator[Memory]:
        return iter(self._memories.values())

    def get(self, cube_id: str) -> Memory | None:
        """One memory, if it is known."""
        return self._memories.get(cube_id)

    def count(self, tier: Tier) -> int:
        """How many are there."""
        return len(self._ranked[tier])

    def free(self, tier: Tier) -> float:
        """Bytes below the budget; negative above it."""
        return self._budgets.bytes_of(tier) - self.bytes[tier] if tier in self.bytes else 0.0

    def put(self, memory: Memory, key: float) -> None:
        """Take a memory in, where its tier says."""
        self._memories[memory.cube_id] = memory
        self._charge(memory, 1)
        self._ranked[memory.tier].put(memory.cube_id, key)

    def drop(self, memory: Memory) -> None:
        """Forget a memory."""
        del self._memories[memory.cube_id]
        self._charge(memory, -1)
        self._ranked[memory.tier].drop(memory.cube_id)

    def rank(self, memory: Memory, key: float) -> None:
        """Its value has changed."""
        self._ranked[memory.tier].put(memory.cube_id, key)

    def ascending(self, tier: Tier) -> Iterator[Memory]:
        """From the least valuable on; nothing may move meanwhile."""
        for cube_id in self._ranked[tier].ascending():
            yield self._memories[cube_id]

    def of_plaintext(self) -> Iterator[Memory]:
        """All that take plaintext bytes: those that are nothing else first."""
        for tier in BOUNDED:
            yield from self.ascending(tier)

    def _charge(self, memory: Memory, sign: int) -> None:
        for tier in TAKEN[memory.tier]:
            form = memory.forms.get(tier)
            self.bytes[tier] += sign * (form.bytes if form else 0)
