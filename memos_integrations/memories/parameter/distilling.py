"""Distillation from the memories to the bytes of an adapter: teach, train, examine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from memos_integrations.cube import MemCube
from memos_integrations.errors import GateError, InvalidInputError
from memos_integrations.memories.block import block
from memos_integrations.memories.parameter import checkpoint
from memos_integrations.memories.parameter.active import active
from memos_integrations.memories.parameter.gate import Examination, GatePolicy, Report, judged
from memos_integrations.memories.parameter.lora import LoraShape
from memos_integrations.memories.parameter.storage import Adapter, Kind, Manifest
from memos_integrations.memories.parameter.students import LoraStudent, PrefixStudent
from memos_integrations.memories.parameter.targets import Target, out_of_memory, targets
from memos_integrations.memories.parameter.texts import (
    Asker,
    Probe,
    course,
    source_of,
    unrelated,
)
from memos_integrations.memories.parameter.training import Schedule, Tell, train
from memos_integrations.models.causal import CausalModel


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """How memories are distilled. The defaults suit some twenty sentences and a small model."""

    kind: Kind = "lora"
    shape: LoraShape = field(default_factory=LoraShape)
    positions: int = 128
    """Of a trained prefix."""
    schedule: Schedule = field(default_factory=Schedule)
    gate: GatePolicy = field(default_factory=GatePolicy)
    asker: Asker | None = None
    """Makes the questions instead of the rules, such as a larger language model."""
    held_out: tuple[Probe, ...] | None = None
    """Questions of your own for the examination; they are not trained on."""


def distil(
    model: CausalModel,
    cubes: Sequence[MemCube],
    how: Distillation,
    *,
    checkpoint_at: Path | None = None,
    tell: Tell | None = None,
) -> tuple[Adapter, Report]:
    """Train an adapter that knows these memories, and examine it.

    Raises :class:`GateError` with the report if it does not pass, :class:`TrainingError`,
    :class:`OutOfMemoryError`, :class:`InvalidInputError`.
    """
    started = time.perf_counter()
    with active(()):
        taught = course(cubes, asker=how.asker, held_out=how.held_out, seed=how.schedule.seed)
        by_source = {source_of(one): one for one in cubes}
        lessons = _learned(targets(model, taught.lessons, by_source))
        others = _learned(targets(model, unrelated(measured=False), {}))
        student = _student(model, cubes, how)
        task = checkpoint.task_of(
            {
                "model": asdict(model.fingerprint),
                "how": [how.kind, how.shape, how.positions, how.schedule],
                "lessons": [str(one) for one in taught.lessons],
            }
        )
        trained = train(
            student, lessons, others, how.schedule, checkpoint=checkpoint_at, task=task, tell=tell
        )
        with out_of_memory("the examination"):
            report, _ = judged(
                Examination(model, cubes, taught.probes),
                student,
                trained,
                how.gate,
                seconds=time.perf_counter() - started,
                saved=len(model.encode(block(cubes), special=False)),
            )
    if report.refused:
        raise GateError(f"the adapter was not kept: {report.refused}", report)
    return _adapter(model, cubes, how, student, report), report


def _learned(found: Sequence[Target]) -> list[Target]:
    return [one for one in found if one.text.learned > 0]


def _student(
    model: CausalModel, cubes: Sequence[MemCube], how: Distillation
) -> LoraStudent | PrefixStudent:
    if how.kind == "lora":
        return LoraStudent.fresh(model, how.shape, how.schedule.seed)
    if how.kind != "prefix":
        raise InvalidInputError(f"kind is {how.kind!r}: give 'lora' or 'prefix'")
    tokens = model.encode(block(cubes))
    while len(tokens) < how.positions:  # a short memory begins again
        tokens += model.encode(block(cubes), special=False)
    return PrefixStudent.beginning_as(model, tokens[: how.positions])


def _adapter(
    model: CausalModel,
    cubes: Sequence[MemCube],
    how: Distillation,
    student: LoraStudent | PrefixStudent,
    report: Report,
) -> Adapter:
    if isinstance(student, LoraStudent):
        tensors: dict[str, Any] = student.weights
        scale, rank = how.shape.scale, how.shape.rank
    else:
        named = [((f"k{i}", k), (f"v{i}", v)) for i, (k, v) in enumerate(student.pairs())]
        tensors = {name: one for pair in named for name, one in pair}
        scale, rank = 1.0, how.positions
    plain = {name: one.detach().clone() for name, one in tensors.items()}
    manifest = Manifest(
        how.kind,
        asdict(model.fingerprint),
        scale,
        rank,
        how.schedule.seed,
        tuple(source_of(one) for one in cubes),
        report.as_dict(),
    )
    return Adapter(manifest, plain)
