"""What the scheduler wants done. The doing is somebody else's."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from memos_integrations.operation.scheduling.tiers import Tier


@dataclass(frozen=True)
class Action:
    """One move of one memory."""

    at: float
    cube_id: str
    source: Tier
    target: Tier | None
    """``None``: it leaves every tier."""
    reason: str
    """With the figures that decided."""
    build_ms: float = 0.0
    """What the move is estimated to take."""
    forced: bool = False
    """Bytes, staleness or expiry left no choice: residence does not protect from it."""

    @property
    def kind(self) -> str:
        """The name of the action."""
        return type(self).__name__

    def __str__(self) -> str:
        return (
            f"{self.at:,.1f} s: {self.kind} {self.source} → {self.target or 'out'}: {self.reason}"
        )


class Promote(Action):
    """Its uses call for it: archive → plaintext, plaintext → activation."""


class Prefetch(Action):
    """What is talked about calls for it, before it is used: plaintext → activation."""


class Consolidate(Action):
    """Stable, and used much: train it. plaintext or activation → parameter."""


class Demote(Action):
    """Back to its words: activation or parameter → plaintext."""


class Archive(Action):
    """Out of the way: any tier → archive."""


class Expire(Action):
    """Its time is over: any tier → out."""


KINDS: dict[str, type[Action]] = {
    kind.__name__: kind for kind in (Promote, Prefetch, Consolidate, Demote, Archive, Expire)
}


def to_json(action: Action) -> dict[str, Any]:
    """A plain dict."""
    return {"kind": action.kind, **asdict(action)}


def from_json(data: dict[str, Any]) -> Action:
    """The inverse of :func:`to_json`."""
    plain = dict(data)
    kind, target = KINDS[plain.pop("kind")], plain.pop("target")
    source = Tier(plain.pop("source"))
    return kind(**plain, source=source, target=None if target is None else Tier(target))
