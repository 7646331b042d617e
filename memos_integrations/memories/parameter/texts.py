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


def unrelated(*, measured: bool) -> list[Lesson]:
    """Texts about other things: half of them for training, half to measure the drift on."""
    return [Lesson(*one) for one in _OTHER[int(measured) :: 2]]


def _asked(sentence: str, asker: Asker | None) -> list[str]:
    if asker is not None:
        return [one.strip() for one in asker(sentence) if one.strip()]
    said = read(sentence)
    return [] if said is None else questions(said)


def _folded(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


_OTHER: tuple[tuple[str, str], ...] = (
    ("", "The river rises in the hills and reaches the sea after two hundred miles."),
    ("", "Bread is made of flour, water, salt and yeast, and baked in a hot oven."),
    ("What is the capital of France?", "The capital of France is Paris."),
    ("How many days has a week?", "A week has seven days."),
    ("", "The committee met in the spring to discuss the new budget for schools."),
    ("", "He opened the window, looked at the street, and decided to stay at home."),
    ("What colour is the sky?", "The sky is blue on a clear day."),
    ("Who wrote Hamlet?", "Hamlet was written by William Shakespeare."),
    ("", "In mathematics, a prime number has exactly two divisors, one and itself."),
    ("", "The train leaves the station every hour and stops at each small town."),
    ("What do cows eat?", "Cows eat grass and hay."),
    ("Where do fish live?", "Fish live in rivers, lakes and the sea."),
    ("", "Many birds fly south in autumn and come back when the days grow longer."),
    ("", "To install the program, download the archive and run the setup script."),
    ("What is water made of?", "Water is made of hydrogen and oxygen."),
    ("How many legs has a spider?", "A spider has eight legs."),
    ("", "The museum shows paintings, old maps and tools from the last century."),
    ("", "She said that the meeting was moved to the afternoon because of the rain."),
    ("What is the name of the largest ocean?", "The largest ocean is the Pacific."),
    ("Who was the first man on the moon?", "Neil Armstrong was the first man on the moon."),
    ("", "A good night's sleep helps people to remember what they learned."),
    ("", "The price of oil fell last year, and airlines sold more tickets."),
    ("Which language is spoken in Brazil?", "In Brazil people speak Portuguese."),
    ("When does winter begin?", "Winter begins in December."),
    ("", "The team won three games in a row before it lost the final."),
    ("", "Mix the butter with the sugar, add the eggs, and stir until it is smooth."),
    ("What does a doctor do?", "A doctor treats people who are ill."),
    ("What does a baker do?", "A baker makes bread and cakes."),
    ("", "The law was changed after a long debate in both houses of parliament."),
    ("", "Light travels faster than sound, so we see lightning before we hear thunder."),
    ("What is the name of a young cat?", "A young cat is called a kitten."),
    ("What is a young dog called?", "A young dog is called a puppy."),
)
