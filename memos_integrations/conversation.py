"""Conversation: the messages of one conversation, in order, kept as memories of a session.

Both frameworks keep their messages here, each in its own format; one reads what the other wrote by
its role and text.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from memos_integrations.checks import MAX_TEXT_BYTES, check_text, thaw_json
from memos_integrations.keyed import KeyedDraft, KeyedMemory
from memos_integrations.recall import clean
from memos_integrations.session import MemorySession
from memos_integrations.shelf import Shelf

_SHELF = "chat/"

_LONGEST = MAX_TEXT_BYTES // 4
"""Characters of a message that are found by a search; the rest of a longer one is history only."""
_LONGEST_NAME = 200

SPOKEN = ("user", "assistant", "chatbot", "model")
"""Roles whose words are memories; what tools and systems write is history only."""


@dataclass(frozen=True)
class Message:
    """One message."""

    role: str
    """``user``, ``assistant``, ``system``, ``tool``, or another word of the framework."""
    text: str
    """Its words; may be empty, as in a message that only calls tools."""
    format: str
    """Whose ``data`` it is: ``langchain`` or ``llama_index``."""
    data: Mapping[str, Any]
    """The whole message, as its framework writes it to JSON."""
    id: str | None = None
    name: str | None = None
    searched: bool = field(default=True, compare=False)
    """Whether searches find it; not what only repeats a memory."""
    archived: bool = False
    """Whether it has left the part that is shown to a model."""
    key: str = field(default="", compare=False)
    """Its place; given when it is kept."""
    memory_id: str = field(default="", compare=False)
    """The memory that it is; given when it is kept."""


class Conversation:
    """A durable list of messages. Thread-safe; every change is one transaction."""

    def __init__(self, session: MemorySession, id: str) -> None:
        check_text(id, what="conversation_id", max_bytes=200)
        self.session, self.id = session, id

    def messages(self) -> list[Message]:
        """All of them, oldest first."""
        return [_read(one) for one in self._shelf.in_order(())]

    def append(self, messages: Sequence[Message]) -> None:
        """Add messages at the end, all or none."""
        self._shelf.write([self._draft(message) for message in messages])

    def replace(self, messages: Sequence[Message]) -> None:
        """Make the conversation be these messages; those that stand there already stay.

        Others leave the conversation and remain as memories, as in :meth:`release`.
        """
        before = self.messages()
        same = 0
        while same < min(len(before), len(messages)) and before[same] == messages[same]:
            same += 1
        gone = [one.key for one in before[same:]]
        self._shelf.write([self._draft(message) for message in messages[same:]], release=gone)

    def archive(self, keys: Collection[str]) -> None:
        """Mark messages as no longer shown to a model."""
        wanted = set(keys)
        changed = [one for one in self.messages() if one.key in wanted and not one.archived]
        self._shelf.write([self._draft(one, key=one.key, archived=True) for one in changed])

    def remove(self, keys: Collection[str]) -> None:
        """Delete messages."""
        self._shelf.write([self._shelf.removal((), key) for key in keys])

    def release(self) -> None:
        """Empty the conversation; what was said in it remains as memories of the session."""
        self._shelf.write([], release=[one.key for one in self.messages()])

    def clear(self) -> None:
        """Delete all messages; other memories of the session stay."""
        self.remove([one.key for one in self.messages()])

    @property
    def _shelf(self) -> Shelf:
        return self.session.shelf(f"{_SHELF}{self.id}")

    def _draft(
        self, message: Message, *, key: str | None = None, archived: bool | None = None
    ) -> KeyedDraft:
        shelf = self._shelf
        words = clean(message.text)[:_LONGEST]
        said = bool(words.strip())
        speaker = clean(message.name or "").strip()[:_LONGEST_NAME] or None
        fields = shelf.read(message.role, words, speaker) if said else {"origin": "tool"}
        source = clean(message.id).strip()[:1024] if message.id else ""
        return shelf.draft(
            (),
            key,
            [words if said else f"({message.role} message without text)"],
            searched=said and message.searched and message.role in SPOKEN,
            source=source or None,
            metadata={
                "conversation": self.id,
                "format": message.format,
                "message": dict(message.data),
                "role": message.role,
                "searched": message.searched,
                "archived": message.archived if archived is None else archived,
                "id": message.id,
                "name": message.name,
                "text": message.text if message.text != words or not said else None,
            },
            **fields,
        )


def conversations(session: MemorySession) -> list[str]:
    """The ids of the conversations that hold something, sorted."""
    return [name.removeprefix(_SHELF) for name in session.shelves() if name.startswith(_SHELF)]


def _read(one: KeyedMemory) -> Message:
    kept = thaw_json(one.cube.metadata)
    return Message(
        role=kept["role"],
        text=one.cube.text if kept["text"] is None else kept["text"],
        format=kept["format"],
        data=kept["message"],
        id=kept["id"],
        name=kept["name"],
        searched=kept["searched"],
        archived=kept["archived"],
        key=one.key,
        memory_id=one.cube.id,
    )
