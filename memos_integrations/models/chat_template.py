"""Chats as the text that a model reads, through its chat template (Jinja).

A template may refuse what agents send: two system messages, two of one role in a row, a system
message at all. Then the same words are arranged until it takes them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from memos_integrations.errors import ChatTemplateError, InvalidInputError

log = logging.getLogger(__name__)

Message = dict[str, Any]

DEFAULT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ message.role | capitalize }}: {{ message.content }}"
    "{% for call in message.tool_calls or [] %}"
    "{% set wanted = call.function or call %}"
    "<tool_call>"
    '{{ {"name": wanted.name, "arguments": wanted.arguments} | tojson }}'
    "</tool_call>"
    "{% endfor %}"
    "{{ '\\n\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""For models without a template of their own, such as base models: one paragraph a message.
It offers no tools, and writes the calls in a chat that another model had.

::

    System: You are kind.

    User: Hello!

    Assistant:
"""

DEFAULT_STOPS = ("\nUser:",)
"""What a model writes under :data:`DEFAULT_TEMPLATE` when its own answer is over."""


def render(
    tokenizer: Any,
    template: str | None,
    messages: Sequence[Mapping[str, Any]],
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    reply: bool = True,
) -> str:
    """The chat as text, by ``template`` or the tokenizer's own (``None``).

    Raises ``ChatTemplateError`` if the template refuses the messages however arranged.
    """
    from jinja2 import TemplateError

    plain = [_plain(message) for message in messages]
    if not plain:
        raise InvalidInputError("there are no messages: give at least one")
    partly: str | None = None
    refusal: Exception | None = None
    for arranged in (plain, _merged(plain), _without_system(plain)):
        try:
            text = str(
                tokenizer.apply_chat_template(
                    arranged,
                    tools=[dict(tool) for tool in tools] if tools else None,
                    chat_template=template,
                    add_generation_prompt=reply,
                    tokenize=False,
                )
            )
        except (TemplateError, LookupError, TypeError, ValueError, AttributeError) as error:
            refusal = error
            continue
        if _says_all(plain, text):
            return text
        partly = partly or text
    if partly is None:
        raise ChatTemplateError(
            f"the chat template refuses these messages: {refusal}. Change them, or give the "
            "model another chat_template"
        ) from refusal
    log.warning("the chat template leaves out or rewrites words of a system or user message")
    return partly


def _plain(message: Mapping[str, Any]) -> Message:
    """With a role, and its content as a string where it is text alone."""
    if not isinstance(message.get("role"), str):
        raise InvalidInputError(
            "each message needs a role: 'system', 'user', 'assistant' or 'tool'"
        )
    content = message.get("content")
    if content is None:  # beside tool calls; templates fail on it
        content = ""
    elif isinstance(content, list) and all(_is_text(part) for part in content):
        content = "".join(part if isinstance(part, str) else part["text"] for part in content)
    return {**message, "content": content}


def _is_text(part: object) -> bool:
    if isinstance(part, Mapping):
        return part.get("type") == "text" and isinstance(part.get("text"), str)
    return isinstance(part, str)


def _merged(messages: Sequence[Message]) -> list[Message]:
    """System messages as one at the head; neighbours of one role as one."""
    systems = [message for message in messages if message["role"] == "system"]
    others = [message for message in messages if message["role"] != "system"]
    out: list[Message] = []
    for kind, group in groupby([*systems, *others], key=_mergeable):
        together = list(group)
        if kind is None:
            out += together
        else:
            words = [one["content"] for one in together]
            out.append({**together[0], "content": "\n\n".join(filter(None, words))})
    return out


def _mergeable(message: Message) -> str | None:
    """The role of a message that is words and nothing else."""
    words_alone = isinstance(message["content"], str) and not message.get("tool_calls")
    return str(message["role"]) if words_alone and message["role"] != "tool" else None


def _without_system(messages: Sequence[Message]) -> list[Message]:
    """Merged, and what the system says is the beginning of the first user message."""
    return _merged(
        [
            {**message, "role": "user"} if message["role"] == "system" else message
            for message in _merged(messages)
        ]
    )


def _says_all(messages: Sequence[Message], text: str) -> bool:
    """Whether each word of system and user is there: some templates drop a message silently."""
    asked = [m["content"] for m in messages if m["role"] in ("system", "user")]
    return all(words.strip() in text for words in asked if isinstance(words, str))
