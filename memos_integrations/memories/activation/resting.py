"""A store elsewhere that fails is left alone for a while, and people are told once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from memos_integrations.memories.activation.faults import warn

log = logging.getLogger(__name__)


class Rest:
    """Whether a store does one kind of thing, such as being read. Thread-safe."""

    def __init__(
        self, says: str, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._says, self._seconds, self._clock = says, seconds, clock
        self._lock, self._until = threading.Lock(), 0.0
        self.failures = 0
        self.reason = ""
        """Why it failed the last time; empty: it did not."""

    def left(self) -> float:
        """Seconds until it may be asked; 0: now."""
        with self._lock:
            return max(0.0, self._until - self._clock())

    def failed(self, error: BaseException) -> None:
        """Count it, and ask no more for a while."""
        reason = f"{self._says}: {type(error).__name__}: {error}"
        with self._lock:
            first, self.reason = not self.reason, reason
            self.failures += 1
            self._until = self._clock() + self._seconds
        if first:
            warn(log, "%s; cached pieces are computed instead, until it can", reason)

    def worked(self) -> None:
        """It does again."""
        with self._lock:
            before, self.reason, self._until = self.reason, "", 0.0
        if before:
            log.info("no longer: %s", before)

    def over(self) -> None:
        """It may be asked again now."""
        with self._lock:
            self._until = 0.0
