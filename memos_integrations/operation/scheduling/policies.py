"""What a memory is worth keeping: six policies, and their weighted sum.

A value is a power of two: one more means twice as valuable, so a margin means the same for all.
The *difference* of two values must not depend on the time they are taken at, as long as neither
memory is used and the context stands. All that cool at the same rate keep their order, and the
scheduler can keep them in heaps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from memos_integrations.errors import InvalidInputError
from memos_integrations.operation.scheduling.context import Context
from memos_integrations.operation.scheduling.statistics import NEWBORN, Memory, cosine

PINNED = 1e9
"""Value of a pinned memory: above all that uses can bring."""


class KeepPolicy(Protocol):
    """Gives a memory its value."""

    def value(self, memory: Memory, context: Context, at: float) -> float:
        """Finite; as a power of two."""
        ...


@dataclass(frozen=True)
class LRU:
    """Least recently used goes first."""

    halves_every: float = 60.0
    """Seconds without use that halve the value; the order does not depend on it, margins do."""

    def __post_init__(self) -> None:
        if not 0 < self.halves_every < math.inf:
            raise InvalidInputError("halves_every is a positive number of seconds")

    def value(self, memory: Memory, context: Context, at: float) -> float:
        """Less with each second since the last use."""
        return (memory.last_use - at) / self.halves_every


@dataclass(frozen=True)
class LFU:
    """Least frequently used goes first; uses are counted also while a memory is not cached."""

    def value(self, memory: Memory, context: Context, at: float) -> float:
        """All uses count alike, however old."""
        return math.log2(memory.uses + NEWBORN)


@dataclass(frozen=True)
class Heat:
    """Coldest goes first: uses, each halved every half-life."""

    def value(self, memory: Memory, context: Context, at: float) -> float:
        """Heat at a time."""
        return memory.log_heat(at, context.half_life)


@dataclass(frozen=True)
class Adaptive:
    """LFU while popularity stands still, Heat when it has moved; in between, between them."""

    def value(self, memory: Memory, context: Context, at: float) -> float:
        """The better guide of late (:mod:`drift`)."""
        value = 0.0
        if context.drift < 1:
            value += (1 - context.drift) * LFU().value(memory, context, at)
        if context.drift > 0:
            value += context.drift * Heat().value(memory, context, at)
        return value


@dataclass(frozen=True)
class Semantic:
    """What is near to the recent topic will be needed."""

    doublings: float = 2.0
    """Of a memory that is all about the topic."""

    def value(self, memory: Memory, context: Context, at: float) -> float:
        """The cosine with the mean of the recent topics; nothing below 0."""
        if memory.vector is None or context.topic is None:
            return 0.0
        return self.doublings * max(0.0, cosine(memory.vector, context.topic))


@dataclass(frozen=True)
class Companions:
    """What stands in prompts together with what was just shown will be needed."""

    doublings: float = 1.0

    def value(self, memory: Memory, context: Context, at: float) -> float:
        """The share of prompts in which they stood together."""
        return self.doublings * context.companions.get(memory.cube_id, 0.0)


@dataclass(frozen=True)
class Label:
    """Labels that pin a memory, or weigh for or against it."""

    pinned: frozenset[str] = frozenset({"pinned"})
    """Never archived or displaced for its value; only budgets make it go, and it goes last."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Doublings by label."""

    def __post_init__(self) -> None:
        if not all(abs(weight) <= 1_000 for weight in self.weights.values()):
            raise InvalidInputError("the weight of a label is from -1000 to 1000 doublings")

    def value(self, memory: Memory, context: Context, at: float) -> float:
        """The sum over the memory's labels."""
        pin = 0.0 if self.pinned.isdisjoint(memory.labels) else PINNED
        return pin + sum(self.weights.get(label, 0.0) for label in memory.labels)


@dataclass(frozen=True)
class Composite:
    """The weighted sum of other policies' values; the default weighs use, topic, company, labels.

    A sum of powers of two is a product of worths: the order of heats and counts is kept.
    """

    parts: tuple[tuple[KeepPolicy, float], ...] = (
        (Adaptive(), 1.0),
        (Semantic(), 1.0),
        (Companions(), 1.0),
        (Label(), 1.0),
    )

    def __post_init__(self) -> None:
        if not self.parts or not all(0 <= weight <= 1_000 for _, weight in self.parts):
            raise InvalidInputError("a composite has at least one part, and weights from 0 to 1000")

    def value(self, memory: Memory, context: Context, at: float) -> float:
        """The sum."""
        return sum(weight * policy.value(memory, context, at) for policy, weight in self.parts)

    def shares(self, memory: Memory, context: Context, at: float) -> dict[str, float]:
        """What each part adds, by the name of its policy."""
        shares: dict[str, float] = {}
        for policy, weight in self.parts:
            name = type(policy).__name__
            shares[name] = shares.get(name, 0.0) + weight * policy.value(memory, context, at)
        return shares


def is_pinned(value: float) -> bool:
    """Whether a label pins the memory that has this value."""
    return value > PINNED / 2
