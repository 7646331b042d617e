"""What adapters know stays out of prompts, for as long as they know it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import HumanMessage
from llama_index.core.base.llms.types import ChatMessage

from memos_integrations import MemCube, MemorySession, MemOS
from memos_integrations.errors import InvalidInputError
from memos_integrations.langchain import ChatMemOS, MemOSMiddleware
from memos_integrations.llama_index import MemOSLLM, MemOSMemory
from memos_integrations.local_chat import LocalChat
from memos_integrations.memories.block import OPENING
from memos_integrations.parameter_memory import ParameterMemory
from memos_integrations.recall import Recall, RecallPolicy, Said
from memos_integrations.testing import WordEmbedder

sys.path.insert(0, str(Path(__file__).parent))
from words import FACTS, HOW, build

ASKED = "What does Tamsin keep? What does Ottoline drive?"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def maya(tmp_path: Path) -> Iterator[MemorySession]:
    with MemOS.open(tmp_path / "store", embedder=WordEmbedder()) as opened:
        yield opened.session("maya")


@pytest.fixture
def facts(maya: MemorySession) -> list[MemCube]:
    return maya.add(list(FACTS))


def recalled(maya: MemorySession, chat: LocalChat) -> set[str]:
    recall = Recall(RecallPolicy(skip_known=chat, timeout=None, on_error="raise"))
    return {cube.text for cube in recall.find(maya, ASKED)}


def test_what_a_served_adapter_knows_is_left_out_until_it_is_stale(
    maya: MemorySession, facts: list[MemCube]
) -> None:
    model = build()
    chat = LocalChat(maya, model, parameter_memory=True)
    everything = {cube.text for cube in facts}
    assert recalled(maya, chat) == everything and chat.known_memories() == frozenset()
    adapter = maya.distill(facts[:2], model=model, how=HOW)
    assert chat.known_memories() == {(one.id, 1) for one in facts[:2]}
    assert recalled(maya, chat) == {FACTS[2], FACTS[3]}
    plain = Recall(RecallPolicy(timeout=None))
    assert {cube.text for cube in plain.find(maya, ASKED)} == everything, "off by default"
    for unsure in (
        LocalChat(maya, engine=chat.engine, parameter_memory={adapter.id: 0.5}),
        LocalChat(maya, engine=chat.engine),
    ):
        assert recalled(maya, unsure) == everything
    maya.update(facts[0].id, "Tamsin keeps two goats.")
    assert recalled(maya, chat) == {"Tamsin keeps two goats.", *FACTS[1:]}
    served = LocalChat(maya, engine=chat.engine, parameter_memory=ParameterMemory(stale="serve"))
    assert recalled(maya, served) == {"Tamsin keeps two goats.", *FACTS[1:]}, "stale, if served"


def test_an_erased_adapter_knows_nothing(maya: MemorySession, facts: list[MemCube]) -> None:
    model = build()
    chat = LocalChat(maya, model, parameter_memory=True)
    maya.distill(facts[:2], model=model, how=HOW)
    maya.forget(facts[0])
    assert recalled(maya, chat) == set(FACTS[1:])


def test_of_another_model_it_knows_nothing(maya: MemorySession, facts: list[MemCube]) -> None:
    maya.distill(facts[:2], model=build(), how=HOW)
    other = LocalChat(maya, build(seed=8), parameter_memory=True)
    assert recalled(maya, other) == set(FACTS)


def test_an_answer_in_the_words_of_a_known_memory_is_not_recorded(
    maya: MemorySession, facts: list[MemCube]
) -> None:
    model = build()
    chat = LocalChat(maya, model, parameter_memory=True)
    maya.distill(facts, model=model, how=HOW)
    recall = Recall(RecallPolicy(skip_known=chat, timeout=None))
    turn = [Said("1", "user", "And her pet?"), Said("2", "assistant", FACTS[0])]
    before = maya.count()
    recall.record(maya, turn, conversation="c")
    assert maya.count() == before + 1


class Prompts(BaseCallbackHandler):
    """What the model is asked."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_chat_model_start(self, serialized: object, messages: object, **_: Any) -> None:
        self.seen.append(str(messages))


def test_the_middleware_leaves_it_out(maya: MemorySession, facts: list[MemCube]) -> None:
    model = ChatMemOS(maya, build(), parameter_memory=True, max_tokens=4)
    maya.distill(facts, model=model.local.model, how=HOW)

    def words(**options: object) -> list[str]:
        middle = MemOSMiddleware(maya, record="nothing", recall_timeout=None, **options)  # type: ignore[arg-type]
        agent, prompts = create_agent(model, [], middleware=[middle]), Prompts()
        agent.invoke({"messages": [HumanMessage(ASKED)]}, {"callbacks": [prompts]})
        assert prompts.seen
        return prompts.seen

    assert all(FACTS[0] in one for one in words())
    assert all(OPENING not in one for one in words(skip_known=model))


def test_the_memory_of_llama_index_leaves_it_out(maya: MemorySession, facts: list[MemCube]) -> None:
    llm = MemOSLLM(maya, build(), parameter_memory=True)
    policy = RecallPolicy(skip_known=llm, timeout=None)
    memory = MemOSMemory.from_defaults(maya, recall=policy, tokenizer_fn=str.split)
    question = ChatMessage(role="user", content=ASKED)
    memory.put(question)
    assert FACTS[0] in str(memory.get(ASKED))
    maya.distill(facts, model=llm.local.model, how=HOW)
    fresh = MemOSMemory.from_defaults(maya, recall=policy, tokenizer_fn=str.split)
    fresh.put(question)
    assert OPENING not in str(fresh.get(ASKED))
    fresh.put(ChatMessage(role="assistant", content=FACTS[0]))
    found = [hit.cube.id for hit in maya.search(FACTS[0], limit=10) if hit.cube.text == FACTS[0]]
    assert found == [facts[0].id], "the answer is history, and no memory"


def test_it_takes_a_chat_model() -> None:
    with pytest.raises(InvalidInputError, match="give the chat model"):
        RecallPolicy(skip_known=True)  # type: ignore[arg-type]
