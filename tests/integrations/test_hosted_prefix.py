"""``HostedPrefixCache`` over a provider that caches prefixes as hosted ones do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from memos_integrations import MemOS
from memos_integrations.errors import InvalidInputError
from memos_integrations.langchain import HostedPrefixCache, MemOSMiddleware
from memos_integrations.testing import WordEmbedder
from tests.integrations.scripted_model import ScriptedModel

BLOCK = 16
"""Characters that the provider caches together."""


class Provider:
    """Keeps every prompt it has read, and says how much of a new one it knew: in whole blocks."""

    def __init__(self, *, marked_only: bool = False) -> None:
        self.known: list[str] = []
        self.marked_only = marked_only

    def __call__(self, messages: Sequence[BaseMessage]) -> AIMessage:
        text, marked = "", 0
        for message in messages:
            for piece in message.content_blocks if message.content else []:
                text += str(piece.get("text", ""))
            if "cache_control" in json.dumps(message.content):
                marked = len(text)
        upto = marked if self.marked_only else len(text)
        same = max((_same(text[:upto], other) for other in self.known), default=0)
        self.known.append(text[:upto])
        cached = same // BLOCK * BLOCK
        return AIMessage(
            content="I see.",
            usage_metadata={
                "input_tokens": len(text),
                "output_tokens": 1,
                "total_tokens": len(text) + 1,
                "input_token_details": {"cache_read": cached, "cache_creation": upto - cached},
            },
        )


def _same(one: str, other: str) -> int:
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )


@pytest.mark.parametrize("marked_only", [False, True], ids=["any prefix", "what is marked"])
def test_the_stable_prefix_is_met(tmp_path: Path, marked_only: bool) -> None:
    model = ScriptedModel(line=Provider(marked_only=marked_only))
    cache = HostedPrefixCache(model)
    with MemOS.open(tmp_path, embedder=WordEmbedder()) as memory:
        maya = memory.session("maya")
        maya.add([f"walnuts of kind {i} grow behind the old mill" for i in range(4)])
        agent = create_agent(
            model,
            system_prompt="You are kind.",
            middleware=[
                MemOSMiddleware(
                    maya,
                    layout="stable_prefix",
                    order="use",
                    record="nothing",
                    cache_control={"type": "ephemeral"},
                )
            ],
        )
        for question in ("walnuts of which kind?", "where do walnuts grow?", "old walnuts?"):
            agent.invoke({"messages": [("user", question)]}, config={"callbacks": [cache]})
    report = cache.report()
    assert report["requests"] == 3 and report["hits"] == 2
    assert report["saved_share"] > 0.5 and report["hit_rate"] == pytest.approx(2 / 3)
    assert report["written_tokens"] > 0
    json.dumps(report)
    marked = [one for one in model.prompts[0][0].content if "cache_control" in str(one)]
    assert len(marked) == 1 and "walnuts of kind 3" in str(marked[0])


def test_a_prefix_is_warmed_ahead() -> None:
    model = ScriptedModel(line=Provider())
    cache = HostedPrefixCache(model)
    prefix = [SystemMessage("You are kind. " * 20)]
    assert cache.warm(prefix) == 0
    model.invoke([*prefix, HumanMessage("Hello")], config={"callbacks": [cache]})
    assert cache.report()["hits"] == 1 and cache.report()["warmed"] == 1
    assert cache.warm(prefix) > 200  # it is there


def test_what_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="needs a model"):
        HostedPrefixCache().warm([SystemMessage("a")])
    with pytest.raises(InvalidInputError, match="empty"):
        HostedPrefixCache(ScriptedModel(line=Provider())).warm([])
    with (
        MemOS.open(tmp_path, embedder=WordEmbedder()) as memory,
        pytest.raises(InvalidInputError, match="stable_prefix"),
    ):
        MemOSMiddleware(memory.session("maya"), cache_control={"type": "ephemeral"})


def test_a_model_that_tells_nothing() -> None:
    def quiet(_: Any) -> AIMessage:
        return AIMessage(content="I see.")

    cache = HostedPrefixCache()
    ScriptedModel(line=quiet).invoke("Hello", config={"callbacks": [cache]})
    assert cache.report()["requests"] == 1 and cache.report()["saved_share"] == 0.0
