"""The accelerator: what it counts, what it computes ahead, and that it never changes an answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, SystemMessage
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.tools import FunctionTool
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from memos_integrations import MemorySession, MemOS
from memos_integrations.accelerator import Accelerator
from memos_integrations.errors import InvalidInputError
from memos_integrations.langchain import ChatMemOS, MemOSMiddleware
from memos_integrations.langchain import KVCacheAccelerator as LangChainAccelerator
from memos_integrations.llama_index import (
    KVCacheAccelerator,
    KVCacheCallbackHandler,
    MemOSFunctionLLM,
    MemOSLLM,
    MemOSMemory,
)
from memos_integrations.local_chat import LocalChat
from memos_integrations.memories.activation.admission import AdmissionPolicy
from memos_integrations.memories.block import block
from memos_integrations.models.causal import CausalModel
from memos_integrations.recall import RecallPolicy
from memos_integrations.testing import WordEmbedder
from tests.integrations.test_langchain_chat_model import WITH_TOOLS, tiny

EAGER = AdmissionPolicy(half_life=1.0, horizon=10.0, hysteresis=1.0, byte_seconds_cost=0.0)
"""Everything that is used once is worth it."""
RELUCTANT = AdmissionPolicy(byte_seconds_cost=1.0)
"""Nothing is."""


@pytest.fixture(scope="module")
def model() -> CausalModel:
    """A random Llama of three layers, and a tokenizer trained here."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    raw.train_from_iterator(["User: Assistant: System: what does Maya like?"] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8_192,
        initializer_range=0.3,
    )
    return CausalModel(AutoModelForCausalLM.from_config(config), tokenizer, name="tiny")


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[MemOS]:
    with MemOS.open(tmp_path / "store", embedder=WordEmbedder()) as opened:
        yield opened


@pytest.fixture
def alice(memory: MemOS) -> MemorySession:
    session = memory.session("alice")
    session.add(
        [f"Maya likes walnuts of kind number {i}, on rainy days above all" for i in range(6)]
    )
    return session


@pytest.fixture
def chat(memory: MemOS, model: CausalModel) -> Iterator[LocalChat]:
    opened = LocalChat(memory, model)
    yield opened
    opened.close()


def asked(session: MemorySession, question: str = "walnuts?") -> list[dict[str, Any]]:
    """A chat as an adapter sends it."""
    cubes = [hit.cube for hit in session.search("Maya walnuts", limit=6)]
    session.record_uses(cubes, prompt=question)
    return [
        {"role": "system", "content": block(sorted(cubes, key=lambda cube: cube.id))},
        {"role": "user", "content": question},
    ]


def test_an_agent_in_one_line(alice: MemorySession, chat: LocalChat) -> None:
    model = ChatMemOS(chat=chat, max_tokens=6)
    plain = create_agent(model, middleware=[MemOSMiddleware(alice, record="nothing")])
    bare = plain.invoke({"messages": [("user", "what walnuts does Maya like?")]})
    watcher = LangChainAccelerator(model, policy=EAGER)
    config = {"callbacks": [watcher]}
    said = plain.invoke({"messages": [("user", "what walnuts does Maya like?")]}, config)
    watcher.accelerator.flush()
    report = watcher.report()
    watcher.close()
    assert said["messages"][-1].content == bare["messages"][-1].content
    assert report["prompts_seen"] == 1 and report["failures"] == 0
    assert report["hits"] == 1 and report["requests"] == 2
    assert report["rates"]["measured"] and not report["rates"]["load_measured"]


def test_a_corrected_memory_is_computed_ahead(alice: MemorySession, chat: LocalChat) -> None:
    watcher = Accelerator(chat, policy=EAGER)
    messages = asked(alice)
    watcher.saw(messages)
    watcher.flush()
    first = alice.list()[0]
    after = alice.update(first.id, "Maya likes walnuts of no kind any more, whatever the weather")
    assert not any(
        source.cube_id == first.id and source.version == 1 for source in chat_sources(chat)
    )
    watcher.flush()
    watcher.close()
    assert watcher.report()["precomputed_tokens"] > 0
    fresh = asked(alice)
    assert after.text in fresh[0]["content"]
    prompt = chat.prompt(fresh)
    assert chat.engine.cached(prompt) > 0.6 * len(prompt.tokens)


def test_a_prompt_with_some_of_the_hottest_begins_warm(
    alice: MemorySession, chat: LocalChat
) -> None:
    """Which no prompt before has begun with."""
    watcher = Accelerator(chat, policy=EAGER)
    watcher.saw(asked(alice))
    watcher.flush()
    cubes = sorted(alice.list(), key=lambda cube: cube.id)
    some = [cubes[1], cubes[3], cubes[4]]
    prompt = chat.prompt([{"role": "system", "content": block(some)}])
    assert chat.engine.cached(prompt) >= prompt.spans[-1].end > 64
    before = watcher.report()["precomputed_tokens"]
    watcher.saw(asked(alice))
    watcher.flush()
    watcher.close()
    assert watcher.report()["precomputed_tokens"] == before, "what is there costs nothing"


def test_what_was_let_go_of_is_computed_again(alice: MemorySession, chat: LocalChat) -> None:
    watcher = Accelerator(chat, policy=EAGER)
    watcher.saw(asked(alice))
    watcher.flush()
    prompt = chat.prompt(asked(alice))
    watcher.drop(alice.list()[0].id)
    watcher.saw(asked(alice))
    watcher.flush()
    watcher.close()
    assert chat.engine.cached(prompt) >= prompt.spans[-1].end


def chat_sources(chat: LocalChat) -> set[Any]:
    return {source for node in chat.engine.tree.nodes() for source in node.sources}


def test_what_is_not_worth_it_is_not_computed(alice: MemorySession, chat: LocalChat) -> None:
    watcher = Accelerator(chat, policy=RELUCTANT)
    for _ in range(5):
        watcher.saw(asked(alice))
    watcher.flush()
    cube = alice.list()[0]
    decision = watcher.explain(cube.id)
    watcher.close()
    assert watcher.report()["precomputed_tokens"] == 0
    assert decision is not None and not decision.admit and "not more than" in decision.reason
    assert chat.engine.stats()[1].nodes == 0


def test_what_is_built_stays_longer(alice: MemorySession, chat: LocalChat) -> None:
    """Hysteresis: what was computed ahead is kept at a heat at which nothing new is computed."""
    policy = AdmissionPolicy(half_life=100.0, horizon=100.0, hysteresis=2.0, byte_seconds_cost=0.0)
    now = [0.0]
    watcher = Accelerator(chat, policy=policy, clock=lambda: now[0])

    def explained(cube_id: str) -> tuple[bool, bool]:
        watcher.flush()
        decision = watcher.explain(cube_id)
        assert decision is not None
        built = "built already" in decision.reason
        assert built != ("ms to build" in decision.reason)
        return decision.admit, built

    built, other = sorted(alice.list(), key=lambda cube: cube.id)[:2]
    alice.record_uses([built, other], prompt="walnuts?")
    said = [{"role": "system", "content": block([built])}]
    watcher.saw(said)
    assert explained(built.id) == (False, False), "once is too seldom"
    for _ in range(3):
        watcher.saw(said)
    assert explained(built.id) == (True, True)
    now[0] = 100.0  # a half-life later
    for _ in range(2):
        watcher.saw([{"role": "system", "content": block([other])}])
    assert explained(other.id) == (False, False), "as often used as the first one now"
    assert explained(built.id) == (True, True)
    after = alice.update(built.id, "Maya likes walnuts of no kind any more")
    assert explained(after.id) == (False, False), "its cache has gone, and is not worth another"
    watcher.close()


def test_a_deleted_memory_is_explained_by_nothing(alice: MemorySession, chat: LocalChat) -> None:
    watcher = Accelerator(chat, policy=EAGER)
    watcher.saw(asked(alice))
    watcher.flush()
    cube = alice.list()[0]
    assert watcher.explain(cube.id) is not None
    alice.delete(cube.id)
    watcher.flush()
    assert watcher.explain(cube.id) is None
    assert cube.id not in {source.cube_id for source in chat_sources(chat)}
    watcher.close()


def test_two_users_are_told_apart(memory: MemOS, alice: MemorySession, chat: LocalChat) -> None:
    bob = memory.session("bob")
    bob.add([f"Maya likes walnuts of kind number {i}, on rainy days above all" for i in range(6)])
    watcher = Accelerator(chat, policy=EAGER)
    mine = asked(alice)
    watcher.saw(mine)
    watcher.flush()
    assert chat.engine.cached(chat.prompt(mine)) > 0
    theirs = asked(bob)
    assert theirs == mine, "word for word"
    assert chat.engine.cached(chat.prompt(theirs)) == 0
    watcher.saw(theirs)
    watcher.flush()
    watcher.close()
    assert chat.engine.cached(chat.prompt(theirs)) > 0
    gone = {cube.id for cube in bob.list()}
    for cube_id in gone:
        bob.delete(cube_id)
    left = {source.cube_id for source in chat_sources(chat)}
    assert left and left.isdisjoint(gone), "alice's stay"
    assert watcher.report()["failures"] == 0


def test_prompts_without_memories_are_left_alone(chat: LocalChat) -> None:
    watcher = Accelerator(chat, policy=EAGER)
    watcher.saw([{"role": "user", "content": "hello"}])
    watcher.saw([{"role": "user", "content": "<memories>\nmine\n</memories>"}])
    watcher.flush()
    watcher.close()
    assert watcher.report()["prompts_seen"] == 2
    assert chat.engine.stats()[1].nodes == 0


def test_a_prompt_that_cannot_be_read_stops_nothing(
    alice: MemorySession, chat: LocalChat, caplog: pytest.LogCaptureFixture
) -> None:
    watcher = Accelerator(chat, policy=EAGER)
    watcher.saw([{"no role": 1}])
    watcher.saw(asked(alice))
    watcher.flush()
    watcher.close()
    assert watcher.report()["failures"] == 1 and watcher.report()["prompts_seen"] == 2
    assert "a prompt was not precomputed" in caplog.text
    assert chat.engine.stats()[1].nodes > 0


def test_a_flood_is_cut_off_and_counted(alice: MemorySession, chat: LocalChat) -> None:
    """Foreground work never waits for the accelerator."""
    watcher = Accelerator(chat, policy=RELUCTANT)
    messages = asked(alice)
    threads = [
        threading.Thread(target=lambda: [watcher.saw(messages) for _ in range(200)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    watcher.flush()
    watcher.close()
    report = watcher.report()
    assert report["prompts_seen"] + report["prompts_left_out"] == 800
    assert report["prompts_left_out"] > 0


def test_after_its_end_it_hears_nothing(alice: MemorySession, chat: LocalChat) -> None:
    watcher = Accelerator(chat, policy=EAGER)
    watcher.saw(asked(alice))
    watcher.flush()
    watcher.close()
    watcher.saw(asked(alice))
    alice.update(alice.list()[0].id, "something else")
    assert watcher.report()["prompts_seen"] == 1


def test_llama_index_events(alice: MemorySession, chat: LocalChat) -> None:
    llm = MemOSLLM(chat=chat, max_tokens=6)
    watcher = KVCacheAccelerator(llm, policy=EAGER).install()
    assert watcher.install() is watcher
    try:
        history = MemOSMemory.from_defaults(alice, recall=RecallPolicy(order="use"))
        engine = SimpleChatEngine.from_defaults(llm=llm, memory=history)
        engine.chat("what walnuts does Maya like?")
        watcher.accelerator.flush()
        report = watcher.report()
        assert report["prompts_seen"] == 1 and report["failures"] == 0
        assert watcher.explain(alice.list()[0].id) is not None
    finally:
        watcher.uninstall()
    assert watcher not in get_dispatcher().event_handlers


def test_llama_index_s_older_callbacks(alice: MemorySession, chat: LocalChat) -> None:
    llm = MemOSLLM(chat=chat, max_tokens=6)
    handler = KVCacheCallbackHandler(llm, policy=EAGER)
    llm.callback_manager = CallbackManager([handler])
    history = MemOSMemory.from_defaults(alice)
    SimpleChatEngine.from_defaults(llm=llm, memory=history).chat("what walnuts does Maya like?")
    handler.accelerator.flush()
    assert handler.accelerator.report()["prompts_seen"] == 1
    handler.accelerator.close()


def look(thing: str) -> str:
    """Where a thing is."""
    return f"{thing} is here"


@pytest.fixture
def tool_chat(memory: MemOS) -> Iterator[LocalChat]:
    """Of a model whose template writes the tools in front of everything else."""
    opened = LocalChat(memory, tiny(WITH_TOOLS))
    yield opened
    opened.close()


def corrected(session: MemorySession, watcher: Accelerator) -> str:
    """Correct the memory that stands first in the prompt; what to ask next, as shown."""
    watcher.flush()
    first = min(session.list(), key=lambda cube: cube.id)
    session.update(first.id, "Maya likes walnuts of no kind any more, whatever the weather")
    watcher.flush()
    assert watcher.report()["failures"] == 0 and watcher.report()["precomputed_tokens"] > 0
    return str(asked(session)[0]["content"])


def test_tools_of_langchain_stand_in_what_is_computed_ahead(
    alice: MemorySession, tool_chat: LocalChat
) -> None:
    watcher = LangChainAccelerator(ChatMemOS(chat=tool_chat), policy=EAGER)
    model = ChatMemOS(chat=tool_chat, max_tokens=2, callbacks=[watcher]).bind_tools([look])
    shown = asked(alice)[0]["content"]
    model.invoke([SystemMessage(shown), HumanMessage("walnuts?")])
    shown = corrected(alice, watcher.accelerator)
    said = model.invoke([SystemMessage(shown), HumanMessage("and almonds?")])
    watcher.close()
    usage = said.usage_metadata
    assert usage is not None
    assert usage["input_token_details"]["cache_read"] > 0.6 * usage["input_tokens"]


@pytest.mark.parametrize("older", [False, True])
def test_tools_of_llama_index_stand_in_what_is_computed_ahead(
    alice: MemorySession, tool_chat: LocalChat, older: bool
) -> None:
    llm = MemOSFunctionLLM(chat=tool_chat, max_tokens=2)
    handler = KVCacheCallbackHandler(llm, policy=EAGER) if older else None
    events = KVCacheAccelerator(llm, policy=EAGER).install() if handler is None else None
    if handler is not None:
        llm.callback_manager = CallbackManager([handler])
    watcher = handler or events
    assert watcher is not None

    def ask(shown: str, question: str) -> dict[str, Any]:
        history = [ChatMessage(role="system", content=shown)]
        tools = [FunctionTool.from_defaults(look)]
        said = llm.chat_with_tools(tools, user_msg=question, chat_history=history)
        assert isinstance(said.raw, dict)
        return said.raw

    try:
        ask(asked(alice)[0]["content"], "walnuts?")
        usage = ask(corrected(alice, watcher.accelerator), "and almonds?")
    finally:
        events.uninstall() if events is not None else watcher.accelerator.close()
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    assert cached > 0.6 * usage["prompt_tokens"]


@pytest.mark.parametrize("wrong", [None, "gpt-5", object()])
def test_another_model_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="caches live where they run"):
        LangChainAccelerator(wrong)
    with pytest.raises(InvalidInputError, match="caches live where they run"):
        KVCacheAccelerator(wrong)


def test_options_that_make_no_sense(chat: LocalChat, model: CausalModel) -> None:
    with pytest.raises(InvalidInputError, match="hottest is 0"):
        Accelerator(chat, hottest=0)
    with pytest.raises(InvalidInputError, match="with a store"):
        Accelerator(LocalChat(None, model))
    with pytest.raises(InvalidInputError, match="order 'heat'"):
        RecallPolicy(order="heat")  # type: ignore[arg-type]
