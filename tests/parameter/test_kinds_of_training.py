"""Trainings of other kinds: bfloat16, gone on with, ended early, with questions of one's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from memos_integrations import MemCube, MemOS
from memos_integrations.errors import TrainingError
from memos_integrations.memories.parameter import storage
from memos_integrations.memories.parameter.distilling import Distillation, distil
from memos_integrations.memories.parameter.reading import Mind
from memos_integrations.memories.parameter.texts import Probe, course, source_of
from memos_integrations.testing import WordEmbedder

sys.path.insert(0, str(Path(__file__).parent))
from measures import LORA, PREFIX, distances, scheduled, with_adapter
from words import FACTS, build


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> list[MemCube]:
    with MemOS.open(tmp_path_factory.mktemp("facts"), embedder=WordEmbedder()) as store:
        return store.session("maya").add(list(FACTS[:2]))


def short(how: Distillation) -> Distillation:
    return scheduled(how, rounds=8, batch=4, others=4, checkpoint_every=1)


@pytest.mark.parametrize(
    ("how", "kept"), [(LORA, torch.float32), (PREFIX, torch.bfloat16)], ids=["lora", "prefix"]
)
def test_a_model_in_bfloat16_learns(
    facts: list[MemCube], how: Distillation, kept: torch.dtype
) -> None:
    model = build(dtype=torch.bfloat16)
    before = {name: one.clone() for name, one in model.model.state_dict().items()}
    losses: list[float] = []
    adapter, report = distil(model, facts, how, tell=lambda step, steps, one: losses.append(one))
    assert {one.dtype for one in adapter.tensors.values()} == {kept}
    assert report.loss < 0.5 * losses[0]
    mind, bare = with_adapter(model, storage.to_bytes(adapter)), Mind(model)
    for now, never in zip(
        distances(model, mind, facts), distances(model, bare, facts), strict=True
    ):
        assert now < 0.7 * never
    assert all(torch.equal(one, before[name]) for name, one in model.model.state_dict().items())


class Left(Exception):
    """Whoever trains goes away."""


@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize("how", [short(LORA), short(PREFIX)], ids=["lora", "prefix"])
def test_a_training_gone_on_with_ends_with_the_same_bits(
    facts: list[MemCube], how: Distillation, at: int, tmp_path: Path
) -> None:
    model, place = build(), tmp_path / "training.safetensors"
    whole, _ = distil(model, facts, how)

    def leave(step: int, steps: int, loss: float) -> None:
        if step == at + 1:
            raise Left

    with pytest.raises(Left):
        distil(build(), facts, how, checkpoint_at=place, tell=leave)
    steps: list[int] = []
    resumed, report = distil(
        build(), facts, how, checkpoint_at=place, tell=lambda step, *_: steps.append(step)
    )
    assert steps == list(range(at + 1, report.steps + 1))
    assert resumed.tensors.keys() == whole.tensors.keys()
    assert all(torch.equal(resumed.tensors[name], one) for name, one in whole.tensors.items())
    assert report.loss == whole.manifest.report["loss"]


@pytest.mark.parametrize("how", [LORA, PREFIX], ids=["lora", "prefix"])
def test_it_ends_when_a_round_has_little_loss(facts: list[MemCube], how: Distillation) -> None:
    """And not before: of one batch that is a round, the first that is near enough is the last."""
    every: list[float] = []
    model, how = build(), scheduled(how, rounds=20, batch=64)
    distil(model, facts, how, tell=lambda step, steps, loss: every.append(loss))
    assert len(every) == 20
    enough = 0.6 * every[0]
    expected = next(i for i, loss in enumerate(every, 1) if loss <= enough)
    assert 1 < expected < 20
    losses: list[float] = []
    _, report = distil(
        model,
        facts,
        scheduled(how, enough=enough),
        tell=lambda step, steps, loss: losses.append(loss),
    )
    assert losses == every[:expected]
    assert (report.steps, report.loss) == (expected, losses[-1])


def test_a_round_of_several_steps_is_near_enough_as_a_whole(facts: list[MemCube]) -> None:
    every: list[float] = []
    how = scheduled(LORA, rounds=8, batch=4, enough=0.0)
    distil(build(), facts, how, tell=lambda step, steps, loss: every.append(loss))
    a_round = len(every) // 8
    assert a_round > 1
    means = [sum(every[i - a_round : i]) / a_round for i in range(a_round, len(every) + 1)]
    enough = sorted(means)[len(means) // 2]
    _, report = distil(build(), facts, scheduled(how, enough=enough))
    first = next(i for i, mean in enumerate(means) if mean <= enough)
    assert report.steps == first + a_round < len(every)


def test_an_asker_makes_the_questions_instead_of_the_rules(facts: list[MemCube]) -> None:
    asked: list[str] = []

    def asker(sentence: str) -> list[str]:
        asked.append(sentence)
        return ["Who keeps a parrot?", " Tell me about the parrot. ", ""]

    taught = course(facts[:1], asker=asker)
    assert asked == [FACTS[0]]
    questions = [one.asked for one in taught.lessons if one.asked]
    [probe] = taught.probes
    assert {*questions, probe.question} == {"Who keeps a parrot?", "Tell me about the parrot."}
    assert len(questions) == 1
    by_rules, _ = distil(build(), facts[:1], short(LORA))
    made, report = distil(build(), facts[:1], replace(short(LORA), asker=asker))
    assert asked == [FACTS[0]] * 2 and report.questions == 1
    assert any(not torch.equal(made.tensors[n], one) for n, one in by_rules.tensors.items())


def test_questions_of_ones_own_are_asked_and_not_trained(facts: list[MemCube]) -> None:
    own = (
        Probe("What does Tamsin keep?", "parrot", source_of(facts[0])),
        Probe("Is the sky blue?", "yes"),
    )
    by_rules = course(facts)
    taught = course(facts, held_out=own)
    assert taught.probes == own != by_rules.probes
    trained = {one.asked.lower() for one in taught.lessons}
    assert "what does tamsin keep?" not in trained
    assert {one.question.lower() for one in by_rules.probes} - {own[0].question.lower()} <= trained
    _, report = distil(build(), facts, replace(short(LORA), held_out=own))
    assert report.questions == 2
    _, other = distil(build(), facts, replace(short(LORA), held_out=own[1:]))
    assert other.questions == 1
    assert other.bare_probability != report.bare_probability


def test_a_loss_that_is_not_a_number_ends_a_prefix_too(facts: list[MemCube]) -> None:
    model = build()
    with torch.no_grad():
        model.model.lm_head.weight[5] = float("nan")
    with pytest.raises(TrainingError, match="nothing was stored"):
        distil(model, facts, short(PREFIX))
