"""``ChatMemOS``: a local chat model whose prompts begin with cached memories."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from langchain_core.callbacks import CallbackManagerForLLMRun, Callbacks
from langchain_core.globals import get_llm_cache
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, Field, PrivateAttr

from memos_integrations.errors import InvalidInputError
from memos_integrations.langchain.batching import Together, answered, together
from memos_integrations.local_chat import LocalChat, shared_or_new
from memos_integrations.memories.activation.segments import Prompt
from memos_integrations.memos import MemOS
from memos_integrations.session import MemorySession
from memos_integrations.tool_calls import begun_call, parse_tool_calls


class ChatMemOS(BaseChatModel):
    """``create_agent(ChatMemOS(memory=memory), middleware=[MemOSMiddleware(alice)])``.

    Any causal model of transformers, on this machine: what the middleware recalls is read from its
    KV cache when it was read before, so the first token comes sooner, and the words are the same.
    ``memory`` is the store (or one user's session); ``model`` a hub id, a folder, a loaded
    :class:`memos_integrations.models.causal.CausalModel`, or ``None`` for the bundled base model.

    ``usage_metadata`` says how many input tokens were read from the cache (``cache_read``) and
    how many were computed and kept (``cache_creation``).
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, populate_by_name=True)

    memory: Any = Field(default=None, exclude=True)
    """A ``MemOS``, a ``MemorySession``, or ``None``: then nothing is cached on disk."""
    source: Any = Field(default=None, alias="model", exclude=True)
    """Which model."""
    max_tokens: int = Field(default=256, ge=1)
    """The most tokens of an answer."""
    temperature: float = Field(default=0.0, ge=0)
    """0: the likeliest words, always."""
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: list[str] | None = Field(default=None, alias="stop_sequences")
    """An answer ends before any of these."""
    disk_dtype: Literal["int8"] | None = Field(default=None, exclude=True)
    """``int8``: caches on disk are rounded to eight bits, and answers read from them near-exact."""
    remote: Any = Field(default=None, exclude=True)
    """A URL such as ``s3://bucket/kv``, or a folder, where caches lie below the store's own."""
    compiled: bool | None = Field(default=None, exclude=True)
    """Decode with ``torch.compile``, where the model can do that."""
    mode: Any = Field(default=None, exclude=True)
    """``exact``, which it is by default, or ``composed``, or a ``Composed`` with options: memories'
    own caches are joined in any order, and answers are approximate."""
    parameter_memory: Any = Field(default=None, exclude=True)
    """Adapters that the model is read through: ``True`` for all of the session's namespace, ids,
    or ids with weights."""
    chat: Any = Field(default=None, exclude=True)
    """A :class:`memos_integrations.local_chat.LocalChat` to share between models."""

    _chat: LocalChat | None = PrivateAttr(default=None)

    def __init__(
        self,
        memory: MemOS | MemorySession | None = None,
        model: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(memory=memory, model=model, **options)
        kept = {
            "disk_dtype": self.disk_dtype,
            "remote": self.remote,
            "compiled": self.compiled,
            "mode": self.mode,
            "parameter_memory": self.parameter_memory,
        }
        self._chat = shared_or_new(self.chat, memory, self.source, **kept)

    @property
    def local(self) -> LocalChat:
        """The model and its cache."""
        assert self._chat is not None
        return self._chat

    def known_memories(self) -> frozenset[tuple[str, int]]:
        """What it knows without a prompt, by its adapters; for ``skip_known``."""
        return self.local.known_memories()

    @property
    def _llm_type(self) -> str:
        return "memos-local"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {
            "model": self.local.model.name,
            "mode": str(self.local.mode),
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "repetition_penalty": self.repetition_penalty,
            "seed": self.seed,
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params: dict[str, Any] = {
            **super()._get_ls_params(stop=stop, **kwargs),
            "ls_provider": "memos",
            "ls_model_name": kwargs.get("model", self.local.model.name),
            "ls_model_type": "chat",
            "ls_temperature": kwargs.get("temperature", self.temperature),
            "ls_max_tokens": kwargs.get("max_tokens", self.max_tokens),
        }
        if stops := self._stops(stop):
            params["ls_stop"] = stops
        return LangSmithParams(**params)  # type: ignore[typeddict-item, no-any-return]

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Offer tools to the model, if its chat template knows how to write them.

        ``tool_choice``: ``None`` or ``"auto"``, the model calls one or not; ``"any"`` (or
        ``"required"``), it calls one of them; or the name of the one that it calls. A call is
        begun for the model, ``<tool_call>{"name": ...``, and it goes on from there: the
        arguments are its own, and where they are no JSON the answer is text without a call.
        Raises :class:`InvalidInputError` for another choice, or a template without tools.
        """
        if "tools" not in (self.local.model.chat_template or ""):
            raise InvalidInputError(
                f"the chat template of {self.local.model.name} knows no tools: use another model"
            )
        known = [convert_to_openai_tool(tool) for tool in tools]
        if begun_call(known, tool_choice):
            kwargs["tool_choice"] = tool_choice
        return self.bind(tools=known, **kwargs)

    # Generating ---------------------------------------------------------------------------

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        prompt, begun = self._asked(messages, kwargs)
        answer = answered(self.local, prompt, self._sampling(kwargs), self._stops(stop), begun)
        message = AIMessage(
            content=answer.text,
            tool_calls=[
                {"name": call.name, "args": call.arguments, "id": call.id, "type": "tool_call"}
                for call in answer.tool_calls
            ],
            usage_metadata=_usage(answer.usage),
            response_metadata=self._about(answer.usage),
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        from memos_integrations.memories.activation.usage import Usage

        usage = Usage()
        prompt, whole = self._asked(messages, kwargs)
        words = self.local.stream(
            prompt, self._sampling(kwargs), stop=self._stops(stop), usage=usage
        )
        tools = bool(kwargs.get("tools"))
        for text in words:
            whole += text
            if tools:  # a call is only known when it is whole
                continue
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=text))
            if run_manager is not None:
                run_manager.on_llm_new_token(text, chunk=chunk)
            yield chunk
        rest, calls = parse_tool_calls(whole) if tools else ("", [])
        yield ChatGenerationChunk(
            message=AIMessageChunk(
                content=rest,
                tool_call_chunks=[
                    {
                        "name": call.name,
                        "args": json.dumps(call.arguments),
                        "id": call.id,
                        "index": i,
                        "type": "tool_call_chunk",
                    }
                    for i, call in enumerate(calls)
                ],
                usage_metadata=_usage(usage),
                response_metadata=self._about(usage),
                chunk_position="last",
            )
        )

    # Several at a time --------------------------------------------------------------------

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """The answers to several chats, decoded together: each with a run of its own.

        ``max_concurrency`` at a time at most, by default 8. An answer may differ in rounding from
        that of :meth:`invoke`.
        """
        with together(self._batch(lambda: self._read(inputs), config, kwargs)):
            return super().batch(inputs, config, return_exceptions=return_exceptions, **kwargs)

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """:meth:`batch`, in worker threads."""
        with together(self._batch(lambda: self._read(inputs), config, kwargs)):
            return await super().abatch(
                inputs, config, return_exceptions=return_exceptions, **kwargs
            )

    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """The answers to several lists of messages, decoded together."""
        batch = self._batch(lambda: messages, None, {**kwargs, "stop": stop})
        with together(batch if len(messages) > 1 else None):
            return super().generate(messages, stop, callbacks, **kwargs)

    async def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """:meth:`generate`, in worker threads."""
        batch = self._batch(lambda: messages, None, {**kwargs, "stop": stop})
        with together(batch if len(messages) > 1 else None):
            return await super().agenerate(messages, stop, callbacks, **kwargs)

    def _read(self, inputs: Sequence[LanguageModelInput]) -> list[list[BaseMessage]]:
        return [self._convert_input(one).to_messages() for one in inputs]

    def _batch(
        self,
        chats: Callable[[], Sequence[list[BaseMessage]]],
        config: RunnableConfig | list[RunnableConfig] | None,
        options: Mapping[str, Any],
    ) -> Together | None:
        """What answers these chats; ``None`` where each is to be answered for itself."""
        most = ([config] if isinstance(config, dict) else config or [{}])[0].get("max_concurrency")
        if most == 1 or self._has_answers():
            return None
        return Together(
            self.local,
            lambda: [self._asked(chat, options)[0] for chat in chats()],
            self._sampling(options),
            stop=self._stops(options.get("stop")),
            begun=begun_call(options.get("tools"), options.get("tool_choice")),
            max_batch=most,
        )

    def _has_answers(self) -> bool:
        """Whether LangChain keeps answers: then some of a batch may be known already."""
        return self.cache is not False and bool(self.cache or get_llm_cache())

    # Within -------------------------------------------------------------------------------

    def _asked(
        self, messages: Sequence[BaseMessage], options: Mapping[str, Any]
    ) -> tuple[Prompt, str]:
        """The prompt, and how the answer begins that it ends with."""
        tools = options.get("tools")
        begun = begun_call(tools, options.get("tool_choice"))
        plain = [as_plain(message) for message in messages]
        return self.local.prompt(plain, tools, begun=begun), begun

    def _stops(self, stop: list[str] | None) -> list[str]:
        return [*(self.stop or []), *(stop or [])]

    def _sampling(self, options: Mapping[str, Any]) -> Any:
        from memos_integrations.memories.activation.sampling import Sampling

        chosen = {
            "max_new_tokens": options.get("max_tokens", self.max_tokens),
            **{
                name: options.get(name, getattr(self, name))
                for name in ("temperature", "top_k", "top_p", "repetition_penalty", "seed")
            },
        }
        return Sampling(**chosen)

    def _about(self, usage: Any) -> dict[str, Any]:
        return {
            "model_name": self.local.model.name,
            "finish_reason": usage.finish_reason,
            "first_token_seconds": usage.first_token_seconds,
            "approximate_tokens": usage.approximate_tokens,
            "adapters": list(usage.adapters),
            "stale_adapters": list(usage.stale_adapters),
        }


def as_plain(message: BaseMessage) -> dict[str, Any]:
    """A message as chat templates take it."""
    text = message.text
    if isinstance(message, SystemMessage):
        return {"role": "system", "content": text}
    if isinstance(message, HumanMessage):
        return {"role": "user", "content": text}
    if isinstance(message, ToolMessage):
        return {
            "role": "tool",
            "content": text,
            "name": message.name or "",
            "tool_call_id": message.tool_call_id,
        }
    if isinstance(message, AIMessage):
        plain: dict[str, Any] = {"role": "assistant", "content": text}
        if message.tool_calls:
            plain["tool_calls"] = [
                {
                    "type": "function",
                    "id": call["id"],
                    "function": {"name": call["name"], "arguments": call["args"]},
                }
                for call in message.tool_calls
            ]
        return plain
    role = message.role if isinstance(message, ChatMessage) else message.type
    return {"role": role, "content": text}


def _usage(usage: Any) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.output_tokens,
        total_tokens=usage.prompt_tokens + usage.output_tokens,
        input_token_details=InputTokenDetails(
            cache_read=usage.cached_tokens, cache_creation=usage.kept_tokens
        ),
    )
