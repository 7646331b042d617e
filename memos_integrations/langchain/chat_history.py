"""``MemOSChatMessageHistory``: a conversation's messages, kept as memories."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import (
    BaseMessage,
    convert_to_messages,
    message_to_dict,
    messages_from_dict,
)

from memos_integrations.conversation import Conversation, Message
from memos_integrations.offload import offload
from memos_integrations.session import MemorySession

_ROLES = {"human": "user", "ai": "assistant"}


class MemOSChatMessageHistory(BaseChatMessageHistory):
    """The messages of one conversation, in order, over processes and crashes.

    Every message is a memory of the session, so what was said in any conversation is found by
    ``session.search`` and by the retriever. Messages come back equal, with tool calls and ids; what
    LlamaIndex wrote to the conversation comes back by its role and text.
    """

    def __init__(self, session: MemorySession, conversation_id: str) -> None:
        self._conversation = Conversation(session, conversation_id)

    @property
    def session(self) -> MemorySession:
        """Whose memory."""
        return self._conversation.session

    @property
    def conversation_id(self) -> str:
        """Which conversation."""
        return self._conversation.id

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        """All messages, oldest first; a new list each time."""
        return [_from(message) for message in self._conversation.messages()]

    async def aget_messages(self) -> list[BaseMessage]:
        """:attr:`messages`, read in a worker thread."""
        return await offload(lambda: self.messages)

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Append messages, all or none. Raises :class:`InvalidInputError` for one not JSON."""
        self._conversation.append([_to(message) for message in messages])

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """:meth:`add_messages` in a worker thread."""
        await offload(self.add_messages, messages)

    def clear(self) -> None:
        """Delete the conversation's messages; other memories of the session stay."""
        self._conversation.clear()

    async def aclear(self) -> None:
        """:meth:`clear` in a worker thread."""
        await offload(self.clear)


def _to(message: BaseMessage) -> Message:
    return Message(
        role=_ROLES.get(message.type, message.type),
        text=str(message.text),
        format="langchain",
        data=message_to_dict(message),
        id=message.id,
        name=message.name,
    )


def _from(message: Message) -> BaseMessage:
    if message.format == "langchain":
        return messages_from_dict([dict(message.data)])[0]
    # A tool's message stands without the call that it answers: as words of the assistant.
    role = message.role if message.role in ("user", "assistant", "system") else "assistant"
    said = {"role": role, "content": message.text, "id": message.id, "name": message.name}
    return convert_to_messages([{name: value for name, value in said.items() if value}])[0]
