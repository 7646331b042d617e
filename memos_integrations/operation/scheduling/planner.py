"""The scheduler's decisions: an event in, actions out."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from memos_integrations.operation.scheduling.actions import (
    Action,
    Archive,
    Consolidate,
    Demote,
    Expire,
    Prefetch,
    Promote,
)
from memos_integrations.operation.scheduling.context import SAME, Context, Topic
from memos_integrations.operation.scheduling.drift import Drift
from memos_integrations.operation.scheduling.events import (
    Added,
    Deleted,
    Event,
    Expired,
    Lost,
    Pressure,
    Recalled,
    Shown,
    Tick,
    Updated,
)
from memos_integrations.operation.scheduling.holding import Holding
from memos_integrations.operation.scheduling.nearby import Nearby
from memos_integrations.operation.scheduling.policies import Composite, KeepPolicy, is_pinned
from memos_integrations.operation.scheduling.ranking import Agenda
from memos_integrations.operation.scheduling.rules import Budgets, Rules
from memos_integrations.operation.scheduling.statistics import (
    NEWBORN,
    RECALL,
    Memory,
    cosine,
    unit,
)
from memos_integrations.operation.scheduling.tiers import BOUNDED, Tier

_VICTIMS = 64
"""Memories at most that make room for one."""


@dataclass(frozen=True)
class Explanation:
    """Why a memory is where it is; as a string, lines to read."""

    cube_id: str
    tier: Tier
    value: float
    """As a power of two, by the policy."""
    shares: dict[str, float]
    """What each part of a composite policy adds to the value."""
    shown: int
    recalled: int
    heat: float
    waits: str
    """Why it was not promoted when it was last looked at; empty if it was."""
    decisions: tuple[Action, ...]
    """What was decided about it, as far as it is remembered; oldest first."""

    def __str__(self) -> str:
        lines = [
            f"{self.cube_id}: {self.tier}, {self.shown} times shown, {self.recalled} times "
            f"recalled, heat {self.heat:.2f}, value {self.value:.2f}"
        ]
        lines += [f"  {name}: {share:+.2f}" for name, share in self.shares.items()]
        lines += [f"  not promoted: {self.waits}"] if self.waits else []
        return "\n".join([*lines, *(f"  {action}" for action in self.decisions)])


def replay(
    events: Iterable[Event],
    *,
    budgets: Budgets | None = None,
    rules: Rules | None = None,
    policy: KeepPolicy | None = None,
) -> Iterator[Action]:
    """The actions for a trace of events. The same trace gives the same actions."""
    planner = Planner(budgets, rules, policy)
    for event in events:
        yield from planner.step(event)


class Planner:
    """Takes events one by one, keeps statistics, decides. Deterministic; not thread-safe.

    After each step the bytes of every tier are within the budgets, and the milliseconds of what
    was decided since the last tick, too. ``policy``: by default :class:`Composite`.
    """

    def __init__(
        self,
        budgets: Budgets | None = None,
        rules: Rules | None = None,
        policy: KeepPolicy | None = None,
    ) -> None:
        self.budgets, self.rules = budgets or Budgets(), rules or Rules()
        self.policy = policy or Composite()
        self.now = -math.inf
        self.holding = Holding(self.budgets)
        self._origin = 0.0
        """Values are compared as of this moment; which one makes no difference."""
        self._context = Context(half_life=self.rules.half_life)
        self._topic, self._drift, self._nearby = Topic(), Drift(), Nearby()
        self._just_shown: dict[str, None] = {}
        self._put_off: dict[str, None] = {}
        self._held: dict[Tier, float] = {}
        self._allowed: dict[Tier, float] = {}  # of plaintext and activation together
        self._lapses = Agenda(self._lapses_at)
        self._chills = Agenda(self._chills_at)
        self._log: deque[Action] = deque(maxlen=self.rules.log)
        self._actions: list[Action] = []
        self._acts = True
        self._handlers: dict[type, Callable[[Any], None]] = {
            Added: self._added,
            Updated: self._updated,
            Recalled: self._recalled,
            Shown: self._shown,
            Expired: self._expired,
            Deleted: self._deleted,
            Lost: self._lost,
            Pressure: self._pressed,
            Tick: self._tick,
        }
        self._allow()

    # What callers use ---------------------------------------------------------------------

    def step(self, event: Event) -> list[Action]:
        """What to do after an event."""
        if self.now == -math.inf:
            self._origin = self._drift.heat_at = self._topic.at = event.at
        self.now = max(self.now, event.at)
        self._actions = []
        self._handlers[type(event)](event)
        for tier in BOUNDED:
            if self.holding.free(tier) < 0:
                self._shed(tier, int(-self.holding.free(tier)), "the budget is full")
        self._log.extend(self._actions)
        return self._actions

    def learn(self, event: Event) -> None:
        """Take an event of the past into the statistics, and decide nothing."""
        self._acts = False
        try:
            self.step(event)
        finally:
            self._acts = True

    def place(self, cube_id: str, tier: Tier, at: float) -> None:
        """Note where a memory really is; what does not fit any more goes at the next event."""
        self.now = max(self.now, at)
        memory = self.holding.get(cube_id)
        if memory is not None and memory.tier is not tier:
            if memory.tier is Tier.ARCHIVE:
                memory.changed_at = self.now  # brought back, it stays for a while
            self._shift(memory, tier)

    def explain(self, cube_id: str) -> Explanation | None:
        """Why a memory is where it is; ``None`` if it is not known."""
        memory = self.holding.get(cube_id)
        if memory is None:
            return None
        shares = getattr(self.policy, "shares", None)
        return Explanation(
            cube_id=cube_id,
            tier=memory.tier,
            value=self._value(memory),
            shares=shares(memory, self._context, self.now) if shares else {},
            shown=memory.shown,
            recalled=memory.recalled,
            heat=memory.heat_at(self.now, self.rules.half_life),
            waits=memory.waits,
            decisions=tuple(one for one in self._log if one.cube_id == cube_id),
        )

    def decisions(self) -> list[Action]:
        """The latest decisions, oldest first; ``Rules.log`` of them at most."""
        return list(self._log)

    # Events -------------------------------------------------------------------------------

    def _added(self, event: Added) -> None:
        if self.holding.get(event.cube_id) is not None:
            return
        memory = Memory(
            cube_id=event.cube_id,
            forms=event.forms(),
            labels=event.labels,
            vector=unit(event.vector),
            expires_at=event.expires_at,
            changed_at=self.now,
            last_use=self.now,
        )
        self.holding.put(memory, self._key(memory))
        self._nearby.put(memory.cube_id, memory.vector)
        self._drift.count(NEWBORN, NEWBORN, self.now, self.rules.half_life)
        self._lapses.note(memory.cube_id)
        self._chills.note(memory.cube_id)

    def _updated(self, event: Updated) -> None:
        memory = self.holding.get(event.cube_id)
        if memory is None:
            return
        if memory.tier in (Tier.ACTIVATION, Tier.PARAMETER):
            if self._acts:
                self._move(memory, Demote, Tier.PLAINTEXT, "it has new words", forced=True)
            else:
                self._shift(memory, Tier.PLAINTEXT)
        self.holding.drop(memory)
        memory.forms, memory.labels = event.forms(), event.labels
        memory.vector, memory.expires_at = unit(event.vector), event.expires_at
        memory.changed_at = self.now
        self.holding.put(memory, self._key(memory))
        self._nearby.put(memory.cube_id, memory.vector)
        self._lapses.note(memory.cube_id)
        self._chills.note(memory.cube_id)

    def _recalled(self, event: Recalled) -> None:
        self._hear(event)
        self._use(event.cube_ids, shown=False)

    def _shown(self, event: Shown) -> None:
        self._hear(event)
        for memory in self._use(event.cube_ids, shown=True):
            memory.stand_with(event.cube_ids)
            self._just_shown[memory.cube_id] = None
            if memory.tier is Tier.ARCHIVE:
                self._build(memory, Promote, Tier.PLAINTEXT, "it is used again")
            if memory.tier is Tier.PLAINTEXT:
                self._want(memory)

    def _expired(self, event: Expired) -> None:
        memory = self.holding.get(event.cube_id)
        if memory is not None:
            self._out(memory, "its lifespan was ended")

    def _deleted(self, event: Deleted) -> None:
        memory = self.holding.get(event.cube_id)
        if memory is not None:
            self._forget(memory)

    def _lost(self, event: Lost) -> None:
        memory = self.holding.get(event.cube_id)
        if memory is not None and memory.tier is event.tier and event.tier is not Tier.PLAINTEXT:
            self._shift(memory, Tier.PLAINTEXT)
            memory.moved_at = self.now  # not tried again at once

    def _pressed(self, event: Pressure) -> None:
        self._held[event.tier] = self.now + self.rules.pressure_hold
        self._shed(event.tier, event.bytes, "memory is short")

    def _tick(self, event: Tick) -> None:
        self._allow()
        self._look_round()
        for cube_id in list(self._lapses.pop(self.now)):
            memory = self.holding.get(cube_id)
            if memory is not None:
                self._out(memory, "its lifespan is over")
        self._archive_cold()
        waiting, self._put_off = list(self._put_off), {}
        self._try_each(waiting, Promote)
        self._try_each(self._foreseen(), Prefetch)
        self._consolidate()
        self._just_shown = {}

    # Use ----------------------------------------------------------------------------------

    def _hear(self, event: Recalled | Shown) -> None:
        if event.topic is not None:
            self._topic.hear(event.topic, self.now, self.rules.topic_half_life)

    def _use(self, cube_ids: Iterable[str], *, shown: bool) -> list[Memory]:
        used = []
        for cube_id in dict.fromkeys(cube_ids):
            memory = self.holding.get(cube_id)
            if memory is None:
                continue
            half_life, weight = self.rules.half_life, 1.0 if shown else RECALL
            self._drift.foretold(memory, self.now, half_life, len(self.holding))
            memory.use(self.now, half_life, shown=shown)
            self._drift.count(weight, weight, self.now, half_life)
            self.holding.rank(memory, self._key(memory))
            used.append(memory)
        return used

    def _look_round(self) -> None:
        """See what is talked about now, and value everything by it."""
        before = self._context
        self._context = Context(
            half_life=self.rules.half_life,
            topic=self._topic.mean(self.now, self.rules.topic_half_life),
            companions=self._companions(),
            drift=self._drift.weight(),
        )
        if _alike(before, self._context):
            return
        for memory in self.holding:
            bounded = self.budgets.bytes_of(memory.tier) < math.inf
            if bounded and memory.tier is not Tier.ARCHIVE:
                self.holding.rank(memory, self._key(memory))

    def _companions(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for one in self._just_shown:
            memory = self.holding.get(one)
            for other in memory.companions if memory else ():
                assert memory is not None
                found[other] = max(found.get(other, 0.0), memory.share_of(other))
        return found

    def _foreseen(self) -> list[str]:
        """What the topic and what was just shown call for, that is not cached yet."""
        topic, companions = self._context.topic, self._context.companions
        near = [] if topic is None else self._nearby.near(topic, self.rules.topic_cosine)
        least = self.rules.companion_share
        along = sorted(one for one, share in companions.items() if share >= least)
        wanted = (self.holding.get(one) for one in dict.fromkeys([*along, *near]))
        idle = [one.cube_id for one in wanted if one is not None and one.tier is Tier.PLAINTEXT]
        return idle[: self.rules.prefetch]

    # Decisions ----------------------------------------------------------------------------

    def _want(self, memory: Memory) -> None:
        """A cache of it would be good to have."""
        uses = memory.uses
        if uses < self.rules.min_uses:
            memory.waits = f"used {uses:g} times, a cache is built from {self.rules.min_uses:g} on"
        else:
            self._build(memory, Promote, Tier.ACTIVATION, f"used {uses:g} times")

    def _try_each(self, cube_ids: Iterable[str], kind: type[Action]) -> None:
        found = [self.holding.get(one) for one in cube_ids]
        known = [one for one in found if one is not None and one.tier is Tier.PLAINTEXT]
        for memory in sorted(known, key=lambda one: (-self._key(one), one.cube_id)):
            if kind is Prefetch:
                self._build(memory, Prefetch, Tier.ACTIVATION, self._foresight(memory))
            else:
                self._want(memory)

    def _foresight(self, memory: Memory) -> str:
        share = self._context.companions.get(memory.cube_id, 0.0)
        if share >= self.rules.companion_share:
            return f"stands in {share:.0%} of the prompts of what was just shown"
        topic = self._context.topic
        assert topic is not None and memory.vector is not None
        return f"near to what is talked about (cosine {cosine(memory.vector, topic):.2f})"

    def _build(self, memory: Memory, kind: type[Action], target: Tier, why: str) -> None:
        """Move a memory to a tier where something must be made for it, if all allows it."""
        if not self._acts:
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
        self._allowed[_pool(target)] -= form.build_ms
        self._move(memory, kind, target, why, build_ms=form.build_ms)

    def _obstacle(self, memory: Memory, target: Tier) -> str:
        """Why a memory cannot go to a tier now, whatever it is worth; empty: it can."""
        form, rules = memory.forms[target], self.rules
        if form.bytes > self.budgets.bytes_of(target):
            return f"takes {form.bytes} bytes, more than the tier has"
        if form.build_ms > self.budgets.ms_of(target):
            return f"takes {form.build_ms:g} ms to build, more than a tick has"
        if self.now < self._held.get(target, -math.inf):
            return "memory was short a moment ago"
        if memory.moved_at is not None and self.now - memory.moved_at < rules.min_residence:
            return f"moved {self.now - memory.moved_at:.0f} s ago, stays {rules.min_residence:g} s"
        if form.build_ms > (left := self._allowed[_pool(target)]):
            self._put_off[memory.cube_id] = None
            return f"takes {form.build_ms:g} ms, this tick has {left:g} left"
        return ""

    def _victims(self, memory: Memory, target: Tier, needed: float) -> list[Memory] | None:
        """What goes for a memory: the least valuable; ``None`` if that is worth too much."""
        if needed <= 0:
            return []
        limit = self._key(memory) - self.rules.margin
        found: list[Memory] = []
        worth = -math.inf
        for other in self._in(target):
            key = self._key(other)
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

    def _archive_cold(self) -> None:
        for cube_id in list(self._chills.pop(self.now)):
            memory = self.holding.get(cube_id)
            if memory is None or memory.tier is Tier.ARCHIVE or is_pinned(self._key(memory)):
                continue
            days = (self.now - memory.last_use) / 86_400
            self._move(memory, Archive, Tier.ARCHIVE, f"not used for {days:.1f} days")

    def _consolidate(self) -> None:
        """Train what is stable and used much, as far as there is room and time."""
        rules = self.rules
        for memory in reversed(list(self.holding.ascending(Tier.ACTIVATION))):
            form = memory.forms.get(Tier.PARAMETER)
            since = max(memory.changed_at, memory.moved_at or memory.changed_at)
            if (
                form is not None
                and memory.uses >= rules.consolidate_uses
                and self.now - since >= rules.stable_for
                and form.bytes <= self.holding.free(Tier.PARAMETER)
            ):
                days = (self.now - memory.changed_at) / 86_400
                why = f"used {memory.uses:g} times, unchanged for {days:.1f} days"
                self._build(memory, Consolidate, Tier.PARAMETER, why)

    # Moves --------------------------------------------------------------------------------

    def _shed(self, tier: Tier, wanted: int, why: str) -> None:
        """Free bytes at once, the least valuable first."""
        if not self._acts:
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
            self._move(memory, Archive, Tier.ARCHIVE, why, forced=forced)
        else:
            self._move(memory, Demote, Tier.PLAINTEXT, why, forced=forced)

    def _out(self, memory: Memory, why: str) -> None:
        if self._acts:
            self._actions.append(
                Expire(self.now, memory.cube_id, memory.tier, None, why, 0.0, True)
            )
            self._forget(memory)

    def _forget(self, memory: Memory) -> None:
        self.holding.drop(memory)
        self._nearby.drop(memory.cube_id)
        self._put_off.pop(memory.cube_id, None)
        self._just_shown.pop(memory.cube_id, None)
        gone = memory.heat_at(self.now, self.rules.half_life)
        self._drift.count(-(memory.uses + NEWBORN), -gone, self.now, self.rules.half_life)

    def _move(
        self,
        memory: Memory,
        kind: type[Action],
        target: Tier,
        why: str,
        *,
        build_ms: float = 0.0,
        forced: bool = False,
    ) -> None:
        if not self._acts:
            return
        reason = f"{why} (value {self._value(memory):.2f})"
        self._actions.append(
            kind(self.now, memory.cube_id, memory.tier, target, reason, build_ms, forced)
        )
        self._shift(memory, target)
        memory.moved_at = self.now

    def _shift(self, memory: Memory, target: Tier) -> None:
        self.holding.drop(memory)
        memory.tier = target
        self.holding.put(memory, self._key(memory))
        if target is not Tier.ARCHIVE:
            self._chills.note(memory.cube_id)

    # Figures ------------------------------------------------------------------------------

    def _allow(self) -> None:
        """A new allowance of milliseconds."""
        pools = (Tier.ACTIVATION, Tier.PARAMETER)
        self._allowed = {tier: self.budgets.ms_of(tier) for tier in pools}

    def _value(self, memory: Memory) -> float:
        return self.policy.value(memory, self._context, self.now)

    def _key(self, memory: Memory) -> float:
        return self.policy.value(memory, self._context, self._origin)

    def _lapses_at(self, cube_id: str) -> float | None:
        memory = self.holding.get(cube_id)
        return None if memory is None else memory.expires_at

    def _chills_at(self, cube_id: str) -> float | None:
        """When a memory is cold: after a long time, and one that is long for it."""
        memory = self.holding.get(cube_id)
        if memory is None or memory.tier is Tier.ARCHIVE or self.rules.archive_after is None:
            return None
        usual = 4 * memory.gap if memory.gap is not None else 0.0
        return max(memory.last_use, memory.changed_at) + max(self.rules.archive_after, usual)


def _alike(one: Context, other: Context) -> bool:
    """Whether values would hardly change."""
    if one.drift != other.drift or one.companions != other.companions:
        return False
    if one.topic is None or other.topic is None or len(one.topic) != len(other.topic):
        return one.topic is other.topic
    return cosine(one.topic, other.topic) >= SAME


def _log_sum(one: float, other: float) -> float:
    """The power of two of the sum of two powers of two."""
    high, low = max(one, other), min(one, other)
    return high + math.log2(1 + 2.0 ** (low - high))


def _pool(target: Tier) -> Tier:
    """Whose milliseconds a move costs: those for training, or those for all other building."""
    return target if target is Tier.PARAMETER else Tier.ACTIVATION
