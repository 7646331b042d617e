"""Heaps from which things can be taken out: the entries of what left are skipped later."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator


class Ranking:
    """Ids by key, the lowest first; equal keys in the order of ids. O(log n), amortised."""

    def __init__(self) -> None:
        self._keys: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, one: object) -> bool:
        return one in self._keys

    def put(self, one: str, key: float) -> None:
        """Add, or move."""
        if self._keys.get(one) == key:
            return
        self._keys[one] = key
        heapq.heappush(self._heap, (key, one))
        if len(self._heap) > 2 * len(self._keys) + 64:
            self._heap = [(key, one) for one, key in self._keys.items()]
            heapq.heapify(self._heap)

    def drop(self, one: str) -> float | None:
        """Take out; its key, or ``None`` when it was not there."""
        return self._keys.pop(one, None)

    def first(self) -> tuple[float, str] | None:
        """The lowest."""
        while self._heap and self._keys.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None

    def ascending(self) -> Iterator[str]:
        """From the lowest on. All stay; nothing else may be put or dropped meanwhile."""
        passed: dict[str, float] = {}
        try:
            while (first := self.first()) is not None:
                key, one = first
                passed[one] = self._keys.pop(one)
                yield one
        finally:
            for one, key in passed.items():
                self.put(one, key)


class Agenda:
    """Ids by the time they are due. ``due`` tells the present truth; entries may be older."""

    def __init__(self, due: Callable[[str], float | None]) -> None:
        self._due = due
        self._heap: list[tuple[float, str]] = []
        self._noted: set[str] = set()

    def note(self, one: str) -> None:
        """Look at it when it is due. A date that moves back is found then; forward, at once."""
        due = self._due(one)
        if due is not None:
            heapq.heappush(self._heap, (due, one))

    def pop(self, now: float) -> Iterator[str]:
        """What is due, in order of time, each once."""
        while self._heap and self._heap[0][0] <= now:
            noted, one = heapq.heappop(self._heap)
            due = self._due(one)
            if due == noted:
                yield one
            elif due is not None:
                heapq.heappush(self._heap, (due, one))
