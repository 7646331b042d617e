"""Pieces in RAM, below a model's device: what the tree evicts is found again, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from memos_integrations import MemOS
from memos_integrations.errors import KVCacheWarning
from memos_integrations.local_chat import LocalChat
from memos_integrations.memories.activation.engine import ActivationEngine, Usage
from memos_integrations.memories.activation.gate import allow
from memos_integrations.memories.activation.ram import RamTier
from memos_integrations.memories.activation.segments import Source
from memos_integrations.memories.activation.tensors import Piece
from memos_integrations.memories.activation.tier import Tier
from memos_integrations.memories.activation.tiers import FolderTier
from memos_integrations.memories.block import block
from memos_integrations.testing import WordEmbedder
from tests.activation.asked import model_of
from tests.activation.test_faults import files, flip
from tests.activation.test_invalidation import MODEL
from tests.activation.tiny import logits, prompt_of

ASKED = [prompt_of(seed, length=300) for seed in range(6)]
MUCH = 10_000_000
"""Bytes: more than all of them."""
Opened = tuple[ActivationEngine, RamTier]


@pytest.fixture
def opened() -> Iterator[Any]:
    """Opens engines whose trees hold about one prompt."""
    tiers: list[RamTier] = []

    def make(
        name: str = "llama",
        dtype: torch.dtype = torch.float32,
        *,
        ram_budget: int = MUCH,
        tier: Tier | None = None,
        gate: Any = allow,
    ) -> Opened:
        model = model_of(name, dtype)
        biggest = max(held_by(model, prompt) for prompt in ASKED)
        engine = ActivationEngine(
            model, budget=biggest, ram_budget=ram_budget, tier=tier, gate=gate
        )
        assert engine.ram is not None
        tiers.append(engine.ram)
        return engine, engine.ram

    yield make
    for tier in tiers:
        tier.close()


def held_by(model: Any, prompt: Any) -> int:
    engine = ActivationEngine(model)
    engine.precompute(prompt)
    return engine.stats()[1].bytes


def alone(engine: ActivationEngine, prompt: Any) -> torch.Tensor:
    return logits(ActivationEngine(engine.model), prompt)[0]


def filled(engine: ActivationEngine, ram: RamTier) -> None:
    """All but the last prompt, or so, had to leave the tree."""
    for prompt in ASKED:
        engine.precompute(prompt)
        ram.flush()  # what is evicted before it is written stands in no folder
    assert engine.stats()[1].evicted > 0


# It is found --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2"])
def test_what_the_tree_evicts_is_read_from_ram(name: str, dtype: torch.dtype, opened: Any) -> None:
    engine, ram = opened(name, dtype)
    filled(engine, ram)
    assert ram.stats().pieces > 0
    for prompt in ASKED:
        hit, cached = logits(engine, prompt)
        assert cached == prompt.ends[-2] and torch.equal(hit, alone(engine, prompt))
    assert ram.stats().hits > 0


def test_it_is_asked_before_the_folder(opened: Any, tmp_path: Path) -> None:
    folder = FolderTier(tmp_path)
    engine, ram = opened(tier=folder)
    filled(engine, ram)
    assert len(folder.catalogue) == sum(len(prompt.ends) - 1 for prompt in ASKED)
    folder.catalogue.clear()
    for prompt in ASKED:
        hit, cached = logits(engine, prompt)
        assert cached == prompt.ends[-2] and torch.equal(hit, alone(engine, prompt))


def test_what_is_not_there_is_read_from_the_folder(opened: Any, tmp_path: Path) -> None:
    engine, ram = opened(tier=FolderTier(tmp_path), ram_budget=1)
    filled(engine, ram)
    assert ram.stats().pieces == 0 < ram.stats().left_out
    for prompt in ASKED:
        hit, cached = logits(engine, prompt)
        assert cached == prompt.ends[-2] and torch.equal(hit, alone(engine, prompt))


def test_a_piece_of_the_folder_is_no_file_here(opened: Any, tmp_path: Path) -> None:
    first = FolderTier(tmp_path)
    for prompt in ASKED:
        ActivationEngine(model_of("gemma3"), tier=first).precompute(prompt)
    first.close()
    engine, ram = opened("gemma3", tier=FolderTier(tmp_path))
    for prompt in ASKED:
        assert engine.cached(prompt) == prompt.ends[-2]
    ram.flush()
    assert {type(kept.piece) for kept in ram._kept.values()} == {Piece}
    for path in files(tmp_path):
        path.write_bytes(b"something else")
    found = 0
    for prompt in ASKED[:2]:  # the tree has the last ones
        hit, cached = logits(engine, prompt)
        assert cached == prompt.ends[-2] and torch.equal(hit, alone(engine, prompt))
        found += cached
    assert found > 0 and ram.stats().hits > 0


def test_rounded_pieces_keep_their_mark(opened: Any, tmp_path: Path) -> None:
    """Those that were computed here are exact, those that were read from the folder are not."""
    writes, ram = opened(tier=FolderTier(tmp_path, dtype="int8"))
    filled(writes, ram)
    for prompt in ASKED:
        usage = Usage()
        writes.tree.release(writes.prefill(prompt, usage).lease)
        assert usage.cached_tokens == prompt.ends[-2] and usage.approximate_tokens == 0
    assert ram.stats().hits > 0
    reads, ram = opened(tier=FolderTier(tmp_path, dtype="int8"))
    rounded = [logits(reads, prompt)[0] for prompt in ASKED]
    ram.flush()
    for path in files(tmp_path):
        path.unlink()
    before = ram.stats().hits
    for prompt, right in zip(ASKED[:4], rounded, strict=False):
        usage = Usage()
        read = reads.prefill(prompt, usage)
        reads.tree.release(read.lease)
        assert usage.approximate_tokens == usage.cached_tokens == prompt.ends[-2]
        assert torch.equal(read.logits, right)
        assert not torch.equal(read.logits, alone(reads, prompt))
    assert ram.stats().hits > before


# It stays within its budget -----------------------------------------------------------------


def test_the_budget_holds(opened: Any) -> None:
    engine, ram = opened(ram_budget=300_000)
    for seed in range(30):
        engine.precompute(prompt_of(seed))
        stats = ram.stats()
        assert stats.bytes <= 300_000
        assert stats.bytes == sum(kept.piece.nbytes for kept in ram._kept.values())
    assert ram.stats().pieces > 1 and ram.stats().evicted > 0


# What must go ------------------------------------------------------------------------------


def test_a_forgotten_memory_goes(opened: Any, tmp_path: Path) -> None:
    engine, ram = opened(tier=FolderTier(tmp_path))
    filled(engine, ram)
    gone = {span.source for prompt in ASKED[:2] for span in prompt.spans}
    assert gone & ram.sources()
    assert engine.drop_cubes([source.cube_id for source in gone]) > 0
    assert not gone & ram.sources() and ram.sources()
    for prompt in ASKED[:2]:
        answer, cached = logits(engine, prompt)
        assert cached == 0 and torch.equal(answer, alone(engine, prompt))


def test_a_forbidden_memory_is_neither_served_nor_kept(opened: Any) -> None:
    forbidden: set[Source] = set()

    def gate(asked: Collection[Source]) -> Collection[Source]:
        return forbidden & set(asked)

    engine, ram = opened(gate=gate)
    filled(engine, ram)
    gone = ASKED[0].spans[0].source
    assert gone in ram.sources()
    forbidden.add(gone)
    answer, cached = logits(engine, ASKED[0])
    assert cached == 0 and torch.equal(answer, alone(engine, ASKED[0]))
    assert gone not in ram.sources() and ram.sources()
    ram.flush()
    assert gone not in ram.sources()


def test_clear_forgets_what_is_in_ram(opened: Any) -> None:
    engine, ram = opened()
    filled(engine, ram)
    engine.clear()
    assert (ram.stats().pieces, ram.stats().bytes) == (0, 0)
    assert all(engine.cached(prompt) == 0 for prompt in ASKED)


def test_what_is_damaged_below_goes(opened: Any, tmp_path: Path) -> None:
    """Found when the tree evicts it: all of it is read then."""
    folder, prompt = FolderTier(tmp_path), ASKED[0]
    ActivationEngine(model_of("llama"), tier=folder).precompute(prompt)
    folder.flush()
    engine, ram = opened(tier=folder)
    assert engine.cached(prompt) == prompt.ends[-2]
    for path in files(tmp_path):
        flip(path)
    with pytest.warns(KVCacheWarning, match="not what was written"):
        for other in ASKED[1:]:
            engine.precompute(other)
        ram.flush()
    assert folder.damaged > 0
    assert not {span.source for span in prompt.spans} & ram.sources()
    answer, cached = logits(engine, prompt)
    assert cached == 0 and torch.equal(answer, alone(engine, prompt))


def test_twenty_at_a_time_while_memories_go(opened: Any, tmp_path: Path) -> None:
    engine, ram = opened(ram_budget=200_000, tier=FolderTier(tmp_path))
    right = {prompt: alone(engine, prompt) for prompt in ASKED}
    gone = [span.source.cube_id for prompt in ASKED[3:] for span in prompt.spans]

    def ask(turn: int) -> bool:
        prompt = random.Random(turn).choice(ASKED)
        if turn % 10 == 9:
            engine.drop_cubes([gone[turn % len(gone)]])
        return torch.equal(logits(engine, prompt)[0], right[prompt])

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(80)))
    engine.drop_cubes(gone)
    ram.flush()
    assert not set(gone) & {source.cube_id for source in ram.sources()}
    stats = ram.stats()
    assert stats.hits > 0
    assert stats.bytes == sum(kept.piece.nbytes for kept in ram._kept.values()) <= 200_000


# For whom it is -----------------------------------------------------------------------------


FACTS = [f"fact {i} of a memory that is long enough to be a piece of its own" for i in range(3)]


@pytest.mark.parametrize("remote", [False, True], ids=["folder", "elsewhere"])
def test_a_chat_says_what_is_there_and_an_erasure_takes_it(remote: bool, tmp_path: Path) -> None:
    with MemOS.open(tmp_path / "store", embedder=WordEmbedder()) as memory:
        ann = memory.session("ann")
        cubes = ann.add(FACTS)
        ann.record_uses(cubes, prompt="asked")
        elsewhere = {"remote": tmp_path / "there"} if remote else {}
        chat = LocalChat(memory, MODEL, budget=60_000, ram_budget=MUCH, **elsewhere)
        orders = [cubes, cubes[::-1], [cubes[1], cubes[0], cubes[2]]]
        prompts = [chat.read(f"{block(some)}\nQuestion") for some in orders]
        for prompt in prompts:
            chat.engine.precompute(prompt)
        chat.engine.tier.flush()  # type: ignore[union-attr]
        ram, stats = chat.engine.ram, chat.stats()
        assert ram is not None and stats["ram_pieces"] > 0
        assert stats["ram_bytes"] == ram.stats().bytes > 0
        assert ("remote" in stats) is remote
        assert cubes[0].id in {source.cube_id for source in ram.sources()}
        assert ann.forget(cubes[0].id).finished
        assert cubes[0].id not in {source.cube_id for source in ram.sources()}
        for prompt in prompts:
            read = chat.engine.prefill(prompt)
            chat.engine.tree.release(read.lease)
            assert cubes[0].id not in {s.cube_id for node in read.lease.nodes for s in node.sources}
        chat.close()
        assert "ram_pieces" not in LocalChat(None, MODEL).stats()


def test_a_revoked_grant_ends_reuse_at_once(tmp_path: Path) -> None:
    with MemOS.open(tmp_path / "store", embedder=WordEmbedder()) as memory:
        memory.govern("root", homes=[("acme", "{principal}")])
        alice = memory.session("alice", namespace=("acme", "alice"))
        bob = memory.session("bob", namespace=("acme", "alice"))
        cubes = alice.add(FACTS)
        grant = alice.grant("bob", "read")
        bob.record_uses(cubes, prompt="asked")
        chat = LocalChat(bob, MODEL, budget=60_000, ram_budget=MUCH)
        first, other = (chat.read(f"{block(some)}\nQuestion") for some in (cubes, cubes[::-1]))
        for prompt in (first, other):
            chat.engine.precompute(prompt)
        chat.engine.tier.flush()  # type: ignore[union-attr]
        memory.pieces.clear()
        ram = chat.engine.ram
        assert ram is not None and ram.sources()
        assert chat.engine.cached(first) == first.ends[-2] and ram.stats().hits > 0
        alice.revoke(grant)
        assert chat.engine.cached(first) == chat.engine.cached(other) == 0
        assert not ram.sources() and chat.engine.stats()[1].nodes == 0
        chat.close()
