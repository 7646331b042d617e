"""Calls that may hang: run in a worker thread, given up after a deadline.

A native library that hangs cannot be interrupted from Python. The caller is freed, the worker
is written off (it is a daemon, so it never holds up the end of the process), and a new one
takes its place.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar

T = TypeVar("T")


class DeadlineExceeded(Exception):
    """The call did not come back in time. Internal: callers turn it into a fallback."""


class DeadlineWorkers:
    """A few reusable daemon threads."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._idle: queue.SimpleQueue[queue.SimpleQueue[Any]] = queue.SimpleQueue()

    def call(self, seconds: float, function: Callable[..., T], *args: object) -> T:
        """Return ``function(*args)``; raise what it raises, or :class:`DeadlineExceeded`."""
        try:
            inbox = self._idle.get_nowait()
        except queue.Empty:
            inbox = queue.SimpleQueue()
            threading.Thread(target=self._work, args=(inbox,), name=self._name, daemon=True).start()
        future: Future[T] = Future()
        inbox.put((future, function, args))
        try:
            return future.result(seconds)
        except FutureTimeout:
            if future.done():
                raise  # the function itself raised a TimeoutError
            raise DeadlineExceeded(f"no answer within {seconds:g} s") from None

    def _work(self, inbox: queue.SimpleQueue[Any]) -> None:
        while (job := inbox.get()) is not None:
            future, function, args = job
            try:
                result = function(*args)
            except BaseException as error:  # noqa: BLE001 - raised again in the caller
                self._idle.put(inbox)
                future.set_exception(error)
            else:
                self._idle.put(inbox)
                future.set_result(result)
            del future, function, args, job

    def stop(self) -> None:
        """End the idle workers."""
        while True:
            try:
                self._idle.get_nowait().put(None)
            except queue.Empty:
                return
