"""``MemOSAsyncChatStore``: the chat store of LlamaIndex's ``Memory``, kept as memories."""

from __future__ import annotations

from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.storage.chat_store.base_db import AsyncDBChatStore, MessageStatus

from memos_integrations.conversation import Conversation, Message, conversations
from memos_integrations.llama_index.messages import as_said, from_message, to_message
from memos_integrations.offload import offload
from memos_integrations.session import MemorySession


class MemOSAsyncChatStore(AsyncDBChatStore):
    """``Memory.from_defaults(session_id="c1", chat_store=MemOSAsyncChatStore(alice))``.

    A key is a conversation of the session. Messages are durable when a call returns; those that
    ``Memory`` has flushed are marked as archived, and stay memories.
    """

    _session: MemorySession = PrivateAttr()

    def __init__(self, session: MemorySession, **fields: Any) -> None:
        super().__init__(**fields)
        self._session = session

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex knows it."""
        return "MemOSAsyncChatStore"

    @property
    def session(self) -> MemorySession:
        """Whose memory."""
        return self._session

    async def get_messages(
        self,
        key: str,
        status: MessageStatus | None = MessageStatus.ACTIVE,
        limit: int | None = None,
        offset: int | None = None,
    ) -> list[ChatMessage]:
        """Messages of a status (``None``: of any), oldest first; copies."""
        kept = await offload(self._of, key, status)
        start = offset or 0
        return [
            from_message(message)
            for message in kept[start : None if limit is None else start + limit]
        ]

    async def count_messages(
        self, key: str, status: MessageStatus | None = MessageStatus.ACTIVE
    ) -> int:
        """How many messages of a status there are."""
        return len(await offload(self._of, key, status))

    async def add_message(
        self, key: str, message: ChatMessage, status: MessageStatus = MessageStatus.ACTIVE
    ) -> None:
        """Append a message."""
        await self.add_messages(key, [message], status)

    async def add_messages(
        self, key: str, messages: list[ChatMessage], status: MessageStatus = MessageStatus.ACTIVE
    ) -> None:
        """Append messages, all or none."""
        await offload(self._at(key).append, _kept(messages, status))

    async def set_messages(
        self, key: str, messages: list[ChatMessage], status: MessageStatus = MessageStatus.ACTIVE
    ) -> None:
        """Make a history be these messages; those that stand there already are not written."""
        await offload(self._at(key).replace, _kept(messages, status))

    async def delete_message(self, key: str, idx: int) -> ChatMessage | None:
        """Delete the message at a place among all; ``None`` if there is none."""
        return await offload(self._delete_one, key, idx)

    async def delete_messages(self, key: str, status: MessageStatus | None = None) -> None:
        """Delete the messages of a status; ``None``: all."""
        await offload(lambda: self._at(key).remove([one.key for one in self._of(key, status)]))

    async def delete_oldest_messages(self, key: str, n: int) -> list[ChatMessage]:
        """Delete the oldest ``n`` active messages; return them."""
        return await offload(self._oldest, key, n, False)

    async def archive_oldest_messages(self, key: str, n: int) -> list[ChatMessage]:
        """Archive the oldest ``n`` active messages; return them."""
        return await offload(self._oldest, key, n, True)

    async def get_keys(self) -> list[str]:
        """The keys of the histories that hold something, sorted."""
        return await offload(conversations, self._session)

    def _at(self, key: str) -> Conversation:
        return Conversation(self._session, key)

    def _of(self, key: str, status: MessageStatus | None) -> list[Message]:
        kept = self._at(key).messages()
        if status is None:
            return kept
        return [one for one in kept if one.archived == (status == MessageStatus.ARCHIVED)]

    def _delete_one(self, key: str, idx: int) -> ChatMessage | None:
        kept = self._of(key, None)
        if not 0 <= idx < len(kept):
            return None
        self._at(key).remove([kept[idx].key])
        return from_message(kept[idx])

    def _oldest(self, key: str, n: int, archive: bool) -> list[ChatMessage]:
        oldest = self._of(key, MessageStatus.ACTIVE)[: max(0, n)]
        places = [message.key for message in oldest]
        if archive:
            self._at(key).archive(places)
        else:
            self._at(key).remove(places)
        return [from_message(message) for message in oldest]


def _kept(messages: list[ChatMessage], status: MessageStatus) -> list[Message]:
    archived = status == MessageStatus.ARCHIVED
    return [to_message(message, archived=archived) for message in as_said(messages)]
