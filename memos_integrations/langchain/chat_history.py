"""``MemOSChatMessageHistory``: a conversation's messages, kept as memories."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict

from memos_integrations.cube import check_text, thaw_json
from memos_integrations.keyed import KeyedDraft
from memos_integrations.recall import clean
from memos_integrations.session import MemorySession, offload
from memos_integrations.shelf import Shelf


class MemOSChatMessageHistory(BaseChatMessageHistory):
    """The messages of one conversation, in order, over processes and crashes.

    Every message is a memory of the session, so what was said in any conversation is found by
    ``session.search`` and by the retriever. Messages come back equal, with tool calls and ids.
    """

    def __init__(self, session: MemorySession, conversation_id: str) -> None:
        check_text(conversation_id, what="conversation_id", max_bytes=200)
        self.session, self.conversation_id = session, conversation_id

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        """All messages, oldest first; a new list each time."""
        kept = self._shelf.in_order(())
        return messages_from_dict([thaw_json(one.cube.metadata["message"]) for one in kept])

    async def aget_messages(self) -> list[BaseMessage]:
        """:attr:`messages`, read in a worker thread."""
        return await offload(lambda: self.messages)

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Append messages, all or none. Raises :class:`InvalidInputError` for one not JSON."""
        self._shelf.write([self._draft(message) for message in messages])

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """:meth:`add_messages` in a worker thread."""
        await offload(self.add_messages, messages)

    def clear(self) -> None:
        """Delete the conversation's messages; other memories of the session stay."""
        self._shelf.write([self._shelf.removal((), one.key) for one in self._shelf.in_order(())])

    async def aclear(self) -> None:
        """:meth:`clear` in a worker thread."""
        await offload(self.clear)

    @property
    def _shelf(self) -> Shelf:
        return self.session.shelf(f"chat/{self.conversation_id}")

    def _draft(self, message: BaseMessage) -> KeyedDraft:
        words = clean(str(message.text))
        said = bool(words.strip())
        shelf = self._shelf
        fields = shelf.read(message.type, words, message.name) if said else {"origin": "tool"}
        return shelf.draft(
            (),
            shelf.new_key(),
            [words if said else f"({message.type} message without text)"],
            searched=said,
            source=clean(message.id)[:1024] if message.id and message.id.strip() else None,
            metadata={"conversation": self.conversation_id, "message": message_to_dict(message)},
            **fields,
        )
