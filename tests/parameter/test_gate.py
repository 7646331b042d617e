"""The examination: what is right, how far is far, and who is kept."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from memos_integrations.memories.parameter.gate import (
    SCALES,
    Examination,
    GatePolicy,
    settle,
    why_not,
)
from memos_integrations.memories.parameter.lora import LoraShape, fresh
from memos_integrations.memories.parameter.probing import drift, is_right
from memos_integrations.memories.parameter.reading import Mind, Read
from memos_integrations.memories.parameter.students import LoraStudent
from memos_integrations.memories.parameter.targets import KEPT, Target, divergence, targets
from memos_integrations.memories.parameter.unrelated import Part, unrelated
from memos_integrations.models.causal import CausalModel

sys.path.insert(0, str(Path(__file__).parent))
from words import build

PARTS: tuple[Part, ...] = ("trained", "tuned", "measured")
POLICY = GatePolicy(recall=0.7, gain=0.1, drift=0.05)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("bare", "taught", "own", "moved"),
    [
        (0.0, 1.0, 1.0, 0.0),
        (0.0, 1.0, 0.7, 0.05),  # just so much
        (0.5, 0.5, 0.6, 0.01),  # as good as the prompt is not asked for, better than bare is
        (0.1, 0.0, 0.2, 0.0),
    ],
)
def test_what_passes(bare: float, taught: float, own: float, moved: float) -> None:
    assert why_not(bare, taught, own, moved, POLICY) == ""


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        ((0.0, 1.0, 0.69, 0.0), r"answers 69% .* prompt 100%: below 70% of that"),
        ((0.0, 0.8, 0.55, 0.0), r"answers 55% .* prompt 80%: below 70%"),
        ((0.5, 0.8, 0.59, 0.0), r"answers 59% of the held-out questions, the bare model 50%"),
        ((1.0, 1.0, 1.0, 0.0), r"the bare model 100%"),
        ((0.0, 1.0, 1.0, 0.051), r"moved 0\.051 nats .* 0\.050 are allowed"),
        ((0.0, 1.0, 1.0, math.inf), r"moved inf nats"),
        ((0.0, 1.0, 1.0, math.nan), r"moved nan nats"),
    ],
)
def test_what_is_refused_and_why(figures: tuple[float, float, float, float], reason: str) -> None:
    found = why_not(*figures, POLICY)
    assert re.search(reason, found), found


@pytest.mark.parametrize(
    ("answer", "said", "right"),
    [
        ("Bramwell", "Bramwell", True),
        ("Bramwell", "It is bramwell.", True),
        ("four o'clock", "At four o'clock, I think", True),
        ("a red tram", "A red, tram!", True),
        ("red tram", "a tram, and it is red", False),  # another order
        ("red tram", "a red old tram", False),  # something between
        ("tram", "trams", False),  # a part of a word
        ("four", "", False),
        ("four five", "four", False),
        ("14", "It closes at 14:30", True),
        ("14", "It closes at 1430", False),
    ],
)
def test_right_is_what_has_the_words_of_the_answer(answer: str, said: str, right: bool) -> None:
    assert is_right(answer, said) is right


# How far a model moved --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> CausalModel:
    return build()


def moved(model: CausalModel, share: float = 1.0) -> LoraStudent:
    """A student with a random adapter, so much of it."""
    shape, dice = LoraShape(rank=2, alpha=2), torch.Generator().manual_seed(3)
    tensors = {
        name: torch.randn(one.shape, generator=dice) / 8
        for name, one in fresh(model.model, shape, 0).items()
    }
    student = LoraStudent(model, shape, tensors)
    student.scaled(share)
    return student


def by_hand(bare: CausalModel, other: CausalModel, texts: list[Read]) -> float:
    """KL(bare || other) of the kept tokens and the rest, one text at a time without any batch."""
    found = []
    for text in texts:
        ids = torch.tensor([text.tokens])
        with torch.no_grad():
            one, two = (m.model(ids).logits[0].double().softmax(-1) for m in (bare, other))
        for at in range(text.start - 1, len(text.tokens) - 1):
            kept = one[at].topk(KEPT).indices
            p = torch.cat([one[at][kept], (1 - one[at][kept].sum())[None]])
            q = torch.cat([two[at][kept], (1 - two[at][kept].sum())[None]])
            found.append(float((p * (p / q).log()).sum()))
    return sum(found) / len(found)


def test_drift_is_the_divergence_from_the_bare_model(model: CausalModel) -> None:
    others = targets(model, unrelated("measured")[:5], {})
    assert len({len(one.text.tokens) for one in others}) > 1, "of unequal length"
    assert drift(Mind(model), others) == pytest.approx(0.0, abs=1e-5)
    mind = moved(model).mind()
    expected = by_hand(model, mind.model, [one.text for one in others])
    assert expected > 0.02
    assert drift(mind, others) == pytest.approx(expected, rel=1e-3)
    assert 0 < drift(moved(model, 0.5).mind(), others) < drift(mind, others)


def test_drift_of_a_broken_model_is_not_a_number(model: CausalModel) -> None:
    others = targets(model, unrelated("measured")[:2], {})
    broken = build()
    with torch.no_grad():
        broken.model.lm_head.weight[5] = float("nan")
    assert math.isnan(drift(Mind(broken), others))


# How much of an adapter is added ----------------------------------------------------------------


class Fake:
    """A student whose mind knows only how much of it was added last."""

    def __init__(self, model: CausalModel) -> None:
        self._model = model
        self.asked: list[float] = []

    def scaled(self, factor: float) -> None:
        self.asked.append(factor)

    def mind(self) -> Mind:
        return moved(self._model, self.asked[-1]).mind()


@pytest.fixture(scope="module")
def far(model: CausalModel) -> dict[float, float]:
    """How far each share moves, on the texts by which it is chosen."""
    others = targets(model, unrelated("tuned"), {})
    return {one: drift(moved(model, one).mind(), others) for one in SCALES}


def settled(model: CausalModel, allowed: float) -> list[float]:
    """The shares that were tried, and last the one that was left."""
    fake = Fake(model)
    examination = Examination(model, [], [])
    settle(cast(Any, fake), examination, replace(POLICY, drift=allowed))
    return fake.asked


@pytest.mark.parametrize("place", range(len(SCALES)))
def test_less_is_added_until_it_fits(
    model: CausalModel, far: dict[float, float], place: int
) -> None:
    """Not more than nine tenths of what is allowed: other texts may be moved a little further."""
    fits = SCALES[place]
    assert settled(model, far[fits] / 0.9 * 1.001) == list(SCALES[: place + 1])


def test_all_is_added_if_no_share_fits(model: CausalModel, far: dict[float, float]) -> None:
    assert sorted(far.values(), reverse=True) == list(far.values())
    assert settled(model, far[SCALES[-1]]) == [*SCALES, 1.0]


def test_what_is_not_a_number_never_fits(model: CausalModel) -> None:
    assert settled(model, math.nan) == [*SCALES, 1.0]


def test_the_texts_that_choose_are_not_those_that_judge() -> None:
    parts = [
        {(one.asked, one.said) for one in unrelated(p)} for p in ("trained", "tuned", "measured")
    ]
    assert all(parts)
    assert not parts[0] & parts[1] and not parts[1] & parts[2] and not parts[0] & parts[2]


def test_a_target_keeps_the_mass_of_the_rest() -> None:
    """Half of what the teacher expects is on no kept token: a student must leave it there."""
    logs = torch.log(torch.tensor([[0.3, 0.2]]))
    target = Target(Read((0, 1), 1), torch.tensor([[0, 1]]), logs, own=logs[:, 1])
    same = torch.log(torch.tensor([[0.3, 0.2, 0.4, 0.1]]))
    spread = torch.log(torch.tensor([[0.3, 0.2, 0.1, 0.4]]))
    sure = torch.log(torch.tensor([[0.6, 0.4 - 1e-6, 5e-7, 5e-7]]))
    assert float(divergence(target, same)) == pytest.approx(0.0, abs=1e-6)
    assert float(divergence(target, spread)) == pytest.approx(0.0, abs=1e-6)
    assert float(divergence(target, sure)) > 1.0
