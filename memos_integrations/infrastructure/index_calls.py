"""An open vector index and the calls that run in it: it is closed once none of them is left.

A call that nobody waits for any more still runs, and may still write files. So the files of an
index are gone for good only when it is closed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from memos_integrations.infrastructure.deadline import DeadlineExceeded, DeadlineWorkers
from memos_integrations.protocols import VectorIndex

T = TypeVar("T")


class IndexClosed(Exception):
    """The index takes no more calls. Internal: callers turn it into a fallback."""


class OpenIndex:
    """Runs calls in an index, each with a deadline. Thread-safe."""

    def __init__(self, index: VectorIndex, workers: DeadlineWorkers) -> None:
        self._index, self._workers = index, workers
        self._changed = threading.Condition()
        self._running = 0
        self._closing = self._told_to_close = False

    def call(self, seconds: float, work: Callable[[VectorIndex], T]) -> T:
        """Return what ``work`` does; raise what it raises, or :class:`DeadlineExceeded`."""
        return self.start(work)(seconds)

    def start(self, work: Callable[[VectorIndex], T]) -> Callable[[float], T]:
        """Begin; what is returned waits as :meth:`call` does. :class:`IndexClosed` if it is."""
        with self._changed:
            if self._closing:
                raise IndexClosed
            self._running += 1
        return self._workers.start(self._run, work)

    def close(self, seconds: float) -> bool:
        """Take no more calls; ``False`` if some still run after this time: then ask again."""
        with self._changed:
            self._closing = True
            if not self._changed.wait_for(lambda: not self._running, seconds):
                return False
            if self._told_to_close:
                return True
            self._told_to_close = True
            self._running += 1
        try:
            self._workers.call(seconds, self._run, lambda index: index.close())
        except DeadlineExceeded:
            return False
        return True

    def _run(self, work: Callable[[VectorIndex], T]) -> T:
        try:
            return work(self._index)
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()
