"""Calls that may hang: run in a worker thread, given up after a deadline.

A native library that hangs cannot be interrupted from Python. The caller is freed, the worker
is written off (it is a daemon, so it never holds up the end of the process), and a new one
takes its place.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class DeadlineExceeded(Exception):
    """The call did not come back in time. Internal: callers turn it into a fallback."""


class _Job(NamedTuple):
    function: Callable[..., Any]
    arguments: tuple[object, ...]
    answer: queue.SimpleQueue[tuple[Any, BaseException | None]]


class DeadlineWorkers:
    """A few reusable daemon threads."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._idle: queue.SimpleQueue[queue.SimpleQueue[_Job | None]] = queue.SimpleQueue()

    def call(self, seconds: float, function: Callable[..., T], *arguments: object) -> T:
        """Return ``function(*arguments)``; raise what it raises, or :class:`DeadlineExceeded`."""
        return self.start(function, *arguments)(seconds)

    def start(self, function: Callable[..., T], *arguments: object) -> Callable[[float], T]:
        """Begin ``function(*arguments)``; what is returned waits for it as :meth:`call` does."""
        try:
            inbox = self._idle.get_nowait()
        except queue.Empty:
            inbox = queue.SimpleQueue()
            threading.Thread(target=self._work, args=(inbox,), name=self._name, daemon=True).start()
        # Queues written in C: a Future would take longer than a quick call does.
        job = _Job(function, arguments, queue.SimpleQueue())
        inbox.put(job)

        def answer(seconds: float) -> T:
            try:
                result, error = job.answer.get(timeout=seconds)
            except queue.Empty:
                raise DeadlineExceeded(f"no answer within {seconds:g} s") from None
            if error is not None:
                raise error
            return result  # type: ignore[no-any-return]

        return answer

    def _work(self, inbox: queue.SimpleQueue[_Job | None]) -> None:
        while (job := inbox.get()) is not None:
            result, error = None, None
            try:
                result = job.function(*job.arguments)
            except BaseException as raised:  # noqa: BLE001 - raised again in the caller
                error = raised
            self._idle.put(inbox)
            job.answer.put((result, error))
            del job, result, error

    def stop(self) -> None:
        """End the idle workers."""
        while True:
            try:
                self._idle.get_nowait().put(None)
            except queue.Empty:
                return
