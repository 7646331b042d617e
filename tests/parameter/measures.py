"""How near a model with an adapter is to the same model with the memories in its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from words import OPEN

from memos_integrations.cube import MemCube
from memos_integrations.memories.parameter import serving
from memos_integrations.memories.parameter.distilling import Distillation
from memos_integrations.memories.parameter.lora import LoraShape
from memos_integrations.memories.parameter.probing import drift
from memos_integrations.memories.parameter.reading import Mind
from memos_integrations.memories.parameter.targets import targets
from memos_integrations.memories.parameter.texts import Lesson, course, lessons, source_of
from memos_integrations.memories.parameter.training import Schedule
from memos_integrations.models.causal import CausalModel

LORA = Distillation(
    shape=LoraShape(rank=8, alpha=16, quiet=0.0),
    schedule=Schedule(
        rounds=30, others=16, other_weight=0.4, sampled=200, learning_rate=0.02, warmup=2, enough=0
    ),
    gate=OPEN,
)
"""What suits the tiny model of ``words``: some sixty steps, a second."""
PREFIX = replace(
    LORA, kind="prefix", positions=12, schedule=replace(LORA.schedule, learning_rate=0.06)
)


def scheduled(how: Distillation, **changes: Any) -> Distillation:
    return replace(how, schedule=replace(how.schedule, **changes))


def with_adapter(model: CausalModel, content: bytes) -> Mind:
    """As a chat model reads it: from the bytes of its file."""
    return serving.load(model, [(content, 1.0)]).mind()


def distances(model: CausalModel, mind: Mind, cubes: Sequence[MemCube]) -> list[float]:
    """KL(the model that reads the memory || mind) over all that is taught of each, nats a token."""
    return [_apart(model, mind, lessons(one), [one]) for one in cubes]


def held_out(model: CausalModel, mind: Mind, cubes: Sequence[MemCube]) -> float:
    """The same over the questions that no training has seen."""
    said = {source_of(one): one.text for one in cubes}
    asked = [
        Lesson(one.question, said[one.about], one.about)
        for one in course(cubes).probes
        if one.about is not None
    ]
    return _apart(model, mind, asked, cubes)


def _apart(
    model: CausalModel, mind: Mind, told: Sequence[Lesson], cubes: Sequence[MemCube]
) -> float:
    found = targets(model, told, {source_of(one): one for one in cubes})
    return drift(mind, [one for one in found if one.text.learned])
