"""How much a principal may write: a bucket of tokens for each, filled by the clock."""

from __future__ import annotations

import math
import threading
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from memos_integrations.errors import InvalidInputError, RateLimitError


@dataclass(frozen=True)
class RateLimit:
    """``writes`` memories in ``per``, and up to ``burst`` at once (by default as many)."""

    writes: int
    per: timedelta = timedelta(minutes=1)
    burst: int | None = None

    def __post_init__(self) -> None:
        numbers = [self.writes, self.writes if self.burst is None else self.burst]
        if any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in numbers):
            raise InvalidInputError(f"{self}: writes and burst are numbers from 1 on")
        if not isinstance(self.per, timedelta) or self.per <= timedelta(0):
            raise InvalidInputError(f"per is {self.per!r}: give a timedelta")

    @property
    def size(self) -> int:
        """The most memories of one call."""
        return self.writes if self.burst is None else self.burst


class RateLimiter:
    """The buckets of a store's principals; full when it is opened. Thread-safe."""

    def __init__(self, limit: RateLimit) -> None:
        self._limit, self._lock = limit, threading.Lock()
        self._left: dict[str, tuple[float, datetime]] = {}

    def take(self, principal: str, count: int, now: datetime) -> None:
        """Count memories that are about to be written, or :class:`RateLimitError`."""
        with self._lock:
            left = self._enough(principal, count, now)
            self._left[principal] = left - count, now
            if len(self._left) > _MOST:
                self._forget_full(now)

    def look(self, principal: str, count: int, now: datetime) -> None:
        """Whether so many could be written: raise as :meth:`take`, and count nothing."""
        with self._lock:
            self._enough(principal, count, now)

    def written(self, principal: str, count: int, now: datetime) -> None:
        """Count memories that were looked at before and are written now."""
        with self._lock:
            self._left[principal] = max(0.0, self._fill(principal, now) - count), now

    def _enough(self, principal: str, count: int, now: datetime) -> float:
        """What is in the bucket, if that is enough."""
        limit = self._limit
        if count > limit.size:
            raise InvalidInputError(
                f"{count:,} memories in one call, and this store takes {limit.size:,} at once: "
                "write them in several calls"
            )
        left = self._fill(principal, now)
        # Half a thousandth of a memory: what a clock of microseconds rounds away.
        if left + 5e-4 < count:
            self._left[principal] = left, now
            seconds = (count - left) / self._a_second
            raise RateLimitError(principal, math.ceil(seconds * 1000) / 1000)
        return max(float(count), left)

    def _fill(self, principal: str, now: datetime) -> float:
        left, since = self._left.get(principal, (float(self._limit.size), now))
        passed = max(0.0, (now - since).total_seconds())
        return min(float(self._limit.size), left + passed * self._a_second)

    @property
    def _a_second(self) -> float:
        return self._limit.writes / self._limit.per.total_seconds()

    def _forget_full(self, now: datetime) -> None:
        """A full bucket is as good as none."""
        size, a_second = self._limit.size, self._a_second
        self._left = {
            who: (left, since)
            for who, (left, since) in self._left.items()
            if left + (now - since).total_seconds() * a_second < size
        }


class HeldCounts(RateLimiter):
    """What one unit of work writes: looked at in it, and counted once it is committed."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter, self._held = limiter, Counter[str]()

    def take(self, principal: str, count: int, now: datetime) -> None:
        """Whether there is room for it and for what this unit of work writes already."""
        self._limiter.look(principal, self._held[principal] + count, now)
        self._held[principal] += count

    def settle(self, now: datetime) -> None:
        """It is committed."""
        for principal, count in self._held.items():
            self._limiter.written(principal, count, now)


_MOST = 10_000
