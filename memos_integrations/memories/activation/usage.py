"""What requests to the engine took, one by one and together. No torch here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Usage:
    """What one request took."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompt, read from the cache."""
    kept_tokens: int = 0
    """Of the prompt, computed now and kept."""
    approximate_tokens: int = 0
    """Of the prompt, those read from rounded pieces, those computed behind such, and those of
    composed memories that have not seen the memories before them: then the answer is approximate.
    Always 0 where the tier keeps pieces as computed, and prompts are read exactly."""
    adapters: tuple[str, ...] = ()
    """Parameter memories that it was read through, by id."""
    stale_adapters: tuple[str, ...] = ()
    """Those of which a source has changed, or that are gone."""
    output_tokens: int = 0
    first_token_seconds: float = 0.0
    finish_reason: str = ""
    """``stop`` (the model's end, or a stop string), ``length`` or ``cancelled``."""


@dataclass
class EngineStats:
    """What happened since the engine was made."""

    requests: int = 0
    hits: int = 0
    """Requests that read anything from the cache."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    kept_tokens: int = 0
    approximate_tokens: int = 0
    """As :attr:`Usage.approximate_tokens`: rounded, computed behind such, or composed."""
    approximate_requests: int = 0
    """Answered approximately, for they read such tokens."""
    uncached_requests: int = 0
    """Run without a cache, for :attr:`ActivationEngine.refused`."""
    batched_requests: int = 0
    """Asked for in a batch, and decoded together."""
    unbatched_requests: int = 0
    """Asked for in a batch, and answered in turn, for :meth:`ActivationEngine.why_in_turn`."""
    compiled_requests: int = 0
    """Decoded by a compiled forward; the others, where one is wanted, have a reason in
    :meth:`ActivationEngine.why_not_compiled`."""
    invalidated: int = 0
    """Pieces dropped because a memory in them changed or may no longer be read."""
    first_token_seconds: list[float] = field(default_factory=list)
    """Of the latest thousand requests."""

    def as_dict(self) -> dict[str, Any]:
        """JSON-plain, with rates."""
        plain = asdict(self)
        times = sorted(plain.pop("first_token_seconds"))
        plain["hit_rate"] = self.hits / self.requests if self.requests else 0.0
        plain["saved_share"] = self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0
        plain["median_first_token_seconds"] = times[len(times) // 2] if times else None
        return plain
