"""The examination before an adapter is kept: did it learn, and did it leave the rest alone?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from memos_integrations.cube import MemCube
from memos_integrations.memories.parameter.probing import Known, Moved, Text, drift, examine, moved
from memos_integrations.memories.parameter.reading import Mind
from memos_integrations.memories.parameter.targets import (
    Target,
    beginning,
    computed,
    student_text,
    targets,
    teacher_text,
)
from memos_integrations.memories.parameter.texts import Lesson, Probe
from memos_integrations.memories.parameter.training import Student, Trained
from memos_integrations.memories.parameter.unrelated import Part, unrelated
from memos_integrations.models.causal import CausalModel


@dataclass(frozen=True, kw_only=True)
class GatePolicy:
    """What an adapter must show."""

    recall: float = 0.7
    """Its accuracy on held-out questions, as a share of that of the model with the memories."""
    gain: float = 0.1
    """And so much better than the bare model, in points of accuracy."""
    drift: float = 0.05
    """At most so many nats a token away from the bare model on unrelated texts."""


@dataclass(frozen=True)
class Report:
    """The figures of an examination; no word of a memory is in them."""

    questions: int
    bare: float
    """Accuracy of the model without any memory."""
    in_context: float
    """With the memories in its prompt."""
    adapted: float
    """With the adapter, and without memories in the prompt."""
    bare_probability: float
    in_context_probability: float
    adapted_probability: float
    drift: float
    drift_allowed: float
    steps: int
    loss: float
    seconds: float
    prompt_tokens_saved: int
    """The block of memories that a prompt need not have any more."""
    refused: str = ""
    """Why it was not kept; empty: it was."""
    bare_perplexity: float | None = None
    """Of unrelated texts, those of the drift, for the bare model: exp of the mean of -log p a
    token. ``None`` in the report of an older release."""
    perplexity: float | None = None
    """Of the same texts with the adapter."""

    def as_dict(self) -> dict[str, Any]:
        """JSON-plain."""
        return asdict(self)


@dataclass(frozen=True)
class Examination:
    """What all three models are asked."""

    model: CausalModel
    cubes: Sequence[MemCube]
    probes: Sequence[Probe]

    def bare(self) -> Known:
        """The model as it is."""
        return self._of(Mind(self.model), lambda one: student_text(self.model, one))

    def in_context(self) -> Known:
        """With all memories in front of each question, as a prompt shows them; read once."""
        asked = [
            teacher_text(self.model, Lesson(one.question, ""), self.cubes) for one in self.probes
        ]
        same = beginning([one.tokens[: one.start - 1] for one in asked])
        mind = Mind(self.model, computed(self.model, same) if same else None, len(same))
        return self._of(mind, lambda one: teacher_text(self.model, one, self.cubes))

    def of(self, student: Student) -> Known:
        """With what was trained, and no memory in the prompt."""
        return self._of(student.mind(), lambda one: student_text(self.model, one))

    def moved(self, student: Student) -> Moved:
        """How far from the bare model on texts that no training has seen."""
        return moved(student.mind(), self.others())

    def others(self, part: Part = "measured") -> list[Target]:
        """What the bare model expects of unrelated texts."""
        return targets(self.model, unrelated(part), {})

    def _of(self, mind: Mind, text: Text) -> Known:
        return examine(mind, text, self.probes)


SCALES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
"""How much of an adapter may be added, of what it was trained at."""


class Scaled(Student, Protocol):
    """A student of whom less can be added."""

    def scaled(self, factor: float) -> None: ...


def settle(student: Scaled, examination: Examination, policy: GatePolicy) -> None:
    """Add as much of an adapter as leaves the rest alone; all of it if no share does.

    The texts are others than those on which the report measures drift, and there is some room.
    """
    others = examination.others("tuned")
    for factor in SCALES:
        student.scaled(factor)
        if drift(student.mind(), others) <= 0.9 * policy.drift:
            return
    student.scaled(1.0)


def judged(
    examination: Examination,
    student: Student,
    trained: Trained,
    policy: GatePolicy,
    *,
    seconds: float,
    saved: int,
) -> tuple[Report, Known]:
    """The report, with the reason if the adapter is refused; and how it did at each question."""
    bare, taught, own = examination.bare(), examination.in_context(), examination.of(student)
    other = examination.moved(student)
    report = Report(
        questions=len(examination.probes),
        bare=bare.accuracy,
        in_context=taught.accuracy,
        adapted=own.accuracy,
        bare_probability=bare.probability,
        in_context_probability=taught.probability,
        adapted_probability=own.probability,
        drift=other.drift,
        drift_allowed=policy.drift,
        steps=trained.steps,
        loss=trained.loss,
        seconds=round(seconds, 1),
        prompt_tokens_saved=saved,
        refused=why_not(bare.accuracy, taught.accuracy, own.accuracy, other.drift, policy),
        bare_perplexity=other.bare_perplexity,
        perplexity=other.perplexity,
    )
    return report, own


def why_not(bare: float, taught: float, own: float, moved: float, policy: GatePolicy) -> str:
    """Why an adapter is not kept; empty if it is."""
    if own < policy.recall * taught:
        return (
            f"it answers {own:.0%} of the held-out questions, the model with the memories in its "
            f"prompt {taught:.0%}: below {policy.recall:.0%} of that"
        )
    if own < bare + policy.gain:
        return f"it answers {own:.0%} of the held-out questions, the bare model {bare:.0%}"
    if not moved <= policy.drift:
        return (
            f"it moved {moved:.3f} nats a token away on unrelated texts, {policy.drift:.3f} are "
            "allowed"
        )
    return ""
