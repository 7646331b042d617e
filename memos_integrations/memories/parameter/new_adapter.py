"""An adapter that was trained and is not kept yet. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class NewAdapter:
    """The bytes of an adapter, and what its memory says of it."""

    content: bytes
    kind: Literal["lora", "prefix"]
    model: str
    """The fingerprint of the model that it was made for."""
    report: Mapping[str, Any]
    """What its examination showed."""


class TrainingStopped(Exception):
    """Who asked for a training wants it no longer. Nothing is wrong."""
