"""Checks of what verbs are given, and what is made of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

from memos_integrations.errors import InvalidInputError
from memos_integrations.query import TimeWindow

MAX_LIMIT = 10_000
"""The most hits or list entries that one call returns."""


def check_limit(limit: object) -> None:
    """Refuse what is not a number of results."""
    if not _is_int(limit) or not 1 <= limit <= MAX_LIMIT:
        raise InvalidInputError(f"limit is {limit!r}: give a number from 1 to {MAX_LIMIT:,}")


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def strings(values: Iterable[str], what: str) -> tuple[str, ...]:
    """A list of strings, and not one string."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidInputError(f"{what} is {values!r}: give a list of strings")
    return tuple(values)


def narrowed(
    filters: Mapping[str, Any] | None, window: TimeWindow | None, memory_type: str | None
) -> Mapping[str, Any] | None:
    """The filters with the time window and the memory type written into them."""
    if window is not None and not isinstance(window, TimeWindow):
        raise InvalidInputError(f"window is {window!r}: give a TimeWindow(start, end)")
    if window is None and memory_type is None:
        return filters
    if filters is not None and not isinstance(filters, Mapping):
        return filters  # refused, with its reason, where filters are read
    narrowed: dict[str, Any] = dict(filters or {})
    if memory_type is not None:
        if memory_type not in ("plaintext", "activation", "parameter"):
            raise InvalidInputError(
                f"memory_type {memory_type!r}: use 'plaintext', 'activation' or 'parameter'"
            )
        narrowed["memory_type"] = _both(narrowed.get("memory_type", {}), {"$eq": memory_type})
    if window is not None:
        bounds: dict[str, Any] = {}
        if window.start is not None:
            bounds["$gte"] = window.start
        if window.end is not None:
            bounds["$lt"] = window.end
        if bounds:
            narrowed["event_time"] = _both(narrowed.get("event_time", {}), bounds)
    return narrowed


def _both(one: Any, other: dict[str, Any]) -> dict[str, Any]:
    """Two conditions on one field, both of which must hold."""
    conditions = dict(one) if isinstance(one, Mapping) else {"$eq": one}
    clash: Sequence[str] = [op for op in other if op in conditions]
    if clash:
        raise InvalidInputError(
            f"the filter {clash[0]} on event_time or memory_type is given twice: use only one"
        )
    return {**conditions, **other}
