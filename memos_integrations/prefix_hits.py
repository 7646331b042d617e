"""What providers say they read from their prefix caches, counted; both frameworks' reports."""

from __future__ import annotations

import threading
from typing import Any


class PrefixHits:
    """Requests to a model that runs elsewhere, and their tokens in its cache. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(
            ("requests", "hits", "prompt_tokens", "cached_tokens", "written_tokens", "warmed"), 0
        )

    def answered(self, asked: int, cached: int, written: int) -> None:
        """An answer came: tokens of its prompt, those read from the cache, those written to it."""
        with self._lock:
            self._counts["requests"] += 1
            self._counts["hits"] += cached > 0
            self._counts["prompt_tokens"] += asked
            self._counts["cached_tokens"] += cached
            self._counts["written_tokens"] += written

    def warmed(self) -> None:
        """A prefix was sent ahead."""
        with self._lock:
            self._counts["warmed"] += 1

    def report(self) -> dict[str, Any]:
        """Requests, hits, tokens read from the cache and written to it, rates; JSON-plain."""
        with self._lock:
            counts: dict[str, Any] = dict(self._counts)
        counts["hit_rate"] = counts["hits"] / counts["requests"] if counts["requests"] else 0.0
        asked = counts["prompt_tokens"]
        counts["saved_share"] = counts["cached_tokens"] / asked if asked else 0.0
        return counts
