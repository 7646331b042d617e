"""How much a principal may write: a bucket of tokens for each, filled by the clock."""

from __future__ import annotations

import math
import threading
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
        limit = self._limit
        if count > limit.size:
            raise InvalidInputError(
                f"{count:,} memories in one call, and this store takes {limit.size:,} at once: "
                "write them in several calls"
            )
        a_second = limit.writes / limit.per.total_seconds()
        with self._lock:
            left, since = self._left.get(principal, (float(limit.size), now))
            passed = max(0.0, (now - since).total_seconds())
            left = min(float(limit.size), left + passed * a_second)
            # Half a thousandth of a memory: what a clock of microseconds rounds away.
            if left + 5e-4 < count:
                self._left[principal] = left, now
                seconds = (count - left) / a_second
                raise RateLimitError(principal, math.ceil(seconds * 1000) / 1000)
            self._left[principal] = max(0.0, left - count), now
            if len(self._left) > _MOST:
                self._forget_full(now, a_second)

    def _forget_full(self, now: datetime, a_second: float) -> None:
        """A full bucket is as good as none."""
        size = self._limit.size
        self._left = {
            who: (left, since)
            for who, (left, since) in self._left.items()
            if left + (now - since).total_seconds() * a_second < size
        }


_MOST = 10_000
