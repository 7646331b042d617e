"""Ids that are made of names: the same names and time, the same id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
"""For what has no time."""


def stable_id(names: Sequence[object], at: datetime) -> str:
    """A UUID in the order of time (version 7), always the same for the same names and time."""
    digest = hashlib.sha256(json.dumps(names, default=str).encode()).digest()
    milliseconds = max(0, int(at.timestamp() * 1000)) & (2**48 - 1)
    number = milliseconds << 80 | int.from_bytes(digest[:10], "big")
    number = number & ~(0xF000 << 64) & ~(0xC000 << 48) | 0x7000 << 64 | 0x8000 << 48
    return str(UUID(int=number))
