"""A LlamaIndex LLM that follows a script and keeps the prompts it is given."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    LLMMetadata,
    ToolCallBlock,
)
from llama_index.core.bridge.pydantic import Field
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection

Line = Callable[[Sequence[ChatMessage]], ChatMessage]


class ScriptedLLM(FunctionCallingLLM):
    line: Any
    prompts: list[list[ChatMessage]] = Field(default_factory=list)

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(is_function_calling_model=True, is_chat_model=True, context_window=8_000)

    def _prepare_chat_with_tools(
        self,
        tools: Any,
        user_msg: Any = None,
        chat_history: list[ChatMessage] | None = None,
        **_: Any,
    ) -> dict[str, Any]:
        return {"messages": [*(chat_history or []), *([user_msg] if user_msg else [])]}

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = False, **_: Any
    ) -> list[ToolSelection]:
        return [
            ToolSelection(tool_id="c", tool_name=one.tool_name, tool_kwargs=dict(one.tool_kwargs))
            for one in response.message.blocks
            if isinstance(one, ToolCallBlock)
        ]

    def chat(self, messages: Sequence[ChatMessage], **_: Any) -> ChatResponse:
        self.prompts.append([message.model_copy(deep=True) for message in messages])
        return ChatResponse(message=self.line(messages))

    async def achat(self, messages: Sequence[ChatMessage], **_: Any) -> ChatResponse:
        return self.chat(messages)

    def stream_chat(
        self, messages: Sequence[ChatMessage], **_: Any
    ) -> Generator[ChatResponse, None, None]:
        answer = self.chat(messages).message
        yield ChatResponse(message=answer, delta=answer.content or "")

    async def astream_chat(
        self, messages: Sequence[ChatMessage], **_: Any
    ) -> AsyncGenerator[ChatResponse, None]:
        async def stream() -> AsyncGenerator[ChatResponse, None]:
            answer = self.chat(messages).message
            yield ChatResponse(message=answer, delta=answer.content or "")

        return stream()

    def complete(self, prompt: str, **_: Any) -> CompletionResponse:
        answer = self.chat([ChatMessage(role="user", content=prompt)]).message
        return CompletionResponse(text=answer.content or "")

    async def acomplete(self, prompt: str, **_: Any) -> CompletionResponse:
        return self.complete(prompt)

    def stream_complete(self, prompt: str, **_: Any) -> Any:
        raise NotImplementedError

    async def astream_complete(self, prompt: str, **_: Any) -> Any:
        raise NotImplementedError


def words(messages: Sequence[ChatMessage]) -> str:
    """All that a prompt says."""
    return "\n".join(message.content or "" for message in messages)


def call(name: str, **arguments: Any) -> ChatMessage:
    """The assistant calls a tool."""
    block = ToolCallBlock(tool_call_id="c", tool_name=name, tool_kwargs=arguments)
    return ChatMessage(role="assistant", blocks=[block])
