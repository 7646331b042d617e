"""``MemOSFunctionLLM``: :class:`MemOSLLM` for agents that call tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    LLMMetadata,
    MessageRole,
    ToolCallBlock,
)
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools.types import BaseTool

from memos_integrations.errors import InvalidInputError
from memos_integrations.llama_index.llm import MemOSLLM


class MemOSFunctionLLM(MemOSLLM, FunctionCallingLLM):
    """``FunctionAgent(llm=MemOSFunctionLLM(memory, "Qwen/Qwen3-0.6B"), tools=[...])``.

    For models whose chat template knows tools, and that write calls as
    ``<tool_call>{"name": ..., "arguments": ...}</tool_call>``: Qwen, Hermes and their kin. Others
    are refused when it is made. Where the host requires a call (``tool_required``), it is begun for
    the model, which goes on from there; where that becomes no proper call, the host raises. With
    tools an answer is streamed in one piece.
    """

    def __init__(self, *values: Any, **options: Any) -> None:
        super().__init__(*values, **options)
        if "tools" not in (self.local.model.chat_template or ""):
            raise InvalidInputError(
                f"the chat template of {self.local.model.name} knows no tools: use MemOSLLM, or "
                "another model"
            )

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex knows it."""
        return "MemOSFunctionLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex asks of a model."""
        return super().metadata.model_copy(update={"is_function_calling_model": True})

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        messages = list(chat_history or [])
        if isinstance(user_msg, str):
            messages.append(ChatMessage(role=MessageRole.USER, content=user_msg))
        elif user_msg is not None:
            messages.append(user_msg)
        known = [tool.metadata.to_openai_tool() for tool in tools]
        choice = {"tool_choice": "any"} if tool_required and known else {}
        return {"messages": messages, "tools": known, **choice, **kwargs}

    def _validate_chat_with_tools_response(
        self,
        response: ChatResponse,
        tools: Sequence[BaseTool],
        allow_parallel_tool_calls: bool = False,
        **kwargs: Any,
    ) -> ChatResponse:
        """Keep the first call only, where the host wants one at a time."""
        blocks = response.message.blocks
        calls = [one for one in blocks if isinstance(one, ToolCallBlock)]
        if not allow_parallel_tool_calls and len(calls) > 1:
            response.message.blocks = [one for one in blocks if one not in calls[1:]]
        return response

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """The calls of an answer; raises ``ValueError`` if there are none, unless told not to."""
        calls = [one for one in response.message.blocks if isinstance(one, ToolCallBlock)]
        if not calls and error_on_no_tool_call:
            raise ValueError("the answer calls no tool")
        return [
            ToolSelection(
                tool_id=call.tool_call_id or "",
                tool_name=call.tool_name,
                tool_kwargs=call.tool_kwargs if isinstance(call.tool_kwargs, dict) else {},
            )
            for call in calls
        ]
