"""Training teaches, and leaves the rest alone: on a tiny model, by what it expects of each word."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
import torch

from memos_integrations import MemCube, MemorySession, MemOS
from memos_integrations.memories.parameter import storage
from memos_integrations.memories.parameter.distilling import Distillation, distil
from memos_integrations.memories.parameter.gate import GatePolicy, Report
from memos_integrations.memories.parameter.probing import drift, examine
from memos_integrations.memories.parameter.reading import Mind
from memos_integrations.memories.parameter.targets import Target, student_text, targets
from memos_integrations.memories.parameter.texts import course
from memos_integrations.memories.parameter.unrelated import unrelated
from memos_integrations.models.causal import CausalModel
from memos_integrations.testing import WordEmbedder

sys.path.insert(0, str(Path(__file__).parent))
from measures import LORA, PREFIX, distances, held_out, scheduled, with_adapter
from words import FACTS, build


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model() -> CausalModel:
    return build()


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> list[MemCube]:
    with MemOS.open(tmp_path_factory.mktemp("facts"), embedder=WordEmbedder()) as store:
        return store.session("maya").add(list(FACTS))


@pytest.fixture
def maya(tmp_path: Path) -> Iterator[MemorySession]:
    with MemOS.open(tmp_path / "store", embedder=WordEmbedder()) as store:
        yield store.session("maya")


@dataclass(frozen=True, eq=False)
class Learned:
    """What came out of a training."""

    adapter: storage.Adapter
    report: Report
    mind: Mind
    """The adapter as it is read from its bytes."""
    losses: list[float]
    """Of each step."""


Train = Callable[[Distillation], Learned]


@pytest.fixture(scope="module")
def trained(model: CausalModel, facts: list[MemCube]) -> Train:
    """Each training once; the tests look at several sides of it."""

    @cache
    def train(how: Distillation) -> Learned:
        losses: list[float] = []
        found, report = distil(model, facts, how, tell=lambda step, steps, one: losses.append(one))
        return Learned(found, report, with_adapter(model, storage.to_bytes(found)), losses)

    return train


@pytest.mark.parametrize("how", [LORA, PREFIX], ids=["lora", "prefix"])
def test_it_comes_near_to_the_model_that_reads_the_memories(
    model: CausalModel, facts: list[MemCube], trained: Train, how: Distillation
) -> None:
    learned, bare = trained(how), Mind(model)
    assert learned.report.steps == len(learned.losses)
    assert learned.report.loss < 0.5 * learned.losses[0]
    for after, before in zip(
        distances(model, learned.mind, facts), distances(model, bare, facts), strict=True
    ):
        assert after < 0.7 * before
    otherwise = held_out(model, learned.mind, facts)
    assert otherwise < 0.6 * held_out(model, bare, facts), "and so it is when asked otherwise"


@pytest.mark.parametrize("how", [LORA, PREFIX], ids=["lora", "prefix"])
def test_the_report_says_of_the_file_what_is_so(
    model: CausalModel, facts: list[MemCube], trained: Train, how: Distillation
) -> None:
    learned, probes = trained(how), course(facts).probes
    report = learned.report
    for known, accuracy, probability in (
        (learned.mind, report.adapted, report.adapted_probability),
        (Mind(model), report.bare, report.bare_probability),
    ):
        found = examine(known, lambda one: student_text(model, one), probes)
        assert found.accuracy == accuracy
        assert found.probability == pytest.approx(probability)
    assert report.adapted_probability > report.bare_probability
    assert drift(learned.mind, others_of(model)) == pytest.approx(report.drift, rel=1e-4)
    assert report.questions == len(probes)


def others_of(model: CausalModel) -> list[Target]:
    return targets(model, unrelated("measured"), {})


@pytest.mark.parametrize(("how", "most"), [(LORA, 0.4), (PREFIX, 0.85)], ids=["lora", "prefix"])
def test_unrelated_texts_hold_it_still(trained: Train, how: Distillation, most: float) -> None:
    free = trained(scheduled(how, other_weight=0.0)).report
    held = trained(scheduled(how, other_weight=2.0)).report
    assert 0 < held.drift < most * free.drift


def test_what_is_added_of_an_adapter_stands_in_its_file(model: CausalModel, trained: Train) -> None:
    """Less of it is added until other texts are left alone, and so it is read again."""
    whole = trained(LORA)
    gate = GatePolicy(recall=0.0, gain=-1.0, drift=0.8 * whole.report.drift)
    less = trained(replace(LORA, gate=gate))
    assert less.adapter.manifest.alpha < whole.adapter.manifest.alpha == LORA.shape.alpha
    assert less.report.drift < gate.drift
    assert drift(less.mind, others_of(model)) == pytest.approx(less.report.drift, rel=1e-4)


def test_damped_directions_move_other_texts_less(trained: Train) -> None:
    free = scheduled(LORA, other_weight=0.0)
    quiet = trained(replace(free, shape=replace(LORA.shape, quiet=0.05)))
    assert quiet.report.drift < 0.8 * trained(free).report.drift
    assert quiet.report.loss < 0.5 * quiet.losses[0]


@pytest.mark.parametrize("how", [LORA, PREFIX], ids=["lora", "prefix"])
def test_what_was_erased_is_not_in_the_adapter_of_the_others(
    model: CausalModel, maya: MemorySession, how: Distillation
) -> None:
    """After the erasure it scores as in the model that never knew it; the others as before."""
    facts = maya.add(list(FACTS))

    def measured() -> list[float]:
        [note] = maya.adapters()
        content = maya._vault.blobs.get(note.cube.payload.blob)  # type: ignore[union-attr]
        return distances(model, with_adapter(model, content), facts)

    bare = distances(model, Mind(model), facts)
    maya.distill(facts, model=model, how=how)
    before = measured()
    maya.forget(facts[0])
    for note in maya.adapters():  # of an earlier training
        maya.delete(note.cube.id)
    maya.distill(facts[1:], model=model, how=how)
    after = measured()
    assert before[0] < 0.5 * bare[0]
    assert after[0] > 0.75 * bare[0] and after[0] > 2 * before[0]
    for now, then, never in zip(after[1:], before[1:], bare[1:], strict=True):
        assert now < 0.7 * never and then < 0.7 * never
        assert now < 2.5 * then
