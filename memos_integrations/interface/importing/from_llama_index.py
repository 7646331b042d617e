"""A LlamaIndex chat store: one that answers, or what ``SimpleChatStore.persist`` wrote.

Each message with words is a memory in the namespace of its history's key. (A history that goes on
belongs into ``MemOSChatStore.set_messages``.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memos_integrations.errors import InvalidInputError
from memos_integrations.interface.importing.arrivals import Arrival, Said, moment, parsed, word


def read(source: Any) -> list[Arrival]:
    """``source``: a chat store, a path to its JSON, or its dict."""
    if hasattr(source, "get_keys"):
        histories: Any = {key: source.get_messages(key) for key in source.get_keys()}
    else:
        found = parsed(source, "a chat store")
        histories = found.get("store", found) if isinstance(found, Mapping) else None
    if not isinstance(histories, Mapping):
        raise InvalidInputError('a chat store is {"store": {"key": [messages]}}')
    return [
        arrival
        for key, messages in histories.items()
        for n, message in enumerate(messages)
        if (arrival := _arrival(str(key), n, message)) is not None
    ]


def _arrival(key: str, n: int, message: Any) -> Arrival | None:
    said = message if isinstance(message, Mapping) else message.model_dump()
    text = _text(said)
    if not text.strip():
        return None  # a call of a tool, or a picture
    extra = said.get("additional_kwargs") or {}
    at = moment(extra.get("timestamp"), "timestamp") if isinstance(extra, Mapping) else None
    return Arrival(
        f"{key}#{n}",
        [Said(text, at)],
        namespace=(key,),
        born=at,
        role=word(said.get("role")),
        said_at=at,
    )


def _text(said: Mapping[str, Any]) -> str:
    if isinstance(said.get("content"), str):
        return str(said["content"])
    blocks = said.get("blocks") or []
    return "\n".join(str(b["text"]) for b in blocks if isinstance(b, Mapping) and b.get("text"))
