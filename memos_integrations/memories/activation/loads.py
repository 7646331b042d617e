"""How fast cached pieces come from a folder: counted where a request reads and checks a layer.

That is what a request waits for; what the system read ahead of it costs nothing. No torch here.
"""

from __future__ import annotations

import threading

ENOUGH = 1 << 16
"""Bytes from which on a rate is given: less says more about opening files."""
MUCH = 1 << 30
"""Bytes from which on what was long ago counts less."""


class Loads:
    """The bytes that were read, and the seconds that it took. Thread-safe."""

    def __init__(self) -> None:
        self._counting = threading.Lock()
        self._bytes, self._seconds = 0, 0.0

    def add(self, size: int, seconds: float) -> None:
        """``size`` bytes of keys and values, as they stand in memory, came in so many seconds."""
        with self._counting:
            if self._bytes > MUCH:
                self._bytes, self._seconds = self._bytes // 2, self._seconds / 2
            self._bytes, self._seconds = self._bytes + size, self._seconds + seconds

    def rate(self) -> float | None:
        """Bytes a second; ``None`` as long as too little was read."""
        with self._counting:
            if self._bytes < ENOUGH:
                return None
            return self._bytes / max(self._seconds, 1e-9)
