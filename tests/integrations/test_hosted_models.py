"""``HostedPrefixCache`` and the middleware with LangChain's own classes for hosted models.

The provider is a server on this machine. ``langchain-openai`` and ``langchain-anthropic`` are
there wherever langmem is: it requires both.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import SystemMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from memos_integrations import MemorySession, MemOS
from memos_integrations.langchain import HostedPrefixCache, MemOSMiddleware
from memos_integrations.testing import WordEmbedder
from tests.integrations.provider_stub import Provider, serving

SYSTEM = "You are kind, and answer in one sentence."
MARK = {"type": "ephemeral"}


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as running:
        yield running


@pytest.fixture
def maya(tmp_path: Path) -> Iterator[MemorySession]:
    with MemOS.open(tmp_path, embedder=WordEmbedder()) as memory:
        maya = memory.session("maya")
        maya.add([f"walnuts of kind {i} grow behind the old mill" for i in range(4)])
        yield maya


def openai(provider: Provider, **options: Any) -> ChatOpenAI:
    url, key = f"{provider.url}/v1", SecretStr("none")
    return ChatOpenAI(model="stub", base_url=url, api_key=key, max_retries=0, **options)


def anthropic(provider: Provider) -> ChatAnthropic:
    return ChatAnthropic(  # type: ignore[call-arg]
        model_name="claude-stub",
        base_url=provider.url,
        api_key=SecretStr("none"),
        max_retries=0,
        max_tokens=50,
    )


def look(thing: str) -> str:
    """Look for a thing."""
    return f"{thing} is here"


def ask(
    model: BaseChatModel,
    maya: MemorySession,
    questions: list[str],
    *,
    tools: list[Any] | None = None,
    mark: dict[str, Any] | None = None,
    streamed: bool = False,
) -> HostedPrefixCache:
    """An agent is asked in conversations of their own; what the provider's cache did."""
    cache = HostedPrefixCache(model)
    middleware = MemOSMiddleware(
        maya, layout="stable_prefix", order="use", record="nothing", cache_control=mark
    )
    agent = create_agent(model, tools or [], system_prompt=SYSTEM, middleware=[middleware])
    for question in questions:
        turn: Any = {"messages": [("user", question)]}
        if streamed:
            list(agent.stream(turn, config={"callbacks": [cache]}, stream_mode="messages"))
        else:
            agent.invoke(turn, config={"callbacks": [cache]})
    return cache


def lines(system: str) -> list[str]:
    """The memories in a system prompt."""
    return [line for line in system.splitlines() if line.startswith("- ")]


# OpenAI, and servers that speak as it does ----------------------------------------------------


def test_openai_meets_the_same_bytes_when_more_is_recalled(
    provider: Provider, maya: MemorySession
) -> None:
    same = ask(openai(provider), maya, ["walnuts of which kind?", "old walnuts?"]).report()
    maya.add("the piano was tuned in May")
    more = ask(openai(provider), maya, ["walnuts and the piano?"]).report()
    said = [body["messages"] for body in provider.bodies]
    assert [[one["role"] for one in chat] for chat in said] == [["system", "user"]] * 3
    first, second, third = (str(chat[0]["content"]) for chat in said)
    assert first == second and first.startswith(SYSTEM) and len(lines(first)) == 4
    assert lines(third)[:4] == lines(first) and "piano" in lines(third)[4]
    shared = first[: first.index(lines(first)[3]) + len(lines(first)[3])]
    assert third.startswith(shared), "what was there before stands first, in the same bytes"
    assert (same["requests"], same["hits"]) == (2, 1)
    assert same["cached_tokens"] > len(first) - 16
    assert more["hits"] == 1 and more["cached_tokens"] > len(shared) - 16
    assert "cache_control" not in str(provider.bodies), "nobody asked for it"


def test_a_streamed_answer_counts_too(provider: Provider, maya: MemorySession) -> None:
    questions = ["walnuts of which kind?", "old walnuts?"]
    told = ask(openai(provider, stream_usage=True), maya, questions, streamed=True).report()
    assert told["requests"] == 2 and told["hits"] == 1 and told["cached_tokens"] > 200
    assert all(body["stream_options"]["include_usage"] for body in provider.bodies)


def test_a_stream_without_usage_counts_no_hits(provider: Provider, maya: MemorySession) -> None:
    told = ask(openai(provider), maya, ["which walnuts?", "old walnuts?"], streamed=True).report()
    assert told["requests"] == 2 and told["hits"] == told["prompt_tokens"] == 0
    assert not any("stream_options" in body for body in provider.bodies)


@pytest.mark.parametrize("tools", [[], [look]], ids=["no tools", "tools"])
def test_a_warm_up_sends_the_same_prefix(
    provider: Provider, maya: MemorySession, tools: list[Any]
) -> None:
    model = openai(provider, max_tokens=500)
    cache = HostedPrefixCache(model)
    assert cache.warm([SystemMessage(SYSTEM)], tools=tools) == 0
    asked = ask(model, maya, ["walnuts of which kind?"], tools=tools)
    warming, turn = provider.bodies
    assert warming["max_completion_tokens"] == 1 and "max_tokens" not in warming
    assert turn["max_completion_tokens"] == 500
    assert warming.get("tools") == turn.get("tools") and bool(tools) == ("tools" in turn)
    assert warming["messages"][0]["content"] == SYSTEM
    assert turn["messages"][0]["content"].startswith(SYSTEM)
    assert cache.report()["warmed"] == 1 and asked.report()["hits"] == 1
    prefix = turn["messages"][0]["content"]
    assert cache.warm([SystemMessage(prefix)], tools=tools) > len(prefix) - 16, "it is there"


def test_tools_that_were_left_out_make_another_prefix(
    provider: Provider, maya: MemorySession
) -> None:
    model = openai(provider)
    HostedPrefixCache(model).warm([SystemMessage(SYSTEM)])
    assert ask(model, maya, ["walnuts of which kind?"], tools=[look]).report()["hits"] == 0


# Anthropic ------------------------------------------------------------------------------------


def test_anthropic_reads_what_is_marked(provider: Provider, maya: MemorySession) -> None:
    cache = ask(anthropic(provider), maya, ["walnuts of which kind?", "old walnuts?"], mark=MARK)
    first, second = (body["system"] for body in provider.bodies)
    assert first == second and first[-1]["cache_control"] == MARK
    assert [piece for piece in first if "cache_control" in piece] == first[-1:]
    report = cache.report()
    assert (report["requests"], report["hits"]) == (2, 1)
    assert report["cached_tokens"] > 200
    assert report["written_tokens"] > 200, "also where they are told by how long they last"


def test_anthropic_without_a_mark_caches_nothing(provider: Provider, maya: MemorySession) -> None:
    report = ask(anthropic(provider), maya, ["walnuts of which kind?", "old walnuts?"]).report()
    assert "cache_control" not in str(provider.bodies)
    assert (report["requests"], report["hits"], report["written_tokens"]) == (2, 0, 0)


def test_anthropic_is_warmed(provider: Provider) -> None:
    cache = HostedPrefixCache(anthropic(provider))
    marked = [{"type": "text", "text": SYSTEM * 5, "cache_control": MARK}]
    prefix = [SystemMessage(content=marked)]  # type: ignore[arg-type]
    assert cache.warm(prefix, tools=[look]) == 0
    assert cache.warm(prefix, tools=[look]) > 100
    assert [body["max_tokens"] for body in provider.bodies] == [1, 1]
    assert provider.bodies[0]["tools"][0]["name"] == "look"
