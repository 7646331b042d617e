"""LlamaIndex's ``HostedPrefixCache`` over a server on this machine, asked by OpenAI's client.

The clients of OpenAI and Anthropic are there wherever langmem is: what it requires requires them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from anthropic.types import Message
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, LLMMetadata, MessageRole
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.instrumentation.events.llm import LLMChatEndEvent
from llama_index.core.llms.callbacks import llm_chat_callback
from llama_index.core.tools import FunctionTool
from openai import OpenAI

from memos_integrations import MemOS
from memos_integrations.errors import InvalidInputError
from memos_integrations.llama_index import HostedPrefixCache, MemOSLLM, MemOSMemory
from memos_integrations.local_chat import LocalChat
from memos_integrations.recall import RecallPolicy
from memos_integrations.testing import WordEmbedder
from tests.integrations.provider_stub import Provider, serving
from tests.integrations.scripted_llm import ScriptedLLM
from tests.integrations.test_langchain_chat_model import tiny


class ServedLLM(ScriptedLLM):
    """As LlamaIndex's own class for OpenAI does it: ``raw`` is what the client returned."""

    line: Any = None
    base_url: str

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(is_function_calling_model=True, is_chat_model=True)

    def _prepare_chat_with_tools(
        self, tools: Any, chat_history: Any = None, max_tokens: int = 50, **_: Any
    ) -> dict[str, Any]:
        known = [tool.metadata.to_openai_tool() for tool in tools]
        return {"messages": chat_history, "tools": known, "max_tokens": max_tokens}

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **options: Any) -> ChatResponse:
        said: Any = [{"role": one.role.value, "content": one.content} for one in messages]
        with OpenAI(base_url=self.base_url, api_key="none", max_retries=0) as client:
            raw = client.chat.completions.create(model="stub", messages=said, **options)
        answer = raw.choices[0].message.content
        return ChatResponse(message=ChatMessage(answer, role=MessageRole.ASSISTANT), raw=raw)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as running:
        yield running


@pytest.fixture
def cache(provider: Provider) -> Iterator[HostedPrefixCache]:
    cache = HostedPrefixCache(ServedLLM(base_url=f"{provider.url}/v1")).install()
    yield cache
    cache.uninstall()


def test_the_stable_prefix_is_met(
    tmp_path: Path, provider: Provider, cache: HostedPrefixCache
) -> None:
    policy = RecallPolicy(order="use")
    with MemOS.open(tmp_path, embedder=WordEmbedder()) as store:
        maya = store.session("maya")
        maya.add([f"walnuts of kind {i} grow behind the old mill" for i in range(4)])
        for question in ("walnuts of which kind?", "where do walnuts grow?"):
            memory = MemOSMemory.from_defaults(maya, position="system", recall=policy)
            SimpleChatEngine.from_defaults(llm=cache._llm, memory=memory).chat(question)
    first, second = (body["messages"] for body in provider.bodies)
    assert first[0]["role"] == "system" and "walnuts of kind 3" in first[0]["content"]
    same = first[0]["content"].removesuffix("</memories>")
    assert second[0]["content"].startswith(same), "also when an answer has been remembered since"
    report = cache.report()
    assert (report["requests"], report["hits"]) == (2, 1)
    assert report["cached_tokens"] > len(same) - 16


@pytest.mark.parametrize("with_tools", [False, True])
def test_a_prefix_is_warmed_ahead(
    provider: Provider, cache: HostedPrefixCache, with_tools: bool
) -> None:
    tools = [FunctionTool.from_defaults(lambda thing: thing, name="look")] if with_tools else []
    prefix = [ChatMessage("You are kind. " * 20, role=MessageRole.SYSTEM)]
    assert cache.warm(prefix, tools=tools) == 0
    assert cache.warm(prefix, tools=tools) > 200, "it is there"
    for body in provider.bodies:
        assert body["max_tokens"] == 1 and ("tools" in body) == with_tools
        assert body["messages"][0] == {"role": "system", "content": "You are kind. " * 20}
    assert cache.report()["warmed"] == 2


def test_anthropics_words_are_read_too(cache: HostedPrefixCache, provider: Provider) -> None:
    marked = [{"type": "text", "text": "You are kind. " * 20, "cache_control": {"type": "x"}}]
    body = {"model": "m", "system": marked, "messages": [{"role": "user", "content": "Hello"}]}
    for raw in (
        Message.model_validate(provider.answer("/v1/messages", body)),
        provider.answer("/v1/messages", body),
        None,
    ):
        said = ChatResponse(message=ChatMessage("I see."), raw=raw)
        cache.handle(LLMChatEndEvent(messages=[], response=said))
    report = cache.report()
    assert (report["requests"], report["hits"]) == (3, 1)
    assert report["written_tokens"] > 200 and report["cached_tokens"] > 200


def test_what_cannot_be() -> None:
    message = [ChatMessage("a")]
    with pytest.raises(InvalidInputError, match="needs a model"):
        HostedPrefixCache().warm(message)
    local = MemOSLLM(chat=LocalChat(None, tiny()))
    with pytest.raises(InvalidInputError, match="empty"):
        HostedPrefixCache(local).warm([])
    with pytest.raises(InvalidInputError, match="no FunctionCallingLLM"):
        HostedPrefixCache(local).warm(message, tools=[FunctionTool.from_defaults(len)])
