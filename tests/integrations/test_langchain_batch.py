"""Several chats decoded together; in LangChain each with callbacks and usage of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import LLMResult
from langchain_core.prompts import ChatPromptTemplate
from llama_index.core.base.llms.types import ChatMessage

from memos_integrations.errors import InvalidInputError
from memos_integrations.langchain import ChatMemOS
from memos_integrations.llama_index import MemOSLLM
from memos_integrations.local_chat import LocalChat
from memos_integrations.memories.activation.sampling import Sampling
from memos_integrations.memories.activation.usage import Usage
from tests.integrations.test_langchain_chat_model import tiny

LONG = "Maya likes walnuts, and swims on Thursdays, at seven in the morning. " * 12
ASKED = [f"{LONG} {'Why so? ' * i}" for i in range(5)]


@pytest.fixture
def model() -> ChatMemOS:
    return ChatMemOS(chat=LocalChat(None, tiny()), max_tokens=8)


@pytest.fixture
def right() -> list[str]:
    """Each asked by itself, by a model that has seen nothing."""
    alone = ChatMemOS(chat=LocalChat(None, tiny()), max_tokens=8)
    return [str(alone.invoke(one).content) for one in ASKED]


class Runs(BaseCallbackHandler):
    """What is told to callbacks."""

    def __init__(self) -> None:
        self.began: dict[UUID, str] = {}
        self.ended: dict[UUID, LLMResult] = {}
        self.failed: dict[UUID, BaseException] = {}
        self.tags: list[Any] = []

    def on_chat_model_start(self, *args: Any, run_id: UUID, tags: Any = None, **_: Any) -> None:
        self.began[run_id] = args[1][0][0].text
        self.tags.append(tags)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_: Any) -> None:
        self.ended[run_id] = response

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        self.failed[run_id] = error


def batched(model: ChatMemOS) -> tuple[int, int]:
    """Requests so far, and how many of them were decoded together."""
    stats, _ = model.local.engine.stats()
    return stats.requests, stats.batched_requests


@contextmanager
def joined(model: ChatMemOS, requests: int) -> Iterator[None]:
    """So many are decoded together meanwhile, and no other is read."""
    before = batched(model)
    yield
    assert batched(model) == (before[0] + requests, before[1] + requests)
    assert not any(node.leases for node in model.local.engine.tree.nodes())


def test_a_batch_is_decoded_together(model: ChatMemOS, right: list[str]) -> None:
    runs = Runs()
    with joined(model, 5):
        said = model.batch(ASKED, {"callbacks": [runs], "tags": ["many"]})
    assert [one.content for one in said] == right
    assert sorted(runs.began.values()) == sorted(ASKED) and runs.tags == [["many"]] * 5
    assert set(runs.ended) == set(runs.began) and not runs.failed
    answers = {id_: one.generations[0][0].message for id_, one in runs.ended.items()}  # type: ignore[union-attr]
    assert {runs.began[id_]: one.content for id_, one in answers.items()} == dict(
        zip(ASKED, right, strict=True)
    )
    assert {one.id for one in said} == {f"lc_run--{id_}-0" for id_ in runs.began}


def test_each_counts_what_it_took(model: ChatMemOS) -> None:
    for cold in (True, False):
        for one in model.batch(ASKED):
            usage = one.usage_metadata
            assert usage is not None and usage["output_tokens"] == 8
            details = usage["input_token_details"]
            assert cold or details["cache_read"] > 200
            assert details["cache_read"] + details["cache_creation"] > 200
            assert one.response_metadata["finish_reason"] == "length"


async def test_async_is_the_same(model: ChatMemOS, right: list[str]) -> None:
    with joined(model, 5):
        assert [one.content for one in await model.abatch(ASKED)] == right
    two = await asyncio.gather(model.abatch(ASKED[:3]), model.abatch(ASKED[3:]))
    assert [one.content for some in two for one in some] == right


async def test_lists_of_messages_are_decoded_together(model: ChatMemOS, right: list[str]) -> None:
    asked: list[Any] = [[HumanMessage(one)] for one in ASKED]
    runs = Runs()
    with joined(model, 5):
        found = model.generate(asked, callbacks=[runs])
    assert [one[0].text for one in found.generations] == right
    assert len(runs.began) == len(runs.ended) == 5 and found.run is not None
    with joined(model, 5):
        found = await model.agenerate(asked)
    assert [one[0].text for one in found.generations] == right


def test_in_a_chain_and_bound(model: ChatMemOS, right: list[str]) -> None:
    chain = ChatPromptTemplate.from_messages([("user", "{asked}")]) | model
    with joined(model, 5):
        said = chain.batch([{"asked": one} for one in ASKED])
    assert [one.content for one in said] == right
    stops = [next(one for one in right if one.strip())[2:4]]
    with joined(model, 5):
        bound = model.bind(stop=stops, max_tokens=5).batch(ASKED)
    alone = [model.invoke(one, stop=stops, max_tokens=5) for one in ASKED]
    assert [one.content for one in bound] == [one.content for one in alone]
    assert [one.response_metadata["finish_reason"] for one in bound] == [
        one.response_metadata["finish_reason"] for one in alone
    ]


def test_one_that_cannot_be_answered_says_so_itself(model: ChatMemOS, right: list[str]) -> None:
    asked = [ASKED[0], "word " * 10_000, ASKED[1]]
    runs = Runs()
    said = model.batch(asked, {"callbacks": [runs]}, return_exceptions=True)
    assert [one.content for one in said if isinstance(one, AIMessage)] == right[:2]
    assert isinstance(said[1], InvalidInputError) and "tiny reads 8,192" in str(said[1])
    assert [runs.began[id_] for id_ in runs.failed] == [asked[1]]
    with pytest.raises(InvalidInputError, match=r"tiny reads 8,192"):
        model.batch(asked)


def test_the_same_twice_is_answered_twice(model: ChatMemOS, right: list[str]) -> None:
    with joined(model, 3):
        said = model.batch([ASKED[0], ASKED[0], ASKED[1]])
    assert [one.content for one in said] == [right[0], right[0], right[1]]


def test_as_many_at_a_time_as_was_said(model: ChatMemOS, right: list[str]) -> None:
    rows: list[int] = []
    assert model.local.engine.why_in_turn() == ""
    heads = model.local.engine._heads

    def counted(given: dict[str, Any]) -> Any:
        rows.append(given["input_ids"].shape[0])
        return heads(given)

    model.local.engine._heads = counted
    for most, seen in ((2, 2), (1, 1), (None, 5)):
        rows.clear()
        said = model.batch(ASKED, {"max_concurrency": most})
        assert [one.content for one in said] == right and max(rows) == seen


def test_answers_that_langchain_keeps_are_not_asked_again(right: list[str]) -> None:
    model = ChatMemOS(chat=LocalChat(None, tiny()), max_tokens=8, cache=InMemoryCache())
    model.invoke(ASKED[0])
    assert [one.content for one in model.batch(ASKED)] == right
    assert batched(model) == (5, 0)


def test_models_that_cannot_answer_one_after_the_other(model: ChatMemOS, right: list[str]) -> None:
    model.local.engine.refused = "it has a cache of its own"
    assert [one.content for one in model.batch(ASKED)] == right
    assert model.local.stats()["unbatched_requests"] == 5


def test_streams_are_as_they_were(model: ChatMemOS) -> None:
    whole = model.batch(ASKED[:2])
    for asked, right in zip(ASKED, whole, strict=False):
        assert "".join(str(one.content) for one in model.stream(asked)) == right.content


# By hand, as with LlamaIndex ------------------------------------------------------------------


def test_answers_end_before_a_stop_string_each_for_itself(right: list[str]) -> None:
    chat, sampling = LocalChat(None, tiny()), Sampling(max_new_tokens=8)
    prompts = [chat.prompt([{"role": "user", "content": one}]) for one in ASKED]
    assert [one.text for one in chat.answer_batch(prompts, sampling)] == right
    stop = right[1][len(right[1]) // 2 :][:2]
    alone = [chat.answer(one, sampling, stop=[stop]) for one in prompts]
    found = chat.answer_batch(prompts, sampling, stop=[stop], max_batch=2)
    for one, same in zip(found, alone, strict=True):
        assert (one.text, one.tool_calls) == (same.text, same.tool_calls)
        assert one.usage.finish_reason == same.usage.finish_reason
        assert one.usage.output_tokens == same.usage.output_tokens
    assert "stop" in [one.usage.finish_reason for one in found]
    with pytest.raises(InvalidInputError, match="strings that are not empty"):
        chat.answer_batch(prompts, sampling, stop=[""])
    assert chat.answer_batch([]) == []


def test_words_of_several_come_as_they_are_found(right: list[str]) -> None:
    chat, usages = LocalChat(None, tiny()), [Usage() for _ in ASKED]
    prompts = [chat.prompt([{"role": "user", "content": one}]) for one in ASKED]
    pairs = list(chat.stream_batch(prompts, Sampling(max_new_tokens=8), usages=usages))
    said = ["".join(text for which, text in pairs if which == n) for n in range(5)]
    assert said == right and [one.output_tokens for one in usages] == [8] * 5
    turns = [which for which, _ in pairs]
    assert turns != sorted(turns), "in turn, not one after the other"
    stream = chat.stream_batch(prompts)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert not any(node.leases for node in chat.engine.tree.nodes())


def test_what_llama_index_has_no_method_for(right: list[str]) -> None:
    llm = MemOSLLM(chat=LocalChat(None, tiny()), max_tokens=8)
    prompts = [llm.local.prompt([{"role": "user", "content": one}]) for one in ASKED]
    said = llm.local.answer_batch(prompts, Sampling(max_new_tokens=8))
    alone = [llm.chat([ChatMessage(role="user", content=one)]) for one in ASKED]
    assert [one.text for one in said] == [one.message.content for one in alone] == right
