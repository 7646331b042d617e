"""``HostedPrefixCache``: the prefix cache of a model that runs elsewhere, filled and measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from memos_integrations.errors import InvalidInputError
from memos_integrations.prefix_hits import PrefixHits


class HostedPrefixCache(BaseCallbackHandler):
    """Reports what a provider read from its cache, and fills that cache ahead.

    ``agent.invoke(..., config={"callbacks": [cache]})`` with
    ``MemOSMiddleware(alice, layout="stable_prefix", order="use")``: prompts then begin with the
    same bytes, which servers such as vLLM and SGLang, and providers such as OpenAI and DeepSeek,
    meet in their prefix cache; Anthropic where ``cache_control`` is set. The figures are what the
    provider bills (``usage_metadata.input_token_details``). Thread-safe.

    :meth:`warm` sends a prefix with one token to answer, so that the next user need not wait for
    it: for servers that keep the cache of whoever asked last.
    """

    def __init__(self, model: BaseChatModel | None = None) -> None:
        self._model, self._hits = model, PrefixHits()

    def warm(
        self,
        prefix: Sequence[BaseMessage],
        *,
        tools: Sequence[Any] = (),
        max_tokens_name: str = "max_tokens",
    ) -> int:
        """Let the model read ``prefix`` now; return how many of its tokens were cached already.

        ``prefix``: what prompts begin with, such as the system message with its memories. Servers
        cache whole blocks of tokens, and what follows them does not matter. ``tools``: those of
        the agent, in its order, as ``bind_tools`` takes them; servers write them before the
        messages, so without them the prefix is another one. ``max_tokens_name`` is the model's
        name for the limit of an answer. Raises what the model raises.
        """
        if self._model is None:
            raise InvalidInputError("warm needs a model: HostedPrefixCache(model)")
        if not prefix:
            raise InvalidInputError(
                "the prefix is empty: give the messages that prompts begin with"
            )
        asked = [*prefix, HumanMessage(content=".")]
        options: dict[str, Any] = {max_tokens_name: 1}
        model = self._model.bind_tools(tools) if tools else self._model
        answer = model.invoke(asked, **options)
        self._hits.warmed()
        return _read(answer)[1]

    def on_llm_end(self, response: LLMResult, **_: Any) -> None:
        """An answer has come, with its usage."""
        for generations in response.generations:
            one = generations[0] if generations else None
            if isinstance(one, ChatGeneration) and isinstance(one.message, AIMessage):
                self._hits.answered(*_read(one.message))

    def report(self) -> dict[str, Any]:
        """Requests, hits, tokens read from the cache and written to it, rates; JSON-plain."""
        return self._hits.report()


def _read(message: BaseMessage) -> tuple[int, int, int]:
    """Input tokens, those read from the cache, those written to it; 0 where it does not say."""
    usage = message.usage_metadata if isinstance(message, AIMessage) else None
    if usage is None:
        return 0, 0, 0
    read = written = 0
    for name, tokens in (usage.get("input_token_details") or {}).items():
        if name.endswith("cache_read"):  # also "priority_cache_read": OpenAI's service tiers
            read += _count(tokens)
        elif name.endswith(("cache_creation", *_BY_TIME)):
            written += _count(tokens)
    return usage["input_tokens"], read, written


_BY_TIME = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
"""Anthropic's writes by how long they last; ``cache_creation`` is 0 where these are told."""


def _count(tokens: object) -> int:
    return tokens if isinstance(tokens, int) else 0
