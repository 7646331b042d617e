"""Which memories are about the recent topic: one product of a matrix with a vector."""

from __future__ import annotations

import numpy as np

from memos_integrations.operation.scheduling.statistics import Array


class Nearby:
    """Unit vectors by id, of one length; those of another length are not known here."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._row: dict[str, int] = {}
        self._rows: Array = np.empty((0, 0))

    def put(self, one: str, vector: Array | None) -> None:
        """Add or replace; ``None`` takes out."""
        self.drop(one)
        if vector is None or (self._ids and len(vector) != self._rows.shape[1]):
            return
        count = len(self._ids)
        if count == len(self._rows):
            grown = np.zeros((max(64, 2 * count), len(vector)))
            if count:
                grown[:count] = self._rows[:count]
            self._rows = grown
        self._rows[count] = vector
        self._row[one] = count
        self._ids.append(one)

    def drop(self, one: str) -> None:
        """Take out; the last row moves into the gap."""
        row = self._row.pop(one, None)
        if row is None:
            return
        last = self._ids.pop()
        if last != one:
            self._ids[row] = last
            self._row[last] = row
            self._rows[row] = self._rows[len(self._ids)]
        if not self._ids:
            self._rows = np.empty((0, 0))

    def near(self, topic: Array, least: float) -> list[str]:
        """Ids whose cosine with the topic is ``least`` or more, nearest first."""
        count = len(self._ids)
        if not count or len(topic) != self._rows.shape[1]:
            return []
        # Rounded, so that the last bits of a sum decide nothing.
        likeness = np.round(self._rows[:count] @ topic, 6)
        found = [
            (-float(likeness[row]), self._ids[row]) for row in np.flatnonzero(likeness >= least)
        ]
        return [one for _, one in sorted(found)]
