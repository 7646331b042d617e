"""Moves between tiers, as far as bytes, milliseconds and calm allow."""

from __future__ import annotations

import math
from collections.abc import Iterator

from memos_integrations.operation.scheduling.actions import Action, Archive, Demote, Expire
from memos_integrations.operation.scheduling.context import Context
from memos_integrations.operation.scheduling.due import Due
from memos_integrations.operation.scheduling.holding import Holding
from memos_integrations.operation.scheduling.policies import KeepPolicy, is_pinned
from memos_integrations.operation.scheduling.rules import Budgets, Rules
from memos_integrations.operation.scheduling.statistics import Memory
from memos_integrations.operation.scheduling.tiers import BOUNDED, Form, Tier

_VICTIMS = 64
"""Memories at most that make room for one."""


class Moves:
    """Where memories are, and the actions that take them elsewhere."""

    def __init__(self, budgets: Budgets, rules: Rules, policy: KeepPolicy) -> None:
        self.budgets, self.rules, self.policy = budgets, rules, policy
        self.now = -math.inf
        self.origin = 0.0
        """Values are compared as of this moment; which one makes no difference."""
        self.context = Context(half_life=rules.half_life)
        self.holding = Holding(budgets)
        self.due = Due(self.holding, rules)
        self.acts = True
        """Whether anything is decided at all."""
        self.actions: list[Action] = []
        """What was decided since the last event."""
        self.put_off: dict[str, None] = {}
        """What this tick had no milliseconds left for."""
        self._held: dict[Tier, float] = {}
        self._allowed: dict[Tier, float] = {}  # of plaintext and activation together
        self.allow()

    # Figures ------------------------------------------------------------------------------

    def allow(self) -> None:
        """A new allowance of milliseconds."""
        pools = (Tier.ACTIVATION, Tier.PARAMETER)
        self._allowed = {tier: self.budgets.ms_of(tier) for tier in pools}

    def value(self, memory: Memory) -> float:
        """What it is worth now, as a power of two."""
        return self.policy.value(memory, self.context, self.now)

    def key(self, memory: Memory) -> float:
        """The same as of :attr:`origin`: values of different moments can be compared."""
        return self.policy.value(memory, self.context, self.origin)

    # Up -----------------------------------------------------------------------------------

    def build(self, memory: Memory, kind: type[Action], target: Tier, why: str) -> None:
        """Move a memory to a tier where something must be made for it, if all allows it."""
        if not self.acts:
            return
        form = memory.forms.get(target)
        memory.waits = (
            f"nothing can hold it in {target} memory"
            if form is None
            else self._obstacle(memory, target)
        )
        if memory.waits or form is None:
            return
        needed = form.bytes - self.holding.free(target)
        victims = self._victims(memory, target, needed)
        if victims is None:
            memory.waits = f"worth less than what would have to go for its {form.bytes} bytes"
            return
        for victim in victims:
            self._give_way(victim, target, f"gives way to {memory.cube_id}", forced=False)
        self.spend(target, form.build_ms)
        self.move(memory, kind, target, why, build_ms=form.build_ms)

    def _obstacle(self, memory: Memory, target: Tier) -> str:
        """Why a memory cannot go to a tier now, whatever it is worth; empty: it can."""
        form = memory.forms[target]
        if never := self._never(target, form):
            return never
        if calm := self.calm(memory):
            return calm
        if late := self._late(target, form):
            self.put_off[memory.cube_id] = None
            return late
        return ""

    def lacks(self, target: Tier, form: Form, more: float) -> str:
        """Why a set cannot go to a tier now, where it takes ``more`` bytes than before."""
        free = self.holding.free(target)
        room = f"takes {more:g} bytes more, and {free:g} are free" if more > free else ""
        return self._never(target, form) or room or self._late(target, form)

    def calm(self, memory: Memory) -> str:
        """Why a memory stays where it is for now; empty: it may move."""
        if not self._stays(memory):
            return ""
        assert memory.moved_at is not None
        ago, least = self.now - memory.moved_at, self.rules.min_residence
        return f"moved {ago:.0f} s ago, stays {least:g} s"

    def _never(self, target: Tier, form: Form) -> str:
        if form.bytes > self.budgets.bytes_of(target):
            return f"takes {form.bytes} bytes, more than the tier has"
        if form.build_ms > self.budgets.ms_of(target):
            return f"takes {form.build_ms:g} ms to build, more than a tick has"
        if self.now < self._held.get(target, -math.inf):
            return "memory was short a moment ago"
        return ""

    def _late(self, target: Tier, form: Form) -> str:
        left = self._allowed[_pool(target)]
        late = form.build_ms > left
        return f"takes {form.build_ms:g} ms, this tick has {left:g} left" if late else ""

    def spend(self, target: Tier, ms: float) -> None:
        """Take from what this tick may spend on building."""
        self._allowed[_pool(target)] -= ms

    def _victims(self, memory: Memory, target: Tier, needed: float) -> list[Memory] | None:
        """What goes for a memory: the least valuable; ``None`` if that is worth too much."""
        if needed <= 0:
            return []
        limit = self.key(memory) - self.rules.margin
        found: list[Memory] = []
        worth = -math.inf
        for other in self._in(target):
            key = self.key(other)
            if other is memory or self._stays(other):
                continue
            worth = key if worth == -math.inf else _log_sum(worth, key)
            if worth > limit or is_pinned(key) or len(found) == _VICTIMS:
                return None
            found.append(other)
            needed -= other.forms[target].bytes
            if needed <= 0:
                return found
        return None

    def _stays(self, memory: Memory) -> bool:
        moved = memory.moved_at
        return moved is not None and self.now - moved < self.rules.min_residence

    def _in(self, tier: Tier) -> Iterator[Memory]:
        return (
            self.holding.of_plaintext() if tier is Tier.PLAINTEXT else self.holding.ascending(tier)
        )

    # Down ---------------------------------------------------------------------------------

    def keep_budgets(self) -> None:
        """Let go of what is above them."""
        for tier in BOUNDED:
            if self.holding.free(tier) < 0:
                self.shed(tier, int(-self.holding.free(tier)), "the budget is full")

    def press(self, tier: Tier, wanted: int) -> None:
        """Memory is short: free bytes at once, and do not fill the tier again for a while."""
        self._held[tier] = self.now + self.rules.pressure_hold
        self.shed(tier, wanted, "memory is short")

    def shed(self, tier: Tier, wanted: int, why: str) -> None:
        """Free bytes at once, the least valuable first."""
        if not self.acts:
            return
        going, freed = [], 0
        for memory in self._in(tier):
            if freed >= wanted:
                break
            going.append(memory)
            freed += memory.forms[tier].bytes
        for memory in going:
            self._give_way(memory, tier, why, forced=True)

    def _give_way(self, memory: Memory, tier: Tier, why: str, *, forced: bool) -> None:
        if tier is Tier.PLAINTEXT:
            self.move(memory, Archive, Tier.ARCHIVE, why, forced=forced)
        else:
            self.move(memory, Demote, Tier.PLAINTEXT, why, forced=forced)

    # One memory ---------------------------------------------------------------------------

    def expire(self, memory: Memory, why: str) -> None:
        """It leaves every tier."""
        self.actions.append(Expire(self.now, memory.cube_id, memory.tier, None, why, 0.0, True))

    def move(
        self,
        memory: Memory,
        kind: type[Action],
        target: Tier,
        why: str,
        *,
        build_ms: float = 0.0,
        forced: bool = False,
    ) -> None:
        """Decide that a memory goes to a tier."""
        if not self.acts:
            return
        reason = f"{why} (value {self.value(memory):.2f})"
        self.actions.append(
            kind(self.now, memory.cube_id, memory.tier, target, reason, build_ms, forced)
        )
        self.shift(memory, target)
        memory.moved_at = self.now

    def reform(self, memory: Memory, tier: Tier, form: Form) -> None:
        """Note what a memory takes in a tier."""
        self.holding.drop(memory)
        memory.forms = {**memory.forms, tier: form}
        self.holding.put(memory, self.key(memory))

    def shift(self, memory: Memory, target: Tier) -> None:
        """Note that a memory is in a tier."""
        self.holding.drop(memory)
        memory.tier = target
        self.holding.put(memory, self.key(memory))
        self.due.note_place(memory)


def _log_sum(one: float, other: float) -> float:
    """The power of two of the sum of two powers of two."""
    high, low = max(one, other), min(one, other)
    return high + math.log2(1 + 2.0 ** (low - high))


def _pool(target: Tier) -> Tier:
    """Whose milliseconds a move costs: those for training, or those for all other building."""
    return target if target is Tier.PARAMETER else Tier.ACTIVATION
