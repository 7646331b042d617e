"""``MemOSChatStore``: chat histories for ``ChatMemoryBuffer`` and its kin, kept as memories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.storage.chat_store.base import BaseChatStore

from memos_integrations.conversation import Conversation, conversations
from memos_integrations.llama_index.handles import handle_of, session_of
from memos_integrations.llama_index.messages import as_said, from_message, to_message
from memos_integrations.offload import offload
from memos_integrations.session import MemorySession


class MemOSChatStore(BaseChatStore):
    """``ChatMemoryBuffer.from_defaults(chat_store=MemOSChatStore(alice), chat_store_key="c1")``.

    A key is a conversation of the session. Messages are durable when a call returns, and are
    memories: what was said in any conversation is found by ``session.search``. Deleting messages
    here deletes the memories that they are.
    """

    _session: MemorySession = PrivateAttr()

    def __init__(self, session: MemorySession, **fields: Any) -> None:
        super().__init__(**fields)
        self._session = session

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises it."""
        return "MemOSChatStore"

    @property
    def session(self) -> MemorySession:
        """Whose memory."""
        return self._session

    def set_messages(self, key: str, messages: list[ChatMessage]) -> None:
        """Make a history be these messages; those that stand there already are not written."""
        self._at(key).replace([to_message(message) for message in as_said(messages)])

    def get_messages(self, key: str) -> list[ChatMessage]:
        """A history, oldest first; copies."""
        return [from_message(message) for message in self._at(key).messages()]

    def add_message(self, key: str, message: ChatMessage, idx: int | None = None) -> None:
        """Append a message, or insert it at ``idx``."""
        if idx is None:
            self._at(key).append([to_message(one) for one in as_said([message])])
            return
        messages = self.get_messages(key)
        messages.insert(idx, message)
        self.set_messages(key, messages)

    def delete_messages(self, key: str) -> list[ChatMessage] | None:
        """Delete a history; return what was in it, ``None`` if nothing was."""
        conversation = self._at(key)
        kept = conversation.messages()
        conversation.remove([message.key for message in kept])
        return [from_message(message) for message in kept] or None

    def delete_message(self, key: str, idx: int) -> ChatMessage | None:
        """Delete the message at ``idx``; ``None`` if there is none."""
        conversation = self._at(key)
        kept = conversation.messages()
        if not -len(kept) <= idx < len(kept):
            return None
        conversation.remove([kept[idx].key])
        return from_message(kept[idx])

    def delete_last_message(self, key: str) -> ChatMessage | None:
        """Delete the newest message; ``None`` if there is none."""
        return self.delete_message(key, -1)

    def get_keys(self) -> list[str]:
        """The keys of the histories that hold something, sorted."""
        return conversations(self._session)

    def _at(self, key: str) -> Conversation:
        return Conversation(self._session, key)

    # The same, for asyncio ----------------------------------------------------------------

    async def aset_messages(self, key: str, messages: list[ChatMessage]) -> None:
        """:meth:`set_messages` in a worker thread."""
        await offload(self.set_messages, key, messages)

    async def aget_messages(self, key: str) -> list[ChatMessage]:
        """:meth:`get_messages` in a worker thread."""
        return await offload(self.get_messages, key)

    async def async_add_message(
        self, key: str, message: ChatMessage, idx: int | None = None
    ) -> None:
        """:meth:`add_message` in a worker thread."""
        await offload(self.add_message, key, message, idx)

    async def adelete_messages(self, key: str) -> list[ChatMessage] | None:
        """:meth:`delete_messages` in a worker thread."""
        return await offload(self.delete_messages, key)

    async def adelete_message(self, key: str, idx: int) -> ChatMessage | None:
        """:meth:`delete_message` in a worker thread."""
        return await offload(self.delete_message, key, idx)

    async def adelete_last_message(self, key: str) -> ChatMessage | None:
        """:meth:`delete_last_message` in a worker thread."""
        return await offload(self.delete_last_message, key)

    async def aget_keys(self) -> list[str]:
        """:meth:`get_keys` in a worker thread."""
        return await offload(self.get_keys)

    # Handles, not contents ----------------------------------------------------------------

    def to_dict(self, **_: Any) -> dict[str, Any]:
        """Where the histories are, not what they hold: JSON-plain."""
        return {"class_name": self.class_name(), **handle_of(self._session)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], **_: Any) -> MemOSChatStore:
        """The chat store that a dict of :meth:`to_dict` stands for, in this process."""
        return cls(session_of(data))

    def model_dump(self, **_: Any) -> dict[str, Any]:
        """As :meth:`to_dict`: what memories that hold a chat store write of it."""
        return self.to_dict()
