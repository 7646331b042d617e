"""The fields of a message or document: words, times, labels and metadata, checked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from memos_integrations.checks import check_time
from memos_integrations.errors import InvalidInputError

_MESSAGE_TIMES = ("timestamp", "time", "created_at")
_TEXT_BLOCKS = ("text", "input_text", "output_text")


def words_of(content: object, where: str) -> str:
    """The text of a message's content: a string, or its text blocks, one a line."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list | tuple):
        raise InvalidInputError(
            f"{where} has content of type {type(content).__name__}: "
            "give a string or a list of blocks"
        )
    return "\n".join(filter(None, map(_block_text, content)))


def _block_text(block: object) -> str:
    if isinstance(block, str):
        return block
    if isinstance(block, Mapping):
        kind, text = block.get("type", "text"), block.get("text")
    else:
        kind, text = getattr(block, "block_type", None), getattr(block, "text", None)
    return text if kind in _TEXT_BLOCKS and isinstance(text, str) else ""


def metadata_of(value: object, where: str) -> dict[str, Any]:
    """The caller's metadata as a new dict, dates as ISO 8601 strings."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"metadata of {where} is a {type(value).__name__}: give a dict")
    return {
        key: item.isoformat() if isinstance(item, date) else item for key, item in value.items()
    }


def label(value: object, what: str) -> str | None:
    """A name or id as a string; ``None`` for a missing or empty one."""
    if value is None or value == "":
        return None
    if not isinstance(value, str | int):
        raise InvalidInputError(f"{what} is a {type(value).__name__}: give a string")
    return str(value)


def times_of(stamps: Mapping[str, Any], where: str) -> tuple[datetime | None, datetime | None]:
    """``(said_at, event_time)`` from a message's keys: aware datetimes or ISO strings."""
    said = next((key for key in _MESSAGE_TIMES if stamps.get(key) is not None), None)
    return (
        _moment(stamps[said], f"{said} of {where}") if said else None,
        _moment(stamps["event_time"], f"event_time of {where}")
        if stamps.get("event_time") is not None
        else None,
    )


def _moment(value: object, what: str) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise InvalidInputError(
                f"{what} is {value!r}: give an ISO 8601 time with its zone, "
                "such as 2026-05-01T12:00:00Z"
            ) from None
    return check_time(value, what=what)


def time_if_readable(about: Mapping[str, Any]) -> datetime | None:
    """A time from what a loader or a model provider wrote, which the caller need not have seen."""
    for key in _MESSAGE_TIMES:
        value = about.get(key)
        if isinstance(value, str):
            try:
                moment = datetime.fromisoformat(value)
                if moment.tzinfo is not None:
                    return moment.astimezone(UTC)
            except (ValueError, OverflowError):
                continue
    return None
