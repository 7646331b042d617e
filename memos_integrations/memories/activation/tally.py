"""What an engine counts as it works, and how fast it found the machine to be. No torch here."""

from __future__ import annotations

import threading
from dataclasses import replace

from memos_integrations.memories.activation.admission import Rates
from memos_integrations.memories.activation.loads import Loads
from memos_integrations.memories.activation.usage import EngineStats, Usage


class Tally:
    """The counts of one engine. Thread-safe.

    A shallow copy counts requests together with it, and the work apart.
    """

    def __init__(self) -> None:
        self._stats, self._counting = EngineStats(), threading.Lock()
        self._work = (0, 0.0, 0)  # tokens kept, seconds that computing them took, bytes

    def stats(self) -> EngineStats:
        """What happened so far."""
        with self._counting:
            copy = EngineStats(**{**vars(self._stats)})
            copy.first_token_seconds = list(self._stats.first_token_seconds)
        return copy

    def rates(self, loads: Loads | None = None) -> Rates:
        """How fast this machine computes keys and values, and loads those of a folder.

        Measured as it works; ``measured`` and ``load_measured`` say what is a guess still.
        """
        with self._counting:
            tokens, seconds, held = self._work
        load = loads.rate() if loads is not None else None
        rates = Rates()
        if tokens >= 64:
            rates = replace(
                rates,
                prefill_tokens_per_second=tokens / max(seconds, 1e-9),
                bytes_per_token=held / tokens,
                measured=True,
            )
        if load is not None:
            rates = replace(rates, load_bytes_per_second=load, load_measured=True)
        return rates

    def computed(self, tokens: int, seconds: float, size: int) -> None:
        """A piece was computed and kept: its tokens, how long that took, its bytes."""
        with self._counting:
            before = self._work
            if before[0] > 100_000:  # what was long ago counts less
                before = (before[0] // 2, before[1] / 2, before[2] // 2)
            self._work = before[0] + tokens, before[1] + seconds, before[2] + size

    def request(self, usage: Usage, *, uncached: bool) -> None:
        """A prompt was read; ``uncached``: by a model that runs without a cache."""
        with self._counting:
            self._stats.requests += 1
            self._stats.hits += usage.cached_tokens > 0
            self._stats.prompt_tokens += usage.prompt_tokens
            self._stats.cached_tokens += usage.cached_tokens
            self._stats.kept_tokens += usage.kept_tokens
            self._stats.approximate_tokens += usage.approximate_tokens
            self._stats.approximate_requests += usage.approximate_tokens > 0
            self._stats.uncached_requests += uncached

    def batch(self, requests: int, *, in_turn: bool) -> None:
        """So many were asked for at once, and decoded together, or answered in turn."""
        with self._counting:
            self._stats.batched_requests += 0 if in_turn else requests
            self._stats.unbatched_requests += requests if in_turn else 0

    def compiled(self) -> None:
        """A request is decoded by a compiled forward."""
        with self._counting:
            self._stats.compiled_requests += 1

    def first_token(self, seconds: float) -> None:
        """The first token of an answer took so long."""
        with self._counting:
            self._stats.first_token_seconds.append(seconds)
            del self._stats.first_token_seconds[:-1000]

    def invalidated(self, pieces: int) -> None:
        """So many pieces were dropped because of a memory in them."""
        with self._counting:
            self._stats.invalidated += pieces
