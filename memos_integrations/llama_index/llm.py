"""``MemOSLLM``: a local language model whose prompts begin with cached memories."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
    TextBlock,
    ToolCallBlock,
)
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.custom import CustomLLM

from memos_integrations.local_chat import Answer, LocalChat, shared_or_new
from memos_integrations.memories.activation.mode import Mode
from memos_integrations.memos import MemOS
from memos_integrations.offload import offload
from memos_integrations.session import MemorySession
from memos_integrations.tool_calls import ToolCall, begun_call, parse_tool_calls


class MemOSLLM(CustomLLM):
    """``index.as_chat_engine(llm=MemOSLLM(memory), memory=MemOSMemory.from_defaults(alice))``.

    Any causal model of transformers, on this machine: memories that were read before are read
    from their KV cache, so the first token comes sooner, and the words are the same. ``memory``
    is the store, or one user's session; ``model`` a hub id, a folder, a loaded
    :class:`memos_integrations.models.causal.CausalModel`, or ``None`` for the bundled base model.

    ``disk_dtype="int8"`` rounds caches on disk to eight bits: what is read there is near-exact.
    ``remote`` is a URL such as ``s3://bucket/kv`` where caches lie below those on disk.
    ``compiled``: decode with ``torch.compile``, where the model can do that. ``mode``:
    ``"composed"``, or a ``Composed`` with options, joins memories' own caches in any order; answers
    are then approximate. It is ``"exact"`` by default.
    ``parameter_memory``: adapters that the model is read through, ``True`` for all of the
    session's namespace, ids, or ids with weights.

    ``response.raw`` says how many prompt tokens were read from the cache, and of those, in
    ``approximate_tokens``, how many were rounded, or
    joined without being read again.
    """

    max_tokens: int = Field(256, ge=1, description="the most tokens of an answer")
    temperature: float = Field(0.0, ge=0, description="0: the likeliest words, always")
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: list[str] = Field(default_factory=list, description="an answer ends before any of these")

    _chat: LocalChat = PrivateAttr()

    def __init__(
        self,
        memory: MemOS | MemorySession | None = None,
        model: Any = None,
        *,
        disk_dtype: Literal["int8"] | None = None,
        remote: str | Path | None = None,
        compiled: bool | None = None,
        mode: Mode | None = None,
        parameter_memory: Any = None,
        chat: LocalChat | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._chat = shared_or_new(
            chat,
            memory,
            model,
            disk_dtype=disk_dtype,
            remote=remote,
            compiled=compiled,
            mode=mode,
            parameter_memory=parameter_memory,
        )

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex knows it."""
        return "MemOSLLM"

    @property
    def local(self) -> LocalChat:
        """The model and its cache."""
        return self._chat

    def known_memories(self) -> frozenset[tuple[str, int]]:
        """What it knows without a prompt, by its adapters; for ``skip_known``."""
        return self.local.known_memories()

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex asks of a model."""
        return LLMMetadata(
            context_window=self._chat.model.context_window,
            num_output=self.max_tokens,
            is_chat_model=True,
            is_function_calling_model=False,
            model_name=self._chat.model.name,
        )

    # Chats --------------------------------------------------------------------------------

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """The answer to a chat."""
        prompt = self._read(messages, kwargs)
        return self._chat_response(self._answer(prompt, kwargs, _begun(kwargs)))

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """The answer to a chat, as it comes."""
        prompt = self._read(messages, kwargs)
        return (
            ChatResponse(message=message, delta=delta, raw=raw)
            for message, delta, raw in self._messages(prompt, kwargs)
        )

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """:meth:`chat` in a worker thread."""
        prompt = await offload(self._read, messages, kwargs)
        return self._chat_response(await offload(self._answer, prompt, kwargs, _begun(kwargs)))

    @llm_chat_callback()
    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        """:meth:`stream_chat` in a worker thread."""
        prompt = await offload(self._read, messages, kwargs)

        async def responses() -> ChatResponseAsyncGen:
            async for message, delta, raw in _apart(self._messages(prompt, kwargs)):
                yield ChatResponse(message=message, delta=delta, raw=raw)

        return responses()

    # Completions --------------------------------------------------------------------------

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """What the model writes after a text."""
        answer = self._answer(self._chat.read(prompt), kwargs)
        return CompletionResponse(text=answer.text, raw=_raw(answer.usage))

    @llm_completion_callback()
    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseGen:
        """What the model writes after a text, as it comes."""
        read = self._chat.read(prompt)
        return (
            CompletionResponse(text=whole, delta=delta, raw=raw)
            for whole, delta, raw in self._words(read, kwargs)
        )

    @llm_completion_callback()
    async def acomplete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponse:
        """:meth:`complete` in a worker thread."""
        read = await offload(self._chat.read, prompt)
        answer = await offload(self._answer, read, kwargs)
        return CompletionResponse(text=answer.text, raw=_raw(answer.usage))

    @llm_completion_callback()
    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseAsyncGen:
        """:meth:`stream_complete` in a worker thread."""
        read = await offload(self._chat.read, prompt)

        async def responses() -> CompletionResponseAsyncGen:
            async for whole, delta, raw in _apart(self._words(read, kwargs)):
                yield CompletionResponse(text=whole, delta=delta, raw=raw)

        return responses()

    # Within -------------------------------------------------------------------------------

    def _read(self, messages: Sequence[ChatMessage], options: Mapping[str, Any]) -> Any:
        return self._chat.prompt(plain(messages), options.get("tools"), begun=_begun(options))

    def _messages(
        self, prompt: Any, options: Mapping[str, Any]
    ) -> Iterator[tuple[ChatMessage, str, dict[str, Any]]]:
        """The answer so far as a message, what is new of it, and the usage so far."""
        for whole, delta, raw in self._words(prompt, options):
            if not options.get("tools"):
                yield _said(whole), delta, raw
        if options.get("tools"):  # a call is only known when it is whole
            text, calls = parse_tool_calls(_begun(options) + whole)
            yield _said(text, calls), text, raw

    def _answer(self, prompt: Any, options: Mapping[str, Any], begun: str = "") -> Answer:
        sampling, stop = self._sampling(options), self._stops(options)
        return self._chat.answer(prompt, sampling, stop=stop, begun=begun)

    def _words(
        self, prompt: Any, options: Mapping[str, Any]
    ) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """The answer so far, what is new of it, and the usage so far."""
        from memos_integrations.memories.activation.usage import Usage

        usage, whole = Usage(), ""
        stream = self._chat.stream(
            prompt, self._sampling(options), stop=self._stops(options), usage=usage
        )
        for delta in stream:
            whole += delta
            yield whole, delta, _raw(usage)
        yield whole, "", _raw(usage)

    def _stops(self, options: Mapping[str, Any]) -> list[str]:
        return [*self.stop, *(options.get("stop") or [])]

    def _sampling(self, options: Mapping[str, Any]) -> Any:
        from memos_integrations.memories.activation.sampling import Sampling

        return Sampling(
            max_new_tokens=options.get("max_tokens", self.max_tokens),
            **{
                name: options.get(name, getattr(self, name))
                for name in ("temperature", "top_k", "top_p", "repetition_penalty", "seed")
            },
        )

    def _chat_response(self, answer: Answer) -> ChatResponse:
        return ChatResponse(message=_said(answer.text, answer.tool_calls), raw=_raw(answer.usage))


def _begun(options: Mapping[str, Any]) -> str:
    """How an answer begins that has to call a tool."""
    return begun_call(options.get("tools"), options.get("tool_choice"))


def plain(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """Messages as chat templates take them."""
    return [_plain(message) for message in messages]


def _plain(message: ChatMessage) -> dict[str, Any]:
    written = "\n".join(block.text for block in message.blocks if isinstance(block, TextBlock))
    one: dict[str, Any] = {"role": message.role.value, "content": written}
    calls = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    if calls:
        one["tool_calls"] = [
            {
                "type": "function",
                "id": call.tool_call_id,
                "function": {"name": call.tool_name, "arguments": call.tool_kwargs},
            }
            for call in calls
        ]
    if message.role == MessageRole.TOOL:
        one["tool_call_id"] = message.additional_kwargs.get("tool_call_id", "")
    return one


def _said(text: str, calls: Sequence[ToolCall] = ()) -> ChatMessage:
    blocks = [
        ToolCallBlock(tool_call_id=call.id, tool_name=call.name, tool_kwargs=call.arguments)
        for call in calls
    ]
    return ChatMessage(role=MessageRole.ASSISTANT, blocks=[TextBlock(text=text), *blocks])


def _raw(usage: Any) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "kept_tokens": usage.kept_tokens,
        "approximate_tokens": usage.approximate_tokens,
        "adapters": list(usage.adapters),
        "stale_adapters": list(usage.stale_adapters),
        "finish_reason": usage.finish_reason,
        "first_token_seconds": usage.first_token_seconds,
    }


_T = TypeVar("_T")


async def _apart(words: Iterator[_T]) -> AsyncGenerator[_T, None]:
    """Drawn in worker threads; closed when the reader goes away."""
    end = object()
    try:
        while (one := await offload(next, words, end)) is not end:
            yield one  # type: ignore[misc]
    finally:
        await asyncio.shield(offload(words.close))  # type: ignore[attr-defined]
