"""Calls of tools as local models write them: read from an answer, and begun for one.

The form is that of Qwen, Hermes and their kin:
``<tool_call>{"name": ..., "arguments": ...}</tool_call>``.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from memos_integrations.errors import InvalidInputError


@dataclass(frozen=True)
class ToolCall:
    """A call that the model wrote."""

    name: str
    arguments: dict[str, Any]
    id: str = field(default_factory=lambda: f"call_{uuid.uuid4().hex[:24]}")


_CALL = re.compile(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)


def parse_tool_calls(text: str) -> tuple[str, list[ToolCall]]:
    """Calls that the model wrote as ``<tool_call>{"name": ..., "arguments": ...}</tool_call>``.

    What is no proper call stays in the text.
    """
    calls: list[ToolCall] = []

    def take(found: re.Match[str]) -> str:
        try:
            wanted = json.loads(found.group(1))
            arguments = wanted.get("arguments", wanted.get("parameters", {}))
            if isinstance(arguments, str):
                arguments = json.loads(arguments)
            calls.append(ToolCall(str(wanted["name"]), dict(arguments)))
        except (KeyError, TypeError, ValueError):
            return found.group()
        return ""

    rest = _CALL.sub(take, text)
    return (rest.strip() if calls else text), calls


def begun_call(tools: Sequence[Mapping[str, Any]] | None, choice: str | None) -> str:
    """How an answer begins that has to call a tool; empty where it need not.

    ``tools`` as OpenAI describes them. ``choice``: ``None`` or ``"auto"``, it need not;
    ``"any"`` or ``"required"``, one of them; or the name of one. What follows is the model's own.
    Raises :class:`InvalidInputError` for any other choice, and for one without tools.
    """
    if choice in (None, "auto"):
        return ""
    names = [str(tool["function"]["name"]) for tool in tools or ()]
    if choice in names:
        names = [str(choice)]
    elif choice not in ("any", "required") or not names:
        raise InvalidInputError(
            f"tool_choice {choice!r} is not supported: use None, 'auto', 'any', 'required', or "
            f"the name of a tool ({', '.join(names) or 'none is given'})"
        )
    if len(names) > 1:
        return '<tool_call>\n{"name": "'
    return f'<tool_call>\n{{"name": {json.dumps(names[0], ensure_ascii=False)}, "arguments":'
