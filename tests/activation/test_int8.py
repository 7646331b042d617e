"""Pieces kept in eight bits: near the exact ones, never taken for them, and always said so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memos_integrations import MemOS
from memos_integrations.errors import InvalidInputError, KVCacheWarning
from memos_integrations.langchain import ChatMemOS
from memos_integrations.llama_index import MemOSLLM
from memos_integrations.local_chat import LocalChat
from memos_integrations.memories.activation.catalogue import Catalogue
from memos_integrations.memories.activation.composed import Composer
from memos_integrations.memories.activation.engine import ActivationEngine, Usage
from memos_integrations.memories.activation.piece_files import PieceOnDisk
from memos_integrations.memories.activation.quantised import (
    BLOCK,
    can_be_quantised,
    quantise,
    restore,
)
from memos_integrations.memories.activation.tensors import Piece
from memos_integrations.memories.activation.tiers import FolderTier
from memos_integrations.memories.block import block
from memos_integrations.models.causal import CausalModel
from memos_integrations.testing import WordEmbedder
from tests.activation import test_composed
from tests.activation.test_invalidation import MODEL
from tests.activation.tiny import build, logits, prompt_of

PROMPT = prompt_of(1, length=300)


@pytest.fixture(scope="module")
def model() -> CausalModel:
    return build("gemma3")


@pytest.fixture
def tier(tmp_path: Path) -> Iterator[FolderTier]:
    opened = FolderTier(tmp_path, dtype="int8")
    yield opened
    opened.close()


@given(
    tokens=st.integers(1, 3 * BLOCK),
    seed=st.integers(0, 1_000),
    size=st.sampled_from([1e-30, 1e-3, 1.0, 1e4]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
def test_each_number_is_half_a_step_away(
    tokens: int, seed: int, size: float, dtype: torch.dtype
) -> None:
    dice = torch.Generator().manual_seed(seed)
    channels = torch.rand(8, generator=dice) * size  # some are much larger than others
    pair = tuple((torch.randn(1, 2, tokens, 8, generator=dice) * channels).to(dtype) for _ in "kv")
    kept = quantise((pair[0], pair[1]))
    assert kept.keys.dtype == kept.values.dtype == torch.int8
    keys, values = restore(kept, dtype)
    assert keys.dtype == dtype and keys.shape == values.shape == pair[0].shape
    rounding, least = 2 * torch.finfo(dtype).eps, 2 * torch.finfo(dtype).smallest_normal
    for at in range(0, tokens, BLOCK):
        one = pair[0][..., at : at + BLOCK, :].float()
        largest = one.abs().amax(-2, keepdim=True)
        off = (keys[..., at : at + BLOCK, :].float() - one).abs()
        assert (off <= largest / 254 * 1.001 + rounding * largest + least).all()
    one = pair[1].float()
    largest = one.abs().amax(-1, keepdim=True)
    assert ((values.float() - one).abs() <= largest * (1.001 / 254 + rounding) + least).all()


def test_zeros_stay_zeros() -> None:
    zeros = torch.zeros(1, 2, 70, 8)
    assert all(torch.equal(one, zeros) for one in restore(quantise((zeros, zeros)), zeros.dtype))


def test_near_and_said_so(model: CausalModel, tier: FolderTier) -> None:
    writes = ActivationEngine(model, tier=tier)
    exact, _ = logits(writes, PROMPT)
    again, _ = logits(writes, PROMPT)
    assert torch.equal(exact, again), "memory holds it as computed"
    assert writes.stats()[0].approximate_requests == 0
    tier.flush()
    reads = ActivationEngine(model, tier=tier)
    usage = Usage()
    read = reads.prefill(PROMPT, usage)
    reads.tree.release(read.lease)
    assert usage.approximate_tokens == usage.cached_tokens == PROMPT.ends[-2]
    assert not torch.equal(read.logits, exact)
    spread = float(exact.max() - exact.min())
    assert float((read.logits - exact).abs().max()) < 0.05 * spread
    found = reads.stats()[0].as_dict()
    assert found["approximate_requests"] == 1
    assert found["approximate_tokens"] == PROMPT.ends[-2]
    assert all(node.payload.approximate for node in reads.tree.nodes())


def test_what_is_computed_behind_it_is_approximate_too(
    model: CausalModel, tier: FolderTier
) -> None:
    ActivationEngine(model, tier=tier).precompute(PROMPT)
    tier.flush()
    engine = ActivationEngine(model, tier=tier)
    longer = prompt_of(1, length=700, memories=8)
    assert longer.ends[0] == PROMPT.ends[0]
    usage = Usage()
    engine.tree.release(engine.prefill(longer, usage).lease)
    assert usage.cached_tokens > 0 and usage.kept_tokens > 0
    assert all(node.payload.approximate for node in engine.tree.nodes())
    second = Usage()
    engine.tree.release(engine.prefill(longer, second).lease)
    assert second.approximate_tokens == second.cached_tokens > usage.cached_tokens


def test_exact_and_near_exact_in_one_folder(model: CausalModel, tmp_path: Path) -> None:
    """Neither answers for the other, while open and after a restart."""
    catalogue = Catalogue(tmp_path)
    kinds = (FolderTier(catalogue), FolderTier(catalogue, dtype="int8"))
    for kind in kinds:
        engine = ActivationEngine(model, tier=kind)
        assert logits(engine, PROMPT)[1] == 0
        kind.flush()
    names = catalogue.digests()
    for kind in kinds:
        kind.close()
    reopened = Catalogue(tmp_path)
    assert reopened.digests() == names and len(names) == 2 * (len(PROMPT.ends) - 1)
    right, _ = logits(ActivationEngine(model), PROMPT)
    for dtype in (None, "int8"):
        again = FolderTier(reopened, dtype=dtype)  # type: ignore[arg-type]
        got, cached = logits(ActivationEngine(model, tier=again), PROMPT)
        assert cached == PROMPT.ends[-2]
        assert torch.equal(got, right) is (dtype is None)
        again.close()


def test_a_file_of_the_other_kind_under_this_name(model: CausalModel, tmp_path: Path) -> None:
    """Even then it is a miss."""
    for dtype, other in ((None, "int8"), ("int8", None)):
        folder = tmp_path / str(dtype)
        tier = FolderTier(folder, dtype=dtype)  # type: ignore[arg-type]
        ActivationEngine(model, tier=tier).precompute(PROMPT)
        tier.close()
        fooled = FolderTier(folder, dtype=other)  # type: ignore[arg-type]
        tokens = PROMPT.pieces()[0]
        for digest in fooled.catalogue.digests():
            assert fooled.load(digest, tokens) is None
        fooled.close()


def test_it_takes_a_quarter(model: CausalModel, tmp_path: Path) -> None:
    wide = build("llama")
    sizes = {}
    for dtype in (None, "int8"):
        tier = FolderTier(tmp_path / str(dtype), dtype=dtype)  # type: ignore[arg-type]
        ActivationEngine(wide, tier=tier).precompute(prompt_of(2, length=1_900, memories=0))
        ActivationEngine(wide, tier=tier).precompute(PROMPT)
        tier.flush()
        entries = [tier.catalogue.touch(one) for one in tier.catalogue.digests()]
        kinds = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I8": 1}
        sizes[dtype] = sum(
            kinds[kind] * torch.Size(shape).numel()
            for entry in entries
            if entry is not None
            for kind, shape, _ in entry.tensors.values()
        )
        tier.close()
    assert sizes["int8"] < 0.45 * sizes[None], "heads of 8 channels; 256 take a quarter"


def test_what_is_no_plain_layer_is_kept_as_it_is(tmp_path: Path) -> None:
    state = torch.randn(1, 4, 8)
    infinite = torch.full((1, 2, 5, 8), float("inf"))
    whole = torch.zeros(1, 2, 5, 8, dtype=torch.int64)
    assert not can_be_quantised((state, state))
    assert not can_be_quantised((infinite, infinite))
    assert not can_be_quantised((whole, whole))
    from memos_integrations.memories.activation.prefix_tree import Node

    plain = torch.randn(1, 2, 5, 8)
    piece = Piece([(plain, plain), None, (infinite, plain)])
    tier = FolderTier(tmp_path, dtype="int8")
    tokens = (1, 2, 3, 4, 5)
    tier.save(Node("ab" * 32, None, tokens, piece, frozenset(), 5))
    tier.close()
    loaded = FolderTier(tmp_path, dtype="int8")
    found = loaded.load("ab" * 32, tokens)
    assert found is not None and isinstance(found[0], PieceOnDisk)
    back = found[0]
    assert back.approximate and back.nbytes == piece.nbytes
    assert back.layer(1) is None
    rounded, kept = back.layer(0), back.layer(2)
    assert rounded is not None and not torch.equal(rounded[0], plain)
    assert kept is not None and torch.equal(kept[0], infinite) and torch.equal(kept[1], plain)
    loaded.close()


def test_a_harmed_file_is_a_miss(model: CausalModel, tier: FolderTier) -> None:
    right, _ = logits(ActivationEngine(model, tier=tier), PROMPT)
    tier.flush()
    for path in tier.catalogue.folder.glob("??/*"):
        content = bytearray(path.read_bytes())
        content[-200] ^= 1
        path.write_bytes(content)
    with pytest.warns(KVCacheWarning, match="not what was written"):
        again, cached = logits(ActivationEngine(model, tier=tier), PROMPT)
    assert cached == 0 and torch.equal(again, right) and tier.damaged == 1


def test_composed_prompts_say_it_too(tmp_path: Path) -> None:
    model, prompt = test_composed.model("llama"), test_composed.prompt_of()
    tier = FolderTier(tmp_path, dtype="int8")
    Composer(ActivationEngine(model, tier=tier)).prefill(prompt)
    tier.flush()
    usage = Usage()
    Composer(ActivationEngine(model, tier=tier)).prefill(prompt, usage)
    assert usage.approximate_tokens > 0
    tier.close()


def test_switched_on_in_one_argument(tmp_path: Path) -> None:
    with MemOS.open(tmp_path, embedder=WordEmbedder()) as memory:
        ann = memory.session("ann")
        cubes = ann.add([f"fact {i} of a memory that is long enough for a piece" for i in range(3)])
        ann.record_uses(cubes, prompt="asked")
        asked = f"{block(cubes)}\nQuestion"
        for _ in range(2):  # the second reads what the first wrote
            chat = LocalChat(memory, MODEL, disk_dtype="int8")
            answer = chat.answer(chat.read(asked))
            chat.close()
        assert answer.usage.approximate_tokens == answer.usage.cached_tokens > 0
        assert chat.stats()["approximate_requests"] == 1
        ann.delete(cubes[0].id)
        assert cubes[0].id not in {source.cube_id for source in memory.pieces.sources()}


@pytest.mark.parametrize("kind", [ChatMemOS, MemOSLLM])
def test_both_frameworks_take_it(kind: Any, tmp_path: Path) -> None:
    with MemOS.open(tmp_path, embedder=WordEmbedder()) as memory:
        ann = memory.session("ann")
        cubes = ann.add([f"fact {i} of a memory that is long enough for a piece" for i in range(3)])
        ann.record_uses(cubes, prompt="asked")
        said = []
        for _ in range(2):  # the second reads what the first wrote
            model = kind(ann, MODEL, disk_dtype="int8", max_tokens=4)
            if kind is ChatMemOS:
                about = model.invoke(f"{block(cubes)}\nQuestion").response_metadata
            else:
                about = model.complete(f"{block(cubes)}\nQuestion").raw
            said.append(about["approximate_tokens"])
            model.local.close()
        assert said[0] == 0 < said[1]
        assert memory.pieces.rounded == len(memory.pieces) > 0
        with pytest.raises(InvalidInputError, match="LocalChat"):
            kind(ann, disk_dtype="int8", chat=model.local)
    with pytest.raises(InvalidInputError, match="no memory"):
        kind(None, MODEL, disk_dtype="int8")


def test_another_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="give 'int8'"):
        FolderTier(tmp_path, dtype="int4")  # type: ignore[arg-type]
