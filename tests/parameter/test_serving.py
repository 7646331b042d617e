"""Adapters in the chat models: whose they are, when they are left out, and what caches know."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from langchain_core.messages import HumanMessage, SystemMessage
from llama_index.core.base.llms.types import ChatMessage

from memos_integrations import MemCube, MemorySession, MemOS
from memos_integrations.errors import (
    AdapterCorruptError,
    AdapterGoneError,
    InvalidInputError,
    ModelError,
    WrongModelError,
)
from memos_integrations.langchain import ChatMemOS
from memos_integrations.llama_index import MemOSLLM
from memos_integrations.local_chat import LocalChat
from memos_integrations.memories.activation.sampling import Sampling
from memos_integrations.memories.activation.segments import Source
from memos_integrations.memories.activation.usage import Usage
from memos_integrations.memories.block import block
from memos_integrations.memories.parameter import storage
from memos_integrations.memories.parameter.distilling import Distillation
from memos_integrations.memories.parameter.gate import GatePolicy
from memos_integrations.memories.parameter.lora import LoraShape
from memos_integrations.memories.parameter.training import Schedule
from memos_integrations.models.causal import CausalModel
from memos_integrations.parameter_memory import ParameterMemory
from memos_integrations.testing import WordEmbedder

sys.path.insert(0, str(Path(__file__).parent))
from words import FACTS, build

STRONG = Distillation(
    shape=LoraShape(rank=4, alpha=64),
    schedule=Schedule(rounds=2, batch=8, others=1, sampled=16, learning_rate=0.05, warmup=1),
    gate=GatePolicy(recall=0.0, gain=-1.0, drift=100.0),
)
PREFIX = replace(STRONG, kind="prefix", positions=12)
ASKED = "What does Tamsin keep?"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """A tiny model on several threads waits for them more than it computes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MemOS]:
    with MemOS.open(tmp_path / "store", embedder=WordEmbedder()) as opened:
        yield opened


def learned(session: MemorySession, model: CausalModel, how: Distillation = STRONG) -> MemCube:
    return session.distill(session.add(list(FACTS[:2])), model=model, how=how)


def asked(session: MemorySession) -> list[Any]:
    """A chat whose memories are others than those that were distilled."""
    told = session.list(filters={"tags": "told"}) or session.add(list(FACTS[2:]), tags=["told"])
    session._ledger.note(told)
    return [SystemMessage(block(told)), HumanMessage(ASKED)]


def bits(chat: LocalChat, messages: list[Any]) -> tuple[bytes, Usage]:
    """What the model thinks of the next token, bit by bit."""
    plain = [
        {"role": "system" if isinstance(one, SystemMessage) else "user", "content": one.text}
        for one in messages
    ]
    usage = Usage()
    engine = chat._engine_now(usage)
    read = engine.prefill(chat.prompt(plain), usage)
    engine.tree.release(read.lease)
    return read.logits.numpy().tobytes(), usage


def test_two_users_are_served_at_once_as_if_each_were_alone(store: MemOS) -> None:
    model = build()
    people = [store.session(name) for name in ("alice", "bob", "carol")]
    learned(people[0], model)
    people[1].distill(people[1].add(list(FACTS[2:])), model=model, how=STRONG)
    chats = [ChatMemOS(one, model, parameter_memory=True, max_tokens=8) for one in people]
    questions = [asked(one) for one in people]

    def serve(i: int) -> tuple[bytes, str, list[str]]:
        answer = chats[i].invoke(questions[i])
        return (
            bits(chats[i].local, questions[i])[0],
            answer.text,
            answer.response_metadata["adapters"],
        )

    alone = [serve(i) for i in range(3)]
    assert len({one[0] for one in alone}) == 3
    assert [len(one[2]) for one in alone] == [1, 1, 0]
    assert alone[0][2] != alone[1][2]
    with ThreadPoolExecutor(3) as pool:
        for _ in range(8):
            assert list(pool.map(serve, [0, 1, 2])) == alone


@pytest.mark.parametrize("how", [STRONG, PREFIX], ids=["lora", "prefix"])
def test_caches_are_kept_apart_by_adapter_and_give_the_same_bits(
    store: MemOS, how: Distillation
) -> None:
    model, maya = build(), store.session("maya")
    cube = learned(maya, model, how)
    plain = LocalChat(maya, model)
    chat = LocalChat(maya, engine=plain.engine, parameter_memory=cube)
    messages = asked(maya)
    bare, _ = bits(plain, messages)
    first, missed = bits(chat, messages)
    second, hit = bits(chat, messages)
    assert first == second != bare
    assert (missed.cached_tokens, hit.cached_tokens > 0) == (0, True)
    assert hit.adapters == (cube.id,)
    again, cached = bits(plain, messages)
    assert again == bare
    assert cached.cached_tokens > 0
    known = [node.sources for node in chat.engine.tree.nodes()]
    assert sum(Source(cube.id, 1) in sources for sources in known) == len(known) / 2
    half, none = (bits(_with(maya, plain, {cube.id: weight}), messages)[0] for weight in (0.5, 0))
    if how is STRONG:
        assert none == bare != half != first


@pytest.mark.parametrize("how", [STRONG, PREFIX], ids=["lora", "prefix"])
def test_chats_of_a_batch_read_their_adapters(store: MemOS, how: Distillation) -> None:
    model, maya = build(), store.session("maya")
    cube = learned(maya, model, how)
    plain = LocalChat(maya, model)
    chat, sampling = _with(maya, plain, cube), Sampling(max_new_tokens=12)
    words = [ASKED, "Which tram does Ottoline drive?", "Where?"]
    told = asked(maya)[0].text
    asks = [
        [{"role": "system", "content": told}, {"role": "user", "content": one}] for one in words
    ]
    prompts = [chat.prompt(one) for one in asks]
    right = [chat.answer(one, sampling) for one in prompts]
    bare = [plain.answer(one, sampling).text for one in prompts]
    found = chat.answer_batch(prompts, sampling)
    assert [one.text for one in found] == [one.text for one in right] != bare
    assert {one.usage.adapters for one in found} == {(cube.id,)}
    assert [one.text for one in plain.answer_batch(prompts, sampling)] == bare
    assert plain.engine.stats()[0].batched_requests > 0
    strict = ParameterMemory(cube.id, stale="refuse")
    maya.forget(cube.id)
    with pytest.raises(AdapterGoneError):
        _with(maya, plain, strict).answer_batch(prompts, sampling)


def _with(session: MemorySession, plain: LocalChat, wanted: Any) -> LocalChat:
    return LocalChat(session, engine=plain.engine, parameter_memory=wanted)


def test_an_erased_source_takes_the_adapter_and_its_caches_at_once(store: MemOS) -> None:
    model, maya = build(), store.session("maya")
    facts = maya.add(list(FACTS[:2]))
    cube = maya.distill(facts, model=model, how=STRONG)
    chat = LocalChat(maya, model, parameter_memory=True)
    named = LocalChat(maya, engine=chat.engine, parameter_memory=cube.id)
    composing = LocalChat(maya, engine=chat.engine, parameter_memory=True, mode="composed")
    messages = asked(maya)
    bare = bits(LocalChat(maya, model), messages)[0]
    assert bits(chat, messages)[0] != bare
    prompt = composing.read("\n".join(one.text for one in messages))
    answer = composing.answer(prompt, Sampling(max_new_tokens=2))
    assert len(prompt.spans) > 1 and answer.usage.adapters == (cube.id,)
    assert answer.usage.approximate_tokens == 0
    assert composing.stats()["composer"]["exact"] == {"it is read through adapters": 1}
    assert any(Source(cube.id, 1) in one.sources for one in chat.engine.tree.nodes())
    maya.forget(facts[0])
    assert not any(Source(cube.id, 1) in one.sources for one in chat.engine.tree.nodes())
    assert cube.id not in {one.cube_id for one in store.pieces.sources()}
    said, usage = bits(chat, messages)
    assert (said, usage.adapters) == (bare, ())
    said, usage = bits(named, messages)
    assert (said, usage.adapters, usage.stale_adapters) == (bare, (), (cube.id,))
    strict = ParameterMemory(cube.id, stale="refuse")
    with pytest.raises(AdapterGoneError, match="retrain"):
        bits(LocalChat(maya, engine=chat.engine, parameter_memory=strict), messages)


def test_a_changed_source_makes_an_adapter_stale_and_retraining_brings_it_back(
    store: MemOS,
) -> None:
    model, maya = build(), store.session("maya")
    facts = maya.add(list(FACTS[:2]))
    cube = maya.distill(facts, model=model, how=STRONG)
    plain = LocalChat(maya, model)
    messages, wanted = asked(maya), ParameterMemory(cube, stale="serve")
    bare, fresh = bits(plain, messages)[0], bits(_with(maya, plain, cube), messages)[0]
    maya.update(facts[1].id, "Bramwell studied tram.")
    said, usage = bits(_with(maya, plain, cube), messages)
    assert (said, usage.adapters, usage.stale_adapters) == (bare, (), (cube.id,))
    said, usage = bits(_with(maya, plain, wanted), messages)
    assert (said, usage.adapters, usage.stale_adapters) == (fresh, (cube.id,), (cube.id,))
    again = maya.retrain(cube.id, model=model, how=STRONG)
    said, usage = bits(_with(maya, plain, True), messages)
    assert (usage.adapters, usage.stale_adapters) == ((again.id,), ())
    assert said not in (bare, fresh)


def test_who_may_not_read_a_source_is_not_served_its_adapter(store: MemOS) -> None:
    model = build()
    store.govern("root", homes=[("acme", "{principal}")])
    alice, bob = (store.session(who, namespace=("acme", "alice")) for who in ("alice", "bob"))
    facts = alice.add(list(FACTS[:2]))
    cube = alice.distill(facts, model=model, how=STRONG)
    for one in (cube, facts[0]):
        alice.grant("bob", "read", id=one.id)
    llm = MemOSLLM(bob, model, parameter_memory=cube.id, max_tokens=4)
    question = [ChatMessage(role="user", content=ASKED)]
    raw = llm.chat(question).raw
    assert (raw["adapters"], raw["stale_adapters"]) == ([], [cube.id])
    alice.grant("bob", "read", id=facts[1].id)
    raw = llm.chat(question).raw
    assert (raw["adapters"], raw["stale_adapters"]) == ([cube.id], [])


def test_several_at_once_and_what_cannot_be_served(store: MemOS, tmp_path: Path) -> None:
    model, maya = build(), store.session("maya")
    one = learned(maya, model)
    two = maya.distill(maya.add(list(FACTS[2:])), model=model, how=STRONG)
    plain, messages = LocalChat(maya, model), asked(maya)
    both, usage = bits(_with(maya, plain, [one, two]), messages)
    assert set(usage.adapters) == {one.id, two.id}
    assert both not in [bits(_with(maya, plain, x), messages)[0] for x in (one, two)]
    first, second = learned(maya, model, PREFIX), learned(maya, model, PREFIX)
    with pytest.raises(InvalidInputError, match="two trained prefixes"):
        bits(_with(maya, plain, [first, second]), messages)
    bits(_with(maya, plain, [one, first]), messages)
    with pytest.raises(WrongModelError):
        bits(LocalChat(maya, build(seed=8), parameter_memory=one), messages)
    assert bits(LocalChat(maya, build(seed=8), parameter_memory=True), messages)[1].adapters == ()
    plain.engine.refused = "it has a cache of its own"
    with pytest.raises(ModelError, match="cache of its own"):
        bits(_with(maya, plain, first), messages)
    for wanted in (False, {one.id: "much"}, "no id", ParameterMemory):
        with pytest.raises((InvalidInputError, TypeError)):
            LocalChat(maya, model, parameter_memory=wanted)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="session"):
        LocalChat(store, model, parameter_memory=True)
    with pytest.raises(InvalidInputError, match="no memory"):
        LocalChat(None, model, parameter_memory=True)
    with pytest.raises(InvalidInputError, match="stale"):
        ParameterMemory(stale="drop")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="parameter_memory and chat"):
        ChatMemOS(maya, chat=plain, parameter_memory=True)


def test_two_adapters_with_weights_are_the_sum_of_their_shares(store: MemOS) -> None:
    model, maya = build(), store.session("maya")
    one = learned(maya, model)
    two = maya.distill(maya.add(list(FACTS[2:])), model=model, how=STRONG)
    messages, shares = asked(maya), {one.id: 0.5, two.id: -1.5}
    plain, merged = LocalChat(maya, model), build()
    for cube in (one, two):
        content = maya._vault.blobs.get(cube.payload.blob)  # type: ignore[union-attr]
        adapter = storage.from_bytes(content)
        share = shares[cube.id] * adapter.manifest.alpha / adapter.manifest.rank
        for layer in adapter.manifest.layers:
            a, b = (adapter.tensors[f"{layer}.lora_{kind}.weight"] for kind in "AB")
            with torch.no_grad():
                merged.model.get_submodule(layer).weight.add_(b @ a, alpha=share)
    found, usage = bits(_with(maya, plain, shares), messages)
    assert set(usage.adapters) == {one.id, two.id}
    assert torch.allclose(
        _logits(found), _logits(bits(LocalChat(maya, merged), messages)[0]), atol=1e-3
    )
    for other in (None, [one, two], {one.id: 0.5}, {one.id: -1.5, two.id: 0.5}):
        said, _ = bits(_with(maya, plain, other), messages)
        assert not torch.allclose(_logits(found), _logits(said), atol=1e-2)
    assert bits(_with(maya, plain, dict(reversed(shares.items()))), messages)[0] == found


def _logits(found: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(found), dtype=torch.float32)


def test_adapters_are_set_for_the_next_requests(store: MemOS) -> None:
    model, maya = build(), store.session("maya")
    one = learned(maya, model)
    two = maya.distill(maya.add(list(FACTS[2:])), model=model, how=STRONG)
    chat, messages, sampling = LocalChat(maya, model), asked(maya), Sampling(max_new_tokens=6)
    fixed = {
        wanted: bits(_with(maya, chat, wanted), messages) for wanted in (None, one.id, two.id, True)
    }
    assert len({said for said, _ in fixed.values()}) == 4
    for wanted in (one.id, None, two.id, True, one.id, None):
        chat.set_adapters(wanted)
        said, usage = bits(chat, messages)
        assert (said, usage.adapters) == (fixed[wanted][0], fixed[wanted][1].adapters)
        assert bool(chat.known_memories()) is (wanted is not None)
    with pytest.raises(InvalidInputError, match="stale"):
        chat.set_adapters(ParameterMemory(stale="drop"))  # type: ignore[arg-type]
    chat.set_adapters(ParameterMemory({one.id: 1}, stale="refuse"))
    with pytest.raises(InvalidInputError, match="weight"):
        chat.set_adapters({two.id: float("nan")})
    assert bits(chat, messages)[0] == fixed[one.id][0], "a refused one changes nothing"
    prompt = chat.prompt([{"role": "user", "content": ASKED}])
    whole = chat.answer(prompt, sampling).text
    usage = Usage()
    begun = chat.stream(prompt, sampling, usage=usage)
    words = next(begun)
    chat.set_adapters(None)
    assert words + "".join(begun) == whole != chat.answer(prompt, sampling).text
    assert usage.adapters == (one.id,)
    named = LocalChat(store, model)
    with pytest.raises(InvalidInputError, match="session"):
        named.set_adapters(True)
    named.set_adapters(one)
    assert bits(named, messages)[0] == fixed[one.id][0]
    with pytest.raises(InvalidInputError, match="no memory"):
        LocalChat(None, model).set_adapters(one)


def test_adapters_are_set_while_others_ask(store: MemOS) -> None:
    model, maya = build(), store.session("maya")
    one, two = learned(maya, model).id, maya.distill(maya.add(FACTS[2]), model=model, how=STRONG).id
    chat, messages = LocalChat(maya, model), asked(maya)
    right = {
        (): bits(chat, messages)[0],
        (one,): bits(_with(maya, chat, one), messages)[0],
        (two,): bits(_with(maya, chat, two), messages)[0],
    }
    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(bits, chat, messages) for _ in range(24)]
        for wanted in [one, two, None] * 20:
            chat.set_adapters(wanted)
        found = [future.result() for future in asking]
    assert all(said == right[usage.adapters] for said, usage in found)
    chat.set_adapters(True)
    maya.forget(one)
    said, usage = bits(chat, messages)
    assert (said, usage.adapters) == (right[two,], (two,))


def test_an_altered_file_is_told_from_a_missing_one(store: MemOS) -> None:
    model, maya = build(), store.session("maya")
    cube = learned(maya, model)
    blob = cube.payload.blob  # type: ignore[union-attr]
    path = store.path / "blobs" / blob[:2] / blob
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    chat = LocalChat(maya, model, parameter_memory=True)
    with pytest.raises(AdapterCorruptError, match="altered"):
        bits(chat, asked(maya))
    with pytest.raises(AdapterCorruptError, match="altered"):
        maya.externalise(cube.id, model=model)
    path.unlink()
    with pytest.raises(AdapterGoneError, match="not there"):
        bits(chat, asked(maya))
    with pytest.raises(AdapterGoneError, match="not there"):
        maya.externalise(cube.id, model=model)
