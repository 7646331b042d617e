"""Distillation from the memories to the bytes of an adapter: teach, train, examine."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from memos_integrations.cube import MemCube
from memos_integrations.errors import (
    GateError,
    InvalidInputError,
    OutOfMemoryError,
    TrainingError,
)
from memos_integrations.memories.block import block
from memos_integrations.memories.parameter import checkpoint
from memos_integrations.memories.parameter.babble import babble
from memos_integrations.memories.parameter.condensing import condensed
from memos_integrations.memories.parameter.gate import (
    Examination,
    GatePolicy,
    Report,
    judged,
    settle,
)
from memos_integrations.memories.parameter.lora import LoraShape, layers_of
from memos_integrations.memories.parameter.storage import Adapter, Kind, Manifest
from memos_integrations.memories.parameter.students import LoraStudent, PrefixStudent
from memos_integrations.memories.parameter.targets import Target, targets
from memos_integrations.memories.parameter.texts import (
    Asker,
    Course,
    Probe,
    course,
    source_of,
)
from memos_integrations.memories.parameter.training import SLOWER, Schedule, Tell, train
from memos_integrations.memories.parameter.unrelated import unrelated
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

    def __post_init__(self) -> None:
        if self.kind not in ("lora", "prefix"):
            raise InvalidInputError(f"kind is {self.kind!r}: give 'lora' or 'prefix'")
        if isinstance(self.positions, bool) or self.positions < 2:
            raise InvalidInputError(f"positions is {self.positions!r}: give 2 or more")


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
    taught = course(cubes, asker=how.asker, held_out=how.held_out, seed=how.schedule.seed)
    with out_of_memory():
        lessons = _learned(targets(model, taught.lessons, {source_of(one): one for one in cubes}))
        others = _others(model, taught, how.schedule.seed)
        student = _student(model, cubes, how, others)
        task = _task(model, how, taught)
        trained = train(
            student, lessons, others, how.schedule, checkpoint=checkpoint_at, task=task, tell=tell
        )
        examination = Examination(model, cubes, taught.probes)
        if isinstance(student, LoraStudent):
            settle(student, examination, how.gate)
        seconds = time.perf_counter() - started
        saved = len(model.encode(block(cubes), special=False))
        report, _ = judged(examination, student, trained, how.gate, seconds=seconds, saved=saved)
    if not math.isfinite(report.drift):  # finite weights whose product is not
        raise TrainingError(f"the trained model's logits are not finite: {SLOWER}")
    if report.refused:
        raise GateError(f"the adapter was not kept: {report.refused}", report)
    return _adapter(model, cubes, how, student, report), report


_NO_MEMORY = "not enough memory", "can't allocate memory"
"""What torch says when there is none, where it has no error of its own."""


@contextmanager
def out_of_memory() -> Iterator[None]:
    """What torch raises when memory ends becomes a typed error."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        short = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not short and not any(one in str(error) for one in _NO_MEMORY):
            raise
        raise OutOfMemoryError(
            "there is not enough memory for training: give fewer memories, a smaller batch or "
            "rank, or a model in bfloat16; nothing was stored"
        ) from error


def _task(model: CausalModel, how: Distillation, taught: Course) -> str:
    """What a checkpoint must be of, to be gone on with."""
    return checkpoint.task_of(
        {
            "model": asdict(model.fingerprint),
            "how": [how.kind, how.shape, how.positions, how.schedule],
            "lessons": [str(one) for one in taught.lessons],
        }
    )


def _others(model: CausalModel, taught: Course, seed: int) -> list[Target]:
    """What is to stay as it is: texts of ours, and what the model writes by itself."""
    asked = [one.asked for one in taught.lessons if one.asked]
    own = babble(model, asked, seed=seed)
    return _learned(targets(model, [*unrelated("trained"), *own], {}))


def _learned(found: Sequence[Target]) -> list[Target]:
    return [one for one in found if one.text.learned > 0]


def _student(
    model: CausalModel, cubes: Sequence[MemCube], how: Distillation, others: Sequence[Target]
) -> LoraStudent | PrefixStudent:
    if how.kind == "lora":
        texts = [one.text for one in others]
        return LoraStudent.fresh(model, how.shape, how.schedule.seed, texts)
    begin = condensed(model, model.encode(block(cubes)), how.positions)
    return PrefixStudent.beginning_as(model, begin)


def _adapter(
    model: CausalModel,
    cubes: Sequence[MemCube],
    how: Distillation,
    student: LoraStudent | PrefixStudent,
    report: Report,
) -> Adapter:
    layers: tuple[str, ...] = ()
    if isinstance(student, LoraStudent):
        tensors: dict[str, Any] = student.tensors()
        rank, alpha = how.shape.rank, how.shape.alpha * student.scale
        layers = tuple(layers_of(tensors))
    else:
        named = [((f"k{i}", k), (f"v{i}", v)) for i, (k, v) in enumerate(student.pairs())]
        tensors = {name: one for pair in named for name, one in pair}
        rank, alpha = how.positions, 0.0
    plain = {name: one.detach().clone() for name, one in tensors.items()}
    manifest = Manifest(
        how.kind,
        asdict(model.fingerprint),
        rank,
        alpha,
        layers,
        how.schedule.seed,
        tuple(source_of(one) for one in cubes),
        report.as_dict(),
    )
    return Adapter(manifest, plain)
