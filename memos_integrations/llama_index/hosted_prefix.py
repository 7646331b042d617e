"""``HostedPrefixCache``: the prefix cache of a model that runs elsewhere, filled and measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.instrumentation.events.llm import LLMChatEndEvent
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM
from llama_index.core.tools.types import BaseTool

from memos_integrations.errors import InvalidInputError
from memos_integrations.llama_index.listening import Listener
from memos_integrations.prefix_hits import PrefixHits


class HostedPrefixCache(Listener):
    """``HostedPrefixCache(llm).install()``, once in a program; ``report()`` says what it saw.

    With ``MemOSMemory.from_defaults(alice, position="system", recall=RecallPolicy(order="use"))``
    prompts begin with the same bytes, which servers such as vLLM and SGLang, and providers such as
    OpenAI and DeepSeek, meet in their prefix cache. The figures are those of ``response.raw``, in
    OpenAI's words or Anthropic's; all chats of the program are counted. Thread-safe.

    :meth:`warm` sends a prefix with one token to answer, so that the next user need not wait for
    it: for servers that keep the cache of whoever asked last.
    """

    _llm: LLM | None = PrivateAttr(default=None)
    _hits: PrefixHits = PrivateAttr(default_factory=PrefixHits)

    def __init__(self, llm: LLM | None = None) -> None:
        super().__init__()
        self._llm = llm

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex knows it."""
        return "HostedPrefixCache"

    def handle(self, event: Any, **_: Any) -> None:
        """A chat was answered."""
        if isinstance(event, LLMChatEndEvent) and event.response is not None:
            self._hits.answered(*_read(event.response.raw))

    def warm(
        self,
        prefix: Sequence[ChatMessage],
        *,
        tools: Sequence[BaseTool] = (),
        max_tokens_name: str = "max_tokens",
    ) -> int:
        """Let the model read ``prefix`` now; return how many of its tokens were cached already.

        ``prefix``: what prompts begin with, such as the system message with its memories. Servers
        cache whole blocks of tokens, and what follows them does not matter. ``tools``: those of
        the agent, in its order; servers write them before the messages. ``max_tokens_name`` is
        the model's name for the limit of an answer. Raises what the model raises.
        """
        if self._llm is None:
            raise InvalidInputError("warm needs a model: HostedPrefixCache(llm)")
        if not prefix:
            raise InvalidInputError(
                "the prefix is empty: give the messages that prompts begin with"
            )
        asked = [*prefix, ChatMessage(role=MessageRole.USER, content=".")]
        options: dict[str, Any] = {max_tokens_name: 1}
        if not tools:
            answer = self._llm.chat(asked, **options)
        elif isinstance(self._llm, FunctionCallingLLM):
            answer = self._llm.chat_with_tools(tools, chat_history=asked, **options)
        else:
            raise InvalidInputError("tools are given, and the model is no FunctionCallingLLM")
        self._hits.warmed()
        return _read(answer.raw)[1]

    def report(self) -> dict[str, Any]:
        """Requests, hits, tokens read from the cache and written to it, rates; JSON-plain."""
        return self._hits.report()


def _read(raw: Any) -> tuple[int, int, int]:
    """Input tokens, those read from the cache, those written to it; 0 where it does not say."""
    usage = _part(raw, "usage")
    if _part(usage, "prompt_tokens") is not None:
        details = _part(usage, "prompt_tokens_details")
        read, written = _count(details, "cached_tokens"), _count(details, "cache_write_tokens")
        return _count(usage, "prompt_tokens"), read, written
    read = _count(usage, "cache_read_input_tokens")
    written = _count(usage, "cache_creation_input_tokens")
    return _count(usage, "input_tokens") + read + written, read, written


def _part(whole: Any, name: str) -> Any:
    """Of a mapping or of an object, whichever the provider's client gives."""
    return whole.get(name) if isinstance(whole, Mapping) else getattr(whole, name, None)


def _count(whole: Any, name: str) -> int:
    found = _part(whole, name)
    return found if isinstance(found, int) else 0
