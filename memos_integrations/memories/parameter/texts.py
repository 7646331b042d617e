"""What is trained on: texts made of memories, and texts that have nothing to do with them.

No torch here. A lesson is something asked and what is said then. The teacher reads the memory
before it, the student does not. There are two kinds: the memory said again, and questions with the
memory as their answer.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from memos_integrations.cube import MemCube
from memos_integrations.errors import InvalidInputError
from memos_integrations.memories.activation.segments import Source
from memos_integrations.memories.parameter.questions import questions, read, turned

Asker = Callable[[str], Sequence[str]]
"""Questions that a sentence answers."""

MOST = 10
"""Questions of one sentence, at most."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'])")


@dataclass(frozen=True)
class Lesson:
    """Something asked (nothing: the text stands alone), what is said then, and what it is about."""

    asked: str
    said: str
    about: Source | None = None
    """The memory that the teacher reads before; ``None``: it reads nothing, either."""


@dataclass(frozen=True)
class Probe:
    """A question that is held out of training, and what a right answer has in it."""

    question: str
    answer: str
    about: Source | None = None


@dataclass(frozen=True)
class Course:
    """What is taught and what is asked in the examination; no question is in both."""

    lessons: tuple[Lesson, ...]
    probes: tuple[Probe, ...]


def source_of(cube: MemCube) -> Source:
    """The version of a memory."""
    return Source(cube.id, cube.version)


def sentences(text: str) -> list[str]:
    """The sentences and lines of a text, without bullets."""
    lines = [line.strip().lstrip("-*• ").strip() for line in text.splitlines()]
    return [one for line in lines if line for one in _SENTENCE.split(line)]


def lessons(cube: MemCube) -> list[Lesson]:
    """All that can be taught about a memory by rules, with nothing held out."""
    found = []
    for sentence in sentences(cube.text):
        asked = ["", *_asked(sentence, None)[:MOST]]
        found += [Lesson(one, turned(sentence), source_of(cube)) for one in asked]
    return found


def course(
    cubes: Sequence[MemCube],
    *,
    asker: Asker | None = None,
    held_out: Sequence[Probe] | None = None,
    seed: int = 0,
) -> Course:
    """Lessons about memories, and probes that are not among them.

    ``held_out``: probes of your own; else one of each sentence's questions is held out. ``asker``
    makes the questions instead of the rules, such as a language model. Raises
    :class:`InvalidInputError` if there is nothing to learn or nothing to ask.
    """
    dice = random.Random(seed)
    given = {_folded(one.question) for one in held_out or ()}
    lessons: list[Lesson] = []
    probes: list[Probe] = list(held_out or ())
    for cube in cubes:
        for sentence in sentences(cube.text):
            asked = [one for one in _asked(sentence, asker) if _folded(one) not in given]
            said = read(sentence)
            if held_out is None and said is not None and said.answer and len(asked) > 1:
                kept = asked.pop(dice.randrange(len(asked)))
                probes.append(Probe(kept, said.answer, source_of(cube)))
            answer, about = turned(sentence), source_of(cube)
            lessons.append(Lesson("", sentence, about))
            lessons += [Lesson(one, answer, about) for one in asked[:MOST]]
    if not lessons:
        raise InvalidInputError("these memories have no words: there is nothing to distil")
    if not probes:
        raise InvalidInputError(
            "no question could be made of these memories to examine the adapter with: "
            "give held_out=[Probe(question, answer), ...]"
        )
    return Course(tuple(lessons), tuple(probes))


def _asked(sentence: str, asker: Asker | None) -> list[str]:
    if asker is not None:
        return [one.strip() for one in asker(sentence) if one.strip()]
    said = read(sentence)
    return [] if said is None else questions(said)


def _folded(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
