"""LlamaIndex messages and the conversation's, and how a history is cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, TextBlock

from memos_integrations.conversation import Message
from memos_integrations.errors import InvalidInputError
from memos_integrations.recall import without_block

NOTED = "Understood."
"""What stands as the assistant's answer to a block that has a turn of its own."""


def to_message(message: ChatMessage, *, archived: bool = False) -> Message:
    """A host's message as it is kept."""
    data = message.model_dump(mode="json")
    name = message.additional_kwargs.get("name")
    return Message(
        role=message.role.value,
        text=message.content or "",
        format="llama_index",
        data=data,
        name=name if isinstance(name, str) else None,
        archived=archived,
    )


def from_message(message: Message) -> ChatMessage:
    """A kept message as the host's; a new object each time."""
    if message.format == "llama_index":
        return ChatMessage.model_validate(dict(message.data))
    role = message.role if message.role in ("user", "assistant", "system") else "assistant"
    return ChatMessage(role=role, content=message.text)


def as_said(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Messages without what a memory wrote into them; copies."""
    said: list[ChatMessage] = []
    answered = False
    for message in messages:
        if not isinstance(message, ChatMessage):
            raise InvalidInputError(f"{message!r:.80} is no ChatMessage")
        if answered and message.role.value == "assistant" and message.content == NOTED:
            answered = False
            continue
        blocks = [_said(block) for block in message.blocks]
        left = [block for block in blocks if block is not None]
        answered = bool(blocks) and not left
        if not answered:
            said.append(message.model_copy(update={"blocks": left}, deep=True))
    return said


def _said(block: Any) -> Any:
    """A block without recalled memories; ``None`` if there was nothing else in it."""
    if not isinstance(block, TextBlock):
        return block
    text = without_block(block.text)
    if text == block.text:
        return block
    return block.model_copy(update={"text": text}) if text else None


def tokens_of(message: ChatMessage, tokens: Callable[[str], int]) -> int:
    """Tokens of a message: its words, its tool calls, and whatever else it carries in words."""
    written = [
        block.text
        if isinstance(block, TextBlock)
        else block.model_dump_json(exclude_none=True, exclude={"image", "audio", "video", "data"})
        for block in message.blocks
    ]
    if message.additional_kwargs:
        written.append(str(message.additional_kwargs))
    return sum(tokens(text) for text in written)


def newest_within(
    messages: Sequence[ChatMessage], limit: int, tokens: Callable[[str], int]
) -> list[ChatMessage]:
    """The newest messages of at most ``limit`` tokens; when cut, beginning with a user's.

    A tool's result is never parted from the call before it; leading system messages stay. The
    newest user message is kept even if it alone is longer.
    """
    first = next((i for i, m in enumerate(messages) if m.role.value != "system"), len(messages))
    pinned, rest = list(messages[:first]), list(messages[first:])
    newest = max((i for i, m in enumerate(rest) if m.role.value == "user"), default=None)
    left = limit - sum(tokens_of(message, tokens) for message in pinned)
    kept: list[tuple[int, ChatMessage]] = []
    if newest is not None:
        left -= tokens_of(rest[newest], tokens)
    for unit in reversed(_units(rest)):
        cost = sum(tokens_of(m, tokens) for i, m in unit if i != newest)
        if cost > left:
            break
        left -= cost
        kept[:0] = unit
    if newest is not None and all(i != newest for i, _ in kept):
        return [*pinned, rest[newest], *(m for i, m in kept if i > newest)]
    whole = len(kept) == len(rest)
    while not whole and kept and kept[0][1].role.value != "user" and newest is not None:
        kept.pop(0)
    return [*pinned, *(message for _, message in kept)]


def _units(messages: Sequence[ChatMessage]) -> list[list[tuple[int, ChatMessage]]]:
    """What is kept or cut together: a call with its results, any other message alone."""
    units: list[list[tuple[int, ChatMessage]]] = []
    for i, message in enumerate(messages):
        if message.role.value in ("tool", "function") and units:
            units[-1].append((i, message))
        else:
            units.append([(i, message)])
    return units
