"""The scheduler's decisions: an event in, actions out.

What should move is decided here; whether it can, and what goes for it, in ``moves``.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from memos_integrations.operation.scheduling.actions import (
    Action,
    Archive,
    Demote,
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
    Learned,
    Lost,
    Pressure,
    Recalled,
    Ruled,
    Shown,
    Tick,
    Updated,
    Weighed,
)
from memos_integrations.operation.scheduling.explanation import Explanation
from memos_integrations.operation.scheduling.moves import Moves
from memos_integrations.operation.scheduling.nearby import Nearby
from memos_integrations.operation.scheduling.policies import Composite, KeepPolicy, is_pinned
from memos_integrations.operation.scheduling.rules import Budgets, Rules
from memos_integrations.operation.scheduling.statistics import (
    NEWBORN,
    RECALL,
    Memory,
    cosine,
    unit,
)
from memos_integrations.operation.scheduling.tiers import Tier
from memos_integrations.operation.scheduling.together import Together


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
        self._moves = Moves(self.budgets, self.rules, self.policy)
        self.holding, self._due = self._moves.holding, self._moves.due
        self._together = Together(self._moves)
        self._topic, self._drift, self._nearby = Topic(), Drift(), Nearby()
        self._just_shown: dict[str, None] = {}
        self._log: deque[Action] = deque(maxlen=self.rules.log)
        self._handlers: dict[type, Callable[[Any], None]] = {
            Added: self._added,
            Updated: self._updated,
            Ruled: self._ruled,
            Recalled: self._recalled,
            Shown: self._shown,
            Expired: self._expired,
            Deleted: self._deleted,
            Lost: self._lost,
            Learned: self._together.learned,
            Weighed: self._together.weighed,
            Pressure: self._pressed,
            Tick: self._tick,
        }

    @property
    def now(self) -> float:
        """The time of the latest event."""
        return self._moves.now

    # What callers use ---------------------------------------------------------------------

    def step(self, event: Event) -> list[Action]:
        """What to do after an event."""
        moves = self._moves
        if moves.now == -math.inf:
            moves.origin = self._drift.heat_at = self._topic.at = event.at
        moves.now = max(moves.now, event.at)
        moves.actions = []
        self._handlers[type(event)](event)
        moves.keep_budgets()
        self._log.extend(moves.actions)
        return moves.actions

    def learn(self, event: Event) -> None:
        """Take an event of the past into the statistics, and decide nothing."""
        self._moves.acts = False
        try:
            self.step(event)
        finally:
            self._moves.acts = True

    def place(self, cube_id: str, tier: Tier, at: float) -> None:
        """Note where a memory really is; what does not fit any more goes at the next event."""
        self._moves.now = max(self.now, at)
        memory = self.holding.get(cube_id)
        if memory is not None and memory.tier is not tier:
            if memory.tier is Tier.ARCHIVE:
                memory.changed_at = self.now  # brought back, it stays for a while
            self._moves.shift(memory, tier)

    def ready(self) -> list[str]:
        """What is used much and stable, and in no weights yet: the most valuable first."""
        return self._together.ready()

    def lapsing(self, at: float) -> list[str]:
        """Whose lifespan will be over, as far as is known."""
        return [
            one.cube_id
            for one in self.holding
            if one.expires_at is not None and one.expires_at <= at
        ]

    def explain(self, cube_id: str) -> Explanation | None:
        """Why a memory is where it is; ``None`` if it is not known."""
        memory = self.holding.get(cube_id)
        if memory is None:
            return None
        shares = getattr(self.policy, "shares", None)
        return Explanation(
            cube_id=cube_id,
            tier=memory.tier,
            value=self._moves.value(memory),
            shares=shares(memory, self._moves.context, self.now) if shares else {},
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
        self.holding.put(memory, self._moves.key(memory))
        self._nearby.put(memory.cube_id, memory.vector)
        self._drift.count(NEWBORN, NEWBORN, self.now, self.rules.half_life)
        self._due.note(memory)

    def _updated(self, event: Updated) -> None:
        memory = self.holding.get(event.cube_id)
        if memory is None:
            return
        if memory.tier in (Tier.ACTIVATION, Tier.PARAMETER):
            if self._moves.acts:
                self._moves.move(memory, Demote, Tier.PLAINTEXT, "it has new words", forced=True)
            else:
                self._moves.shift(memory, Tier.PLAINTEXT)
        self.holding.drop(memory)
        memory.forms, memory.labels = event.forms(), event.labels
        memory.vector, memory.expires_at = unit(event.vector), event.expires_at
        memory.changed_at = self.now
        self.holding.put(memory, self._moves.key(memory))
        self._nearby.put(memory.cube_id, memory.vector)
        self._due.note(memory)

    def _ruled(self, event: Ruled) -> None:
        memory = self.holding.get(event.cube_id)
        if memory is not None:
            memory.labels, memory.expires_at = event.labels, event.expires_at
            self.holding.rank(memory, self._moves.key(memory))
            self._due.note(memory)

    def _recalled(self, event: Recalled) -> None:
        self._hear(event)
        self._use(event.cube_ids, shown=False)

    def _shown(self, event: Shown) -> None:
        self._hear(event)
        for memory in self._use(event.cube_ids, shown=True):
            memory.stand_with(event.cube_ids)
            self._just_shown[memory.cube_id] = None
            if memory.tier is Tier.ARCHIVE:
                self._moves.build(memory, Promote, Tier.PLAINTEXT, "it is used again")
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
            self._moves.shift(memory, Tier.PLAINTEXT)
            memory.moved_at = self.now  # not tried again at once

    def _pressed(self, event: Pressure) -> None:
        self._moves.press(event.tier, event.bytes)

    def _tick(self, event: Tick) -> None:
        self._moves.allow()
        self._look_round()
        for memory in self._due.over(self.now):
            self._out(memory, "its lifespan is over")
        self._archive_cold()
        waiting, self._moves.put_off = list(self._moves.put_off), {}
        self._try_each(waiting, Promote)
        self._try_each(self._foreseen(), Prefetch)
        self._together.consolidate()
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
            self.holding.rank(memory, self._moves.key(memory))
            used.append(memory)
        return used

    def _look_round(self) -> None:
        """See what is talked about now, and value everything by it."""
        before = self._moves.context
        self._moves.context = Context(
            half_life=self.rules.half_life,
            topic=self._topic.mean(self.now, self.rules.topic_half_life),
            companions=self._companions(),
            drift=self._drift.weight(),
        )
        if _alike(before, self._moves.context):
            return
        for memory in self.holding:
            bounded = self.budgets.bytes_of(memory.tier) < math.inf
            if bounded and memory.tier is not Tier.ARCHIVE:
                self.holding.rank(memory, self._moves.key(memory))

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
        topic, companions = self._moves.context.topic, self._moves.context.companions
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
            self._moves.build(memory, Promote, Tier.ACTIVATION, f"used {uses:g} times")

    def _try_each(self, cube_ids: Iterable[str], kind: type[Action]) -> None:
        found = [self.holding.get(one) for one in cube_ids]
        known = [one for one in found if one is not None and one.tier is Tier.PLAINTEXT]
        for memory in sorted(known, key=lambda one: (-self._moves.key(one), one.cube_id)):
            if kind is Prefetch:
                self._moves.build(memory, Prefetch, Tier.ACTIVATION, self._foresight(memory))
            else:
                self._want(memory)

    def _foresight(self, memory: Memory) -> str:
        share = self._moves.context.companions.get(memory.cube_id, 0.0)
        if share >= self.rules.companion_share:
            return f"stands in {share:.0%} of the prompts of what was just shown"
        topic = self._moves.context.topic
        assert topic is not None and memory.vector is not None
        return f"near to what is talked about (cosine {cosine(memory.vector, topic):.2f})"

    def _archive_cold(self) -> None:
        for memory in self._due.cold(self.now):
            if memory.tier is Tier.ARCHIVE or is_pinned(self._moves.key(memory)):
                continue
            days = (self.now - memory.last_use) / 86_400
            self._moves.move(memory, Archive, Tier.ARCHIVE, f"not used for {days:.1f} days")

    def _out(self, memory: Memory, why: str) -> None:
        if self._moves.acts:
            self._moves.expire(memory, why)
            self._forget(memory)

    def _forget(self, memory: Memory) -> None:
        self.holding.drop(memory)
        self._nearby.drop(memory.cube_id)
        self._moves.put_off.pop(memory.cube_id, None)
        self._just_shown.pop(memory.cube_id, None)
        gone = memory.heat_at(self.now, self.rules.half_life)
        self._drift.count(-(memory.uses + NEWBORN), -gone, self.now, self.rules.half_life)


def _alike(one: Context, other: Context) -> bool:
    """Whether values would hardly change."""
    if one.drift != other.drift or one.companions != other.companions:
        return False
    if one.topic is None or other.topic is None or len(one.topic) != len(other.topic):
        return one.topic is other.topic
    return cosine(one.topic, other.topic) >= SAME
