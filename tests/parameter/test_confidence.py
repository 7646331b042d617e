"""How surely an adapter says what it was taught: it is the adapter that is asked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from memos_integrations import MemCube, MemorySession, MemOS
from memos_integrations.memories.parameter import storage, views
from memos_integrations.memories.parameter.distilling import Distillation
from memos_integrations.memories.parameter.lora import LoraShape
from memos_integrations.memories.parameter.probing import examine
from memos_integrations.memories.parameter.reading import Mind
from memos_integrations.memories.parameter.targets import student_text
from memos_integrations.memories.parameter.texts import course
from memos_integrations.models.causal import CausalModel
from memos_integrations.testing import WordEmbedder

sys.path.insert(0, str(Path(__file__).parent))
from measures import LORA, PREFIX
from words import FACTS, build


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def maya(tmp_path: Path) -> Iterator[MemorySession]:
    with MemOS.open(tmp_path / "store", embedder=WordEmbedder()) as store:
        yield store.session("maya")


def surely(model: CausalModel, mind: Mind, cube: MemCube) -> float:
    """How likely a mind finds the answer that a memory gives."""
    return examine(mind, lambda one: student_text(model, one), course([cube]).probes).probability


def mind_of(model: CausalModel, content: bytes) -> Mind:
    """A model with an adapter, put together by hand."""
    adapter = storage.from_bytes(content, model)
    if adapter.manifest.kind == "prefix":
        one = adapter.tensors
        return Mind(model, [(one[f"k{i}"], one[f"v{i}"]) for i in range(len(one) // 2)])
    shape = LoraShape(rank=adapter.manifest.rank, alpha=adapter.manifest.alpha)
    seen = views.view(model)
    views.put(seen, "by hand", adapter.tensors, shape)
    return Mind(seen)


@pytest.mark.parametrize("how", [LORA, PREFIX], ids=["lora", "prefix"])
def test_the_confidence_is_that_of_the_adapter(maya: MemorySession, how: Distillation) -> None:
    model, facts = build(), maya.add(list(FACTS))
    cube = maya.distill(facts, model=model, how=how)
    mind = mind_of(model, maya._vault.blobs.get(cube.payload.blob))  # type: ignore[union-attr]
    told = maya.externalise(cube.id, model=model)
    assert [one.source.cube_id for one in told] == [one.id for one in facts]
    for one, fact in zip(told, facts, strict=True):
        bare = surely(model, Mind(model), fact)
        assert one.confidence == pytest.approx(surely(model, mind, fact), rel=1e-5)
        assert one.confidence != pytest.approx(bare, rel=0.02)
    assert sum(one.confidence for one in told) > sum(
        surely(model, Mind(model), fact) for fact in facts
    )


def test_each_adapter_is_asked_for_itself(maya: MemorySession) -> None:
    """Of two adapters that know the same memory each has its own confidence."""
    model, facts = build(), maya.add(list(FACTS[:2]))
    cubes = [maya.distill(facts, model=model, how=how) for how in (LORA, PREFIX)]
    told = [[one.confidence for one in maya.externalise(c.id, model=model)] for c in cubes]
    assert told[0] != pytest.approx(told[1], rel=0.02)
    again = [one.confidence for one in maya.externalise(cubes[0].id, model=model)]
    assert again == told[0], "and what was asked between leaves no trace"


def test_of_what_no_question_can_be_made_there_is_no_confidence(maya: MemorySession) -> None:
    model, facts = build(), maya.add([FACTS[0], "Oh!"])
    cube = maya.distill(facts, model=model, how=LORA)
    told = {one.text: one.confidence for one in maya.externalise(cube.id, model=model)}
    assert told["Oh!"] == 0.0 < told[FACTS[0]]
