"""Requests to begin the vector index anew, and how far they got.

A renewal that had begun before somebody asked does not count for them: what they want gone may
still have been written meanwhile.
"""

from __future__ import annotations

import threading


class Renewals:
    """Counts what was asked for, begun and ended. Many ask, one thread works."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._asked = self._begun = self._ended = 0
        self._stopped = False

    def ask(self) -> int:
        """Ask for one that begins from now on; the number to wait for."""
        with self._changed:
            self._asked += 1
            return self._asked

    def wait(self, request: int, seconds: float) -> bool:
        """Wait until it has ended; ``False`` if it did not in this time, or never will."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended >= request or self._stopped, seconds)
            return self._ended >= request

    @property
    def wanted(self) -> bool:
        """Somebody asked since the last one began."""
        return self._asked > self._begun

    @property
    def due(self) -> bool:
        """One that has begun is not ended: files are left."""
        return self._begun > self._ended

    def begin(self) -> None:
        """All that was asked for so far is under way."""
        with self._changed:
            self._begun = self._asked

    def end(self) -> None:
        """No file of an index from before the last :meth:`begin` is left."""
        with self._changed:
            self._ended = self._begun
            self._changed.notify_all()

    def stop(self) -> None:
        """Nobody works on it any more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
