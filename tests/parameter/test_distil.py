"""Distilling on a tiny random model: what is kept, what is refused, what goes again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from memos_integrations import MemOS
from memos_integrations.errors import (
    AdapterCorruptError,
    GateError,
    ReadOnlyMomentError,
    TrainingError,
    WrongModelError,
)
from memos_integrations.memories.parameter import files, storage
from memos_integrations.memories.parameter.active import Weighted, active, attach
from memos_integrations.memories.parameter.distilling import Distillation
from memos_integrations.memories.parameter.gate import GatePolicy
from memos_integrations.memories.parameter.lora import LoraShape
from memos_integrations.memories.parameter.training import Schedule
from memos_integrations.session import MemorySession
from memos_integrations.testing import WordEmbedder

sys.path.insert(0, str(Path(__file__).parent))
from words import FACTS, build

OPEN = GatePolicy(recall=0.0, gain=-1.0, drift=100.0)
HOW = Distillation(
    shape=LoraShape(rank=4, alpha=8),
    schedule=Schedule(rounds=2, batch=4, others=1, sampled=16, checkpoint_every=1, enough=0.0),
    gate=OPEN,
)


@pytest.fixture
def maya(tmp_path: Path) -> MemorySession:
    return MemOS.open(tmp_path / "store", embedder=WordEmbedder()).session("maya")


def test_an_adapter_is_a_memory_with_its_sources(maya: MemorySession) -> None:
    model = build()
    facts = maya.add(list(FACTS))
    cube = maya.distill(facts, model=model, how=HOW)
    assert cube.memory_type == "parameter" and cube.metadata["report"]["refused"] == ""
    [note] = maya.adapters()
    assert note.cube == cube and note.outdated == ()
    assert {one.cube_id for one in note.sources} == {one.id for one in facts}
    assert cube.id not in {hit.cube.id for hit in maya.search("parrot adapter", limit=10)}
    loaded = storage.from_bytes(maya._vault.blobs.get(cube.payload.blob), model)  # type: ignore[union-attr]
    assert loaded.manifest.sources == note.sources


def test_erasing_a_source_drops_the_adapter_and_a_change_makes_it_stale(
    maya: MemorySession,
) -> None:
    model = build()
    facts = maya.add(list(FACTS))
    first = maya.distill(facts, model=model, how=HOW)
    receipt = maya.forget(facts[0])
    assert first.id in receipt.ids and maya.adapters() == []
    assert not maya._vault.blobs.exists(first.payload.blob)  # type: ignore[union-attr]
    again = maya.distill(receipt.kept_sources, model=model, how=HOW)
    maya.update(facts[1].id, "Bramwell studied botany at four.")
    assert [one.cube_id for one in maya.adapters()[0].outdated] == [facts[1].id]
    fresh = maya.retrain(again.id, model=model, how=HOW)
    assert [note.cube.id for note in maya.adapters()] == [fresh.id]
    assert maya.adapters()[0].outdated == ()


def test_what_does_not_pass_is_not_stored(maya: MemorySession, tmp_path: Path) -> None:
    facts = maya.add(list(FACTS))
    strict = Distillation(shape=HOW.shape, schedule=HOW.schedule, gate=GatePolicy(gain=2.0))
    with pytest.raises(GateError, match="bare model") as caught:
        maya.distill(facts, model=build(), how=strict)
    assert caught.value.report.questions > 0  # type: ignore[attr-defined]
    broken = build()
    with torch.no_grad():
        broken.model.lm_head.weight[5] = float("nan")
    with pytest.raises(TrainingError, match="nothing was stored"):
        maya.distill(facts, model=broken, how=HOW)
    assert maya.adapters() == [] and not list((tmp_path / "store" / "blobs").rglob("?" * 64))
    with pytest.raises(ReadOnlyMomentError):
        maya.as_of(maya.log()[-1].at).distill(facts, model=build())


def test_wrong_model_and_damaged_file(maya: MemorySession) -> None:
    model = build()
    cube = maya.distill(maya.add(list(FACTS)), model=model, how=HOW)
    content = maya._vault.blobs.get(cube.payload.blob)  # type: ignore[union-attr]
    with pytest.raises(WrongModelError, match="weights"):
        storage.from_bytes(content, build(seed=8))
    for at in (3, 40, len(content) // 2, len(content) - 1):
        spoilt = bytearray(content)
        spoilt[at] ^= 0xFF
        with pytest.raises(AdapterCorruptError):
            storage.from_bytes(bytes(spoilt), model)
    with pytest.raises(AdapterCorruptError):
        storage.from_bytes(content[:-10], model)
    other = files.packed({"x": torch.zeros(1)}, {"format": "other"})
    with pytest.raises(AdapterCorruptError):
        storage.from_bytes(other, model)


class Killed(BaseException):
    """Stands for the process being killed."""


def test_a_killed_training_goes_on_and_ends_the_same(maya: MemorySession, tmp_path: Path) -> None:
    model, facts = build(), maya.add(list(FACTS))
    place = tmp_path / "training.safetensors"

    def kill(step: int, steps: int, loss: float) -> None:
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        maya.distill(facts, model=model, how=HOW, checkpoint=place, progress=kill)
    assert place.exists() and maya.adapters() == []
    steps: list[int] = []
    resumed = maya.distill(
        facts, model=model, how=HOW, checkpoint=place, progress=lambda step, *_: steps.append(step)
    )
    assert steps[0] == 3 and not place.exists()
    whole = maya.distill(facts, model=model, how=HOW)

    def weights(cube: object) -> dict[str, torch.Tensor]:
        blob = cube.payload.blob  # type: ignore[attr-defined]
        return storage.from_bytes(maya._vault.blobs.get(blob), model).tensors

    one, other = weights(resumed), weights(whole)
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_two_threads_with_two_adapters_get_the_bits_that_each_gets_alone() -> None:
    from concurrent.futures import ThreadPoolExecutor

    model = build()
    attach(model.model)
    ids = torch.tensor([[1, 5, 9, 11]])
    names = [n for n, m in model.model.named_modules() if n.endswith("q_proj")]
    dice = torch.Generator().manual_seed(1)

    def adapter() -> Weighted:
        pairs = {
            name: (torch.randn(4, 32, generator=dice), torch.randn(32, 4, generator=dice))
            for name in names
        }
        return Weighted(pairs, 0.5)

    def read(one: list[Weighted]) -> torch.Tensor:
        with torch.inference_mode(), active(one):
            return model.model(ids).logits

    sets = [[adapter()], [adapter()], []]
    sets.append(sets[0] + sets[1])
    alone = [read(one) for one in sets]
    assert not torch.equal(alone[0], alone[1])
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            for found, expected in zip(pool.map(read, sets), alone, strict=True):
                assert torch.equal(found, expected)
