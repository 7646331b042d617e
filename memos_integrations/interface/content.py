"""What callers hand in, brought to one shape: strings, messages and documents of three worlds.

Objects are told apart by the attributes they have, so neither LangChain nor LlamaIndex is imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from memos_integrations.checks import check_text
from memos_integrations.errors import InvalidInputError
from memos_integrations.interface.fields import (
    label,
    metadata_of,
    time_if_readable,
    times_of,
    words_of,
)

ACCEPTED = (
    'a string, a {"role": ..., "content": ...} or {"text": ..., "metadata": {...}} dict, '
    "a LangChain message or Document, a LlamaIndex ChatMessage, Document or node, "
    "or a list of these"
)

ROLES = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "chatbot": "assistant",
    "system": "system",
    "developer": "system",
    "tool": "tool",
    "function": "tool",
}
"""Each role that is known, in the words of the frameworks, and the role that is stored."""

_DOCUMENT_SOURCES = ("source", "file_path", "file_name", "url")
_MESSAGE_KEYS = ("role", "content", "speaker", "name")


@dataclass(frozen=True, slots=True)
class Item:
    """One message or document with words in it."""

    text: str
    role: str | None = None
    """One of user, assistant, system, tool; ``None`` for a plain string or a document."""
    speaker: str | None = None
    said_at: datetime | None = None
    """When it was sent or written (UTC)."""
    event_time: datetime | None = None
    """When it was so (UTC), if the caller said so."""
    source: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    is_document: bool = False

    @property
    def origin(self) -> str:
        """Where the words come from: the role, ``document``, or ``user`` for a plain string."""
        return "document" if self.is_document else self.role or "user"


def read_items(content: object) -> list[Item]:
    """Return the messages and documents of ``content``, in order.

    Messages without words (a tool call alone, an image alone) are left out of a list. Raises
    :class:`InvalidInputError` for an empty string or document, for anything unknown (with its place
    in the list), and when nothing with words is left.
    """
    if _is_many(content):
        found = [_read_one(one, f"item {i}") for i, one in enumerate(content)]  # type: ignore[arg-type,var-annotated]
    else:
        found = [_read_one(content, "content")]
    items = [item for item in found if item is not None]
    if not items:
        raise InvalidInputError(
            "nothing with words was given: pass at least one message or document that has text"
        )
    return items


def _is_many(content: object) -> bool:
    # Pydantic models iterate over their fields, which is no list of anything.
    return isinstance(content, Iterable) and not (
        isinstance(content, str | bytes | bytearray | Mapping) or hasattr(content, "model_dump")
    )


def _read_one(one: object, where: str) -> Item | None:
    if isinstance(one, str):
        return Item(check_text(one, what=where))
    if isinstance(one, Mapping):
        return _from_dict(one, where)
    if not isinstance(one, type):
        if hasattr(one, "page_content"):
            text, name = one.page_content, getattr(one, "id", None)
            return _document(text, getattr(one, "metadata", None), name, where)
        if hasattr(one, "get_content") and hasattr(one, "metadata"):
            name = getattr(one, "node_id", None) or getattr(one, "id_", None)
            return _document(one.get_content(), one.metadata, name, where)
        if hasattr(one, "content") and (hasattr(one, "role") or hasattr(one, "type")):
            return _from_message(one, where)
    raise InvalidInputError(f"{where} is of type {type(one).__name__}: give {ACCEPTED}")


def _from_dict(one: Mapping[Any, Any], where: str) -> Item | None:
    words = next((key for key in ("content", "text", "page_content") if key in one), None)
    if words is None:
        keys = ", ".join(map(repr, one)) or "no keys"
        raise InvalidInputError(f"{where} is a dict with {keys}: give {ACCEPTED}")
    metadata = metadata_of(one.get("metadata"), where)
    source = one.get("source") or one.get("id")
    if any(key in one for key in _MESSAGE_KEYS):
        speaker = one.get("speaker") or one.get("name")
        role = one.get("role", "user")
        return _message(one[words], role, speaker, one, source, metadata, where)
    said_at, event_time = times_of(one, where)
    return _document(one[words], metadata, source, where, said_at=said_at, event_time=event_time)


def _from_message(one: Any, where: str) -> Item | None:
    extra = getattr(one, "additional_kwargs", None) or {}
    role = one.role if hasattr(one, "role") else one.type
    role = getattr(role, "value", role)
    if isinstance(role, str) and role.endswith("MessageChunk"):  # a streamed LangChain message
        role = role.removesuffix("MessageChunk").lower()
    blocks = getattr(one, "blocks", None)
    return _message(
        one.content if blocks is None else blocks,
        role,
        getattr(one, "name", None) or extra.get("name") or extra.get("speaker"),
        extra,
        getattr(one, "id", None) or extra.get("id"),
        {},
        where,
        provider=getattr(one, "response_metadata", None) or {},
    )


def _message(
    content: object,
    role: object,
    speaker: object,
    stamps: Mapping[str, Any],
    source: object,
    metadata: Mapping[str, Any],
    where: str,
    *,
    provider: Mapping[str, Any] | None = None,
) -> Item | None:
    text = words_of(content, where)
    if not text.strip():
        return None
    known = ROLES.get(role.lower()) if isinstance(role, str) else None
    if known is None:
        raise InvalidInputError(
            f"{where} has the role {role!r}: use one of {', '.join(ROLES)}, "
            "and speaker or name for who said it"
        )
    said_at, event_time = times_of(stamps, where)
    return Item(
        check_text(text, what=where),
        known,
        label(speaker, f"speaker of {where}"),
        said_at or time_if_readable(provider or {}),
        event_time,
        label(source, f"source of {where}"),
        metadata,
    )


def _document(
    text: object,
    metadata: object,
    name: object,
    where: str,
    *,
    said_at: datetime | None = None,
    event_time: datetime | None = None,
) -> Item:
    about = metadata_of(metadata, where)
    named = next((about[key] for key in _DOCUMENT_SOURCES if isinstance(about.get(key), str)), None)
    return Item(
        check_text(text, what=where),
        said_at=said_at or time_if_readable(about),
        event_time=event_time,
        source=label(named or name, f"source of {where}"),
        metadata=about,
        is_document=True,
    )
