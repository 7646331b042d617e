"""What happens to memories, as the scheduler is told. Times are seconds, from any one origin.

A time before that of an earlier event counts as that one's: time does not run backwards.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass

from memos_integrations.errors import InvalidInputError
from memos_integrations.operation.scheduling.tiers import BOUNDED, Form, Tier

Vector = tuple[float, ...]


@dataclass(frozen=True)
class _Happened:
    at: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.at):
            raise InvalidInputError(f"an event's time is a finite number, not {self.at}")


@dataclass(frozen=True)
class _OfOne(_Happened):
    cube_id: str


@dataclass(frozen=True)
class _Described(_OfOne):
    _: KW_ONLY
    plaintext: Form
    activation: Form | None = None
    """``None``: no cache can be made of it."""
    parameter: Form | None = None
    labels: tuple[str, ...] = ()
    vector: Vector | None = None
    """Its embedding, for :class:`Semantic`; of any length but 0, the same for all."""
    expires_at: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_vector(self.vector)
        _check_end(self.expires_at)

    def forms(self) -> dict[Tier, Form]:
        """The tiers that this memory can be in."""
        made = (self.plaintext, self.activation, self.parameter)
        return {tier: form for tier, form in zip(BOUNDED, made, strict=True) if form is not None}


@dataclass(frozen=True)
class _OfSome(_Happened):
    cube_ids: tuple[str, ...]
    _: KW_ONLY
    topic: Vector | None = None
    """What the question was about."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_vector(self.topic)


class Added(_Described):
    """A memory is there. One that is known already stays as it is."""


class Updated(_Described):
    """It has other words: what was made of the old ones is stale."""


@dataclass(frozen=True)
class Ruled(_OfOne):
    """Its words stand; its labels or the end of its lifespan are others."""

    _: KW_ONLY
    labels: tuple[str, ...] = ()
    expires_at: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_end(self.expires_at)


class Recalled(_OfSome):
    """A search found these."""


class Shown(_OfSome):
    """These stood together in a prompt: a use of each."""


class Expired(_OfOne):
    """Its time is over, whatever ``expires_at`` said."""


class Deleted(_OfOne):
    """It is gone, with all that was made of it. No action follows."""


@dataclass(frozen=True)
class Lost(_OfOne):
    """A tier does not have it, against what was decided: it was not built, or is damaged."""

    tier: Tier


@dataclass(frozen=True)
class Learned(_Happened):
    """An adapter of so many bytes knows these memories."""

    cube_ids: tuple[str, ...]
    bytes: int


@dataclass(frozen=True)
class Weighed(_Happened):
    """What one adapter of all these memories would take, and whether it pays."""

    cube_ids: tuple[str, ...]
    pays: bool
    reason: str
    """With the figures."""
    form: Form


@dataclass(frozen=True)
class Pressure(_Happened):
    """``bytes`` are to be freed in a tier, and not filled again at once."""

    tier: Tier
    bytes: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tier not in BOUNDED or self.bytes < 0:
            raise InvalidInputError(
                "pressure frees 0 bytes or more of plaintext, activation or parameter"
            )


class Tick(_Happened):
    """Time passed; a new allowance of milliseconds begins."""


Event = (
    Added
    | Updated
    | Ruled
    | Recalled
    | Shown
    | Expired
    | Deleted
    | Lost
    | Learned
    | Weighed
    | Pressure
    | Tick
)


def _check_end(expires_at: float | None) -> None:
    if expires_at is not None and not math.isfinite(expires_at):
        raise InvalidInputError("expires_at is a finite time, or None")


def _check_vector(vector: Vector | None) -> None:
    if vector is not None and not (vector and all(map(math.isfinite, vector))):
        raise InvalidInputError("a vector has at least one number, and finite ones only")
