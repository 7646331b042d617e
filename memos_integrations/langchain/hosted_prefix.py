"""``HostedPrefixCache``: the prefix cache of a model that runs elsewhere, filled and measured."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from memos_integrations.errors import InvalidInputError


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
        self._model, self._lock = model, threading.Lock()
        self._counts = dict.fromkeys(
            ("requests", "hits", "prompt_tokens", "cached_tokens", "written_tokens", "warmed"), 0
        )

    def warm(self, prefix: Sequence[BaseMessage], *, max_tokens_name: str = "max_tokens") -> int:
        """Let the model read ``prefix`` now; return how many of its tokens were cached already.

        ``prefix``: what prompts begin with, such as the system message with its memories. Servers
        cache whole blocks of tokens, and what follows them does not matter. ``max_tokens_name`` is
        the model's name for the limit of an answer. Raises what the model raises.
        """
        if self._model is None:
            raise InvalidInputError("warm needs a model: HostedPrefixCache(model)")
        if not prefix:
            raise InvalidInputError(
                "the prefix is empty: give the messages that prompts begin with"
            )
        asked = [*prefix, HumanMessage(content=".")]
        options: dict[str, Any] = {max_tokens_name: 1}
        answer = self._model.invoke(asked, **options)
        with self._lock:
            self._counts["warmed"] += 1
        return _read(answer)[1]

    def on_llm_end(self, response: LLMResult, **_: Any) -> None:
        """An answer has come, with its usage."""
        for generations in response.generations:
            one = generations[0] if generations else None
            if isinstance(one, ChatGeneration) and isinstance(one.message, AIMessage):
                asked, cached, written = _read(one.message)
                with self._lock:
                    self._counts["requests"] += 1
                    self._counts["hits"] += cached > 0
                    self._counts["prompt_tokens"] += asked
                    self._counts["cached_tokens"] += cached
                    self._counts["written_tokens"] += written

    def report(self) -> dict[str, Any]:
        """Requests, hits, tokens read from the cache and written to it, rates; JSON-plain."""
        with self._lock:
            counts: dict[str, Any] = dict(self._counts)
        counts["hit_rate"] = counts["hits"] / counts["requests"] if counts["requests"] else 0.0
        asked = counts["prompt_tokens"]
        counts["saved_share"] = counts["cached_tokens"] / asked if asked else 0.0
        return counts


def _read(message: BaseMessage) -> tuple[int, int, int]:
    """Input tokens, those read from the cache, those written to it; 0 where it does not say."""
    usage = message.usage_metadata if isinstance(message, AIMessage) else None
    if usage is None:
        return 0, 0, 0
    details = usage.get("input_token_details") or {}
    return (
        usage["input_tokens"],
        details.get("cache_read") or 0,
        details.get("cache_creation") or 0,
    )
