"""Token counts of texts that are counted again and again. Texts are known by hash: none is kept."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable


class TokenCounts:
    """How many tokens texts have; the ``limit`` texts that were asked for last are remembered."""

    def __init__(self, count: Callable[[str], int], limit: int) -> None:
        self._count, self._limit = count, limit
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, int] = OrderedDict()

    def __call__(self, text: str) -> int:
        """How many tokens a text has."""
        name = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        with self._lock:
            known = self._known.get(name)
            if known is not None:
                self._known.move_to_end(name)
                return known
        number = self._count(text)
        with self._lock:
            self._known[name] = number
            while len(self._known) > self._limit:
                self._known.popitem(last=False)
        return number
