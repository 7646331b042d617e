"""One engine and one tree for all: two users with adapters at once, and weights that are gone."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import torch

from memos_integrations import MemCube, MemorySession, MemOS
from memos_integrations.local_chat import LocalChat
from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.sampling import Sampling
from memos_integrations.memories.activation.usage import Usage
from memos_integrations.memories.block import block
from memos_integrations.memories.parameter import serving, storage, views
from memos_integrations.memories.parameter.distilling import Distillation
from memos_integrations.memories.parameter.lora import LoraShape, fresh
from memos_integrations.testing import WordEmbedder

sys.path.insert(0, str(Path(__file__).parent))
from measures import LORA, PREFIX, scheduled
from words import FACTS, build

STRONG = replace(
    scheduled(LORA, rounds=2, others=1, learning_rate=0.05, warmup=1),
    shape=replace(LORA.shape, alpha=64),
)
LONG = replace(scheduled(PREFIX, rounds=2, others=1, warmup=1), positions=12)
ASKED = ("What does Tamsin keep?", "Which tram does Ottoline drive?", "Where?")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Of torch; a tiny model on several waits for them more than it computes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MemOS]:
    with MemOS.open(tmp_path / "store", embedder=WordEmbedder()) as opened:
        yield opened


def served(chat: LocalChat, asked: str, told: list[MemCube]) -> tuple[bytes, str, Any, bool]:
    """What it thinks of the next token bit by bit, its answer, its adapters, and if it was kept."""
    messages = [
        {"role": "system", "content": block(told)},
        {"role": "user", "content": asked},
    ]
    usage = Usage()
    prompt, engine = chat.prompt(messages), chat._engine_now(usage)
    read = engine.prefill(prompt, usage)
    engine.tree.release(read.lease)
    answer = chat.answer(prompt, Sampling(max_new_tokens=4))
    return (
        read.logits.numpy().tobytes(),
        answer.text,
        answer.usage.adapters,
        usage.cached_tokens > 0,
    )


@pytest.mark.parametrize(
    ("hows", "names", "threads", "rounds"),
    [
        ((STRONG, STRONG), ("alice", "bob", "carol"), 1, 6),
        ((LONG, LONG), ("alice", "bob", "carol"), 1, 6),
        ((STRONG, LONG), ("alice", "bob", "carol"), 2, 2),
        ((STRONG, STRONG), ("alice", "alice", "alice"), 1, 6),
    ],
    ids=["lora", "prefix", "both, torch on two threads", "one user's"],
)
def test_two_threads_of_one_engine_answer_as_if_each_were_alone(
    store: MemOS,
    hows: tuple[Distillation, Distillation],
    names: tuple[str, ...],
    threads: int,
    rounds: int,
) -> None:
    model = build()
    people = [store.session(name) for name in names]
    cubes = [
        one.distill(one.add(list(facts)), model=model, how=how)
        for one, facts, how in zip(people, (FACTS[:2], FACTS[2:]), hows, strict=False)
    ]
    told = people[2].add(list(FACTS))
    people[2]._ledger.note(told)

    def chats(engines: list[ActivationEngine]) -> list[LocalChat]:
        """Two with an adapter and one without."""
        return [
            LocalChat(one, engine=engine, parameter_memory=adapter)
            for one, engine, adapter in zip(people, engines, [*cubes, None], strict=True)
        ]

    torch.set_num_threads(threads)
    apart = [LocalChat(None, model).engine for _ in people]  # nor do they share the store's files
    alone = [[served(chat, one, told) for one in ASKED] for chat in chats(apart)]
    bits = [{one[0] for one in some} for some in alone]
    assert len(set.union(*bits)) == 3 * len(ASKED), "each adapter answers each question otherwise"
    assert [some[0][2] for some in alone] == [(cubes[0].id,), (cubes[1].id,), ()]
    together = chats([LocalChat(store, model).engine] * 3)
    assert len({id(chat.engine.tree) for chat in together}) == 1
    start = Barrier(3)

    def ask(i: int) -> list[tuple[bytes, str, Any, bool]]:
        start.wait(20)
        return [served(together[i], one, told) for _ in range(rounds) for one in ASKED]

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(ask, range(3)))
    for some, right in zip(found, alone, strict=True):
        assert [one[:3] for one in some] == [one[:3] for one in right] * rounds
        assert all(one[3] for one in some[len(ASKED) :]), "kept, and still the same bits"


# What is erased is nowhere in memory ------------------------------------------------------------


def weights_of(maya: MemorySession, cube: MemCube) -> torch.Tensor:
    """One tensor of an adapter that no other has."""
    content = maya._vault.blobs.get(cube.payload.blob)  # type: ignore[union-attr]
    tensors = storage.from_bytes(content).tensors
    name = next(one for one in tensors if one.endswith("lora_B.weight") or one == "v0")
    return tensors[name]


def copies(wanted: torch.Tensor) -> int:
    """Tensors of this process that have the same numbers, besides this one."""
    gc.collect()
    return sum(
        issubclass(type(one), torch.Tensor)  # some objects warn when they are asked
        and one is not wanted
        and one.shape == wanted.shape
        and one.dtype == wanted.dtype
        and torch.equal(one.detach(), wanted)
        for one in gc.get_objects()
    )


@pytest.mark.parametrize("how", [STRONG, LONG], ids=["lora", "prefix"])
def test_an_erasure_frees_the_weights_that_were_loaded(store: MemOS, how: Distillation) -> None:
    model, maya = build(), store.session("maya")
    facts = maya.add(list(FACTS))
    cube = maya.distill(facts[:2], model=model, how=how)
    other = maya.distill(facts[2:], model=model, how=STRONG)
    plain = LocalChat(maya, model)
    one, two = (LocalChat(maya, engine=plain.engine, parameter_memory=c) for c in (cube, other))
    wanted, kept = weights_of(maya, cube), weights_of(maya, other)
    assert copies(wanted) == 0 and copies(kept) == 0
    before = served(one, ASKED[0], facts[2:]), served(two, ASKED[0], facts[2:])
    assert before[0][2] == (cube.id,) and before[1][2] == (other.id,)
    assert copies(wanted) > 0 and copies(kept) > 0
    maya.forget(cube.id)
    assert copies(wanted) == 0
    assert served(one, ASKED[0], facts[2:])[2] == ()
    assert served(two, ASKED[0], facts[2:])[:3] == before[1][:3], "the other is read anew"
    assert copies(wanted) == 0 and copies(kept) > 0


def test_what_was_cleared_is_read_anew(store: MemOS) -> None:
    model, maya = build(), store.session("maya")
    cube = maya.distill(maya.add(list(FACTS[:2])), model=model, how=STRONG)
    blob, reads = cube.payload.blob, list[str]()  # type: ignore[union-attr]

    def read(digest: str) -> bytes:
        reads.append(digest)
        return store.vault.blobs.get(digest)

    readers = serving.Readers(model, read)
    first = readers.get([(blob, 1.0)])
    assert readers.get([(blob, 1.0)]) is first and reads == [blob]
    readers.clear()
    again = readers.get([(blob, 1.0)])
    assert again is not first and reads == [blob, blob]
    assert again.key == first.key != readers.get([(blob, 0.5)]).key


def test_adapters_are_loaded_side_by_side_and_torch_stays_as_it_is() -> None:
    """Several at once, each into a view of its own: what they do to torch would reach everybody."""
    model = build()
    shape = LoraShape(rank=2, alpha=4)
    tensors = fresh(model.model, shape, 5)
    registering, state = torch.nn.Module.register_parameter, torch.get_rng_state()
    start = Barrier(4)

    def load(_: int) -> set[str]:
        start.wait(20)
        seen = views.view(model)
        views.put(seen, "a", tensors, shape)
        return {one.device.type for one in seen.model.parameters()}

    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            assert list(pool.map(load, range(4))) == [{"cpu"}] * 4
    assert torch.nn.Module.register_parameter is registering
    assert torch.equal(torch.get_rng_state(), state), "no random number was drawn"
    assert torch.nn.Linear(2, 2).weight.device.type == "cpu"
