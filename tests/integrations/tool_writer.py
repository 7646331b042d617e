"""A tiny model that calls tools: it reads and decodes as ever, a rule says what it writes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from memos_integrations.memories.activation.decoding import Decoding, Prefilled
from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.segments import Prompt
from memos_integrations.memories.activation.usage import Usage

TEMPLATE = (
    "{% for tool in tools or [] %}tool: {{ tool['function'] | tojson }}\n{% endfor %}"
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}"
    "{% for call in m['tool_calls'] or [] %} calls {{ call['function']['name'] }}{% endfor %}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)


class ToolWriter(ActivationEngine):
    """An engine whose next token is the one that :func:`written` wants.

    The prompt is rendered, read, cached and decoded by the real model; its logits are raised at
    that token, and sampling, ends, stop strings and usage are the engine's own.
    """

    def prefill(self, prompt: Prompt, usage: Usage | None = None) -> Prefilled:
        read = super().prefill(prompt, usage)
        script = self.script(prompt)
        read.logits = raised(read.logits, script[0])
        return _Read(**vars(read), before=len(prompt.tokens), script=script)

    def why_in_turn(self) -> str:
        return "the rule is about one answer"

    def script(self, prompt: Prompt) -> list[int]:
        """The tokens of the answer, and the one that ends it."""
        answer = written(self.model.decode(prompt.tokens))
        return [*self.model.encode(answer, special=False), self.model.tokenizer.eos_token_id]

    def _behind(self, read: Prefilled) -> Decoding:
        assert isinstance(read, _Read)
        return _Scripted(self, read)


@dataclass
class _Read(Prefilled):
    """A prompt of so many tokens, and what is written behind it."""

    before: int
    script: list[int]


class _Scripted(Decoding):
    def __init__(self, engine: ActivationEngine, read: _Read) -> None:
        super().__init__(engine, read)
        self._before, self._script = read.before, read.script

    def next(self, so_far: Sequence[int]) -> torch.Tensor:
        return raised(super().next(so_far), self._script[len(so_far) - self._before])


def raised(logits: torch.Tensor, token: int) -> torch.Tensor:
    """Logits that lead to this token."""
    led = logits.clone()
    led[token] += 1e4
    return led


def written(prompt: str) -> str:
    """What a model that follows its instructions writes behind this prompt.

    A call, if the answer is begun as one, or if there are tools and the user spoke last.
    """
    before, _, begun = prompt.rpartition("assistant:")
    tools = [json.loads(one) for one in re.findall(r"^tool: (\{.*\})$", before, re.MULTILINE)]
    last = re.split(r"\n(?=(?:user|system|assistant|tool): )", before)[-1]
    if not begun and not (tools and last.startswith("user: ")):
        return " It is done."
    question = last.removeprefix("user: ").strip()
    named = re.search(r'"name": "(\w+)"', begun)
    mentioned = [tool for tool in tools if tool["name"] in question]
    tool = (mentioned or tools)[0]
    if named:
        tool = next(one for one in tools if one["name"] == named[1])
    call = {"name": tool["name"], "arguments": _filled(tool, question)}
    whole = f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>"
    assert whole.startswith(begun), "a call is begun as it is written"
    return whole[len(begun) :]


def _filled(tool: dict[str, Any], question: str) -> dict[str, Any]:
    """Each required argument: a number of the question, what it quotes, or all of it."""
    number, quoted = re.search(r"\d+", question), re.search("'([^']+)'", question)
    values = {
        "integer": int(number[0]) if number else 0,
        "string": quoted[1] if quoted else question,
    }
    shape = tool.get("parameters", {})
    return {name: values[shape["properties"][name]["type"]] for name in shape.get("required", ())}
