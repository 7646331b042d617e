"""A chat model that follows a script: each line reads the prompt and answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import Field

Line = Callable[[Sequence[BaseMessage]], AIMessage]


class ScriptedModel(BaseChatModel):
    """Says what ``line`` makes of the prompt, and keeps every prompt it was given."""

    line: Line
    prompts: list[list[BaseMessage]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **_: Any) -> ScriptedModel:
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self.prompts.append(messages)
        return ChatResult(generations=[ChatGeneration(message=self.line(messages))])

    def _stream(
        self, messages: list[BaseMessage], *_: Any, **__: Any
    ) -> Iterator[ChatGenerationChunk]:
        self.prompts.append(messages)
        answer = self.line(messages)
        for word in str(answer.text).split(" "):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word + " "))


def words(messages: Sequence[BaseMessage]) -> str:
    """All that a prompt says."""
    return "\n".join(str(message.text) for message in messages)
