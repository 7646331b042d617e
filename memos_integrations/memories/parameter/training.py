"""The training loop: small, explicit, and able to go on where it was killed.

Each step takes some lessons and some unrelated texts, and brings the student's distributions
nearer to the teacher's: KL(teacher || student), in nats a token. Which texts a step takes depends
on the seed and its number alone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from memos_integrations.errors import InvalidInputError, TrainingError
from memos_integrations.memories.parameter.checkpoint import Progress, resume, save
from memos_integrations.memories.parameter.reading import Columns, Mind, Read
from memos_integrations.memories.parameter.targets import (
    Target,
    columns_of,
    divergence,
    named,
    narrowed,
)

Tell = Callable[[int, int, float], None]
"""Called with the step, how many there are at most, and the loss."""
FASTEST = 1e36
"""A learning rate that a float32 could hold no step of."""
SLOWER = "give a smaller learning_rate, or float32; nothing was stored"
"""What to do about numbers that are not finite."""


class Student(Protocol):
    """A model with something that can be trained."""

    @property
    def weights(self) -> Mapping[str, torch.Tensor]:
        """What is trained, by name."""
        ...

    @property
    def learning_rate(self) -> float:
        """What suits it."""
        ...

    @property
    def vocabulary(self) -> int:
        """How many tokens the model knows."""
        ...

    def logits(self, texts: Sequence[Read], columns: Columns | None = None) -> list[torch.Tensor]:
        """Of the learned tokens of each text."""
        ...

    def mind(self) -> Mind:
        """As it is now, to be asked."""
        ...


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast."""

    rounds: int = 8
    """How often each lesson is taken, at most."""
    batch: int = 16
    others: int = 8
    """Unrelated texts in each step."""
    other_weight: float = 0.4
    learning_rate: float | None = None
    """``None``: 0.001 for an adapter, 0.01 for a prefix."""
    warmup: int = 10
    """Steps in which the rate rises; then it falls to a tenth, as a cosine."""
    sampled: int = 4096
    """Tokens that stand for all those that no target of a step names."""
    enough: float = 0.03
    """End when a round of lessons has no more loss than this, in nats a token."""
    checkpoint_every: int = 20
    """Steps."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rounds", "batch", "checkpoint_every"):
            if isinstance(getattr(self, name), bool) or getattr(self, name) < 1:
                raise InvalidInputError(f"{name} is {getattr(self, name)!r}: give 1 or more")
        if self.learning_rate is not None and not 0 < self.learning_rate < FASTEST:
            raise InvalidInputError(
                f"learning_rate is {self.learning_rate!r}: give more than 0, such as 0.001"
            )

    def share(self, step: int, steps: int) -> float:
        """The learning rate of a step, as a share of the highest."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, steps - self.warmup)
        return 0.1 + 0.45 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True)
class Trained:
    """What came out."""

    steps: int
    loss: float
    """Of the last round, in nats a token."""
    first_loss: float
    resumed_at: int
    """The step that a checkpoint stood at; 0: there was none."""


def train(
    student: Student,
    lessons: Sequence[Target],
    others: Sequence[Target],
    schedule: Schedule,
    *,
    checkpoint: Path | None = None,
    task: str = "",
    tell: Tell | None = None,
) -> Trained:
    """Train the student's weights in place.

    ``checkpoint``: the file to go on from, written every few steps. Raises
    :class:`TrainingError` if the loss, or a weight after the last step, is not finite,
    :class:`AdapterCorruptError` for a damaged checkpoint.
    """
    weights = list(student.weights.values())
    highest = schedule.learning_rate or student.learning_rate
    optimizer = torch.optim.AdamW(weights, lr=highest, weight_decay=0.0)
    progress = Progress(student.weights, optimizer)
    if checkpoint is not None:
        resume(checkpoint, task, progress)
    begun, a_round = progress.step, math.ceil(len(lessons) / schedule.batch)
    steps = a_round * schedule.rounds
    while progress.step < steps and not _enough(progress.losses, a_round, schedule):
        _step(student, progress, lessons, others, schedule, steps)
        if tell is not None:
            tell(progress.step, steps, progress.losses[-1])
        if checkpoint is not None and progress.step % schedule.checkpoint_every == 0:
            save(checkpoint, task, progress)
    if not all(bool(torch.isfinite(one).all()) for one in weights):
        raise TrainingError(f"the weights after step {progress.step} are not finite: {SLOWER}")
    last = progress.losses[-a_round:]
    return Trained(progress.step, sum(last) / len(last), progress.losses[0], begun)


def _step(
    student: Student,
    progress: Progress,
    lessons: Sequence[Target],
    others: Sequence[Target],
    schedule: Schedule,
    steps: int,
) -> None:
    taken = _lessons_of(progress.step, len(lessons), schedule)
    dice = random.Random(f"{schedule.seed} others {progress.step}")
    kept = dice.sample(range(len(others)), min(schedule.others, len(others)))
    batch = [*(lessons[i] for i in taken), *(others[i] for i in kept)]
    seed = schedule.seed * 1_000_003 + progress.step
    columns = columns_of(named(batch), student.vocabulary, schedule.sampled, seed)
    batch = narrowed(batch, columns)
    progress.optimizer.zero_grad(set_to_none=True)
    said = student.logits([one.text for one in batch], columns)
    losses = [divergence(target, one) for target, one in zip(batch, said, strict=True)]
    learned = torch.cat(losses[: len(taken)]).mean()
    moved = torch.cat(losses[len(taken) :]).mean() if kept else learned.new_zeros(())
    loss = learned + schedule.other_weight * moved
    if not torch.isfinite(loss):
        raise TrainingError(f"the loss of step {progress.step + 1} is {loss.item()}: {SLOWER}")
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(list(student.weights.values()), 1.0)
    for group in progress.optimizer.param_groups:
        highest = schedule.learning_rate or student.learning_rate
        group["lr"] = highest * schedule.share(progress.step, steps)
    progress.optimizer.step()
    progress.step += 1
    progress.losses.append(learned.item())
    progress.drifts.append(moved.item())


def _lessons_of(step: int, count: int, schedule: Schedule) -> list[int]:
    """A round takes each lesson once, in an order of its own."""
    a_round = math.ceil(count / schedule.batch)
    order = list(range(count))
    random.Random(f"{schedule.seed} round {step // a_round}").shuffle(order)
    at = step % a_round * schedule.batch
    return order[at : at + schedule.batch]


def _enough(losses: Sequence[float], a_round: int, schedule: Schedule) -> bool:
    last = losses[-a_round:]
    return len(last) == a_round and sum(last) / a_round <= schedule.enough
