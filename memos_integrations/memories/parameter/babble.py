"""Unrelated texts that the model writes by itself, so that training can hold it still there.

What a model says of its own accord is where it must not move (learning without forgetting,
arXiv:1606.09282). Three kinds: texts of several styles that it goes on with; answers to questions
of general interest; and answers to the very questions that are trained, about somebody else, so
that an adapter learns whose dentist is meant, and not what one says when a dentist comes up.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

import torch

from memos_integrations.memories.parameter.reading import continued
from memos_integrations.memories.parameter.targets import student_text
from memos_integrations.memories.parameter.texts import Lesson
from memos_integrations.models.causal import CausalModel

LONGEST = 20
"""Tokens of a text."""
TOGETHER = 48
"""Texts that are written at once."""


def babble(model: CausalModel, asked: Sequence[str], *, seed: int, most: int = 24) -> list[Lesson]:
    """``most`` texts of each kind, at most; ``asked``: the questions that are trained."""
    dice = random.Random(f"{seed} babble")
    own = dice.sample([*dict.fromkeys(asked)], min(most, len(set(asked))))
    questions = [*QUESTIONS[:most], *filter(None, (_about_another(one, dice) for one in own))]
    starts = [(opening, model.encode(opening)) for opening in OPENINGS[:most]]
    texts = _written(model, [tokens for _, tokens in starts if tokens], seed)
    heads = [student_text(model, Lesson(one, "")) for one in questions]
    answers = _written(model, [one.tokens[: one.start] for one in heads], seed + 1)
    found = [
        Lesson("", opening + text)
        for (opening, _), text in zip([one for one in starts if one[1]], texts, strict=True)
    ]
    found += [
        Lesson(question, answer.strip().split("\n")[0])
        for question, answer in zip(questions, answers, strict=True)
    ]
    return [one for one in found if one.said.strip()]


def _about_another(question: str, dice: random.Random) -> str:
    """The question about somebody or something else; empty if it names nobody."""
    first, _, rest = question.partition(" ")
    swapped = re.sub(r"\b[A-Z]\w+", lambda _: dice.choice(NAMES), rest)
    return f"{first} {swapped}" if swapped != rest else ""


def _written(model: CausalModel, heads: Sequence[Sequence[int]], seed: int) -> list[str]:
    """How the model goes on behind each of these tokens, at random."""
    dice = torch.Generator().manual_seed(seed)  # its own: others may count on the common one

    def pick(scores: torch.Tensor) -> torch.Tensor:
        """The likeliest of noisy scores is a sample (the Gumbel trick)."""
        noise = torch.empty(scores.shape).exponential_(generator=dice).log()
        return (scores - noise.to(scores.device)).argmax(-1)

    said: list[str] = []
    for at in range(0, len(heads), TOGETHER):
        some = continued(model, heads[at : at + TOGETHER], LONGEST, pick=pick)
        said += map(model.decode, some)
    return said


NAMES = tuple(
    "Helena Marcus Priya Tobias Ingrid Rafael Yusuf Clara Dmitri Naomi Oscar".split()  # noqa: SIM905
)
OPENINGS = (
    "The",
    "In the year",
    "She",
    "According to",
    "Dear",
    "How to",
    "A new",
    "Once upon a time",
    "It is",
    "import",
    "The city of",
    "My",
    "When",
    "For example,",
    "Yesterday",
    "He was born in",
    "The company",
    "Question:",
    "First,",
    "You can",
    "There are",
    "On Monday",
    "This book",
    "We",
    "The best",
    "Many people",
    "After the war",
    "1.",
    "Her brother",
    "The weather",
    "In this study",
    "To make",
)
"""How texts of several styles begin."""
QUESTIONS = (
    "What is the capital of Spain?",
    "How does a car work?",
    "Who was Albert Einstein?",
    "What is the name of your dog?",
    "Where do penguins live?",
    "When was the printing press invented?",
    "What does a nurse do?",
    "Which food is healthy?",
    "How can I learn a language?",
    "What is the weather like today?",
    "Who wrote Don Quixote?",
    "What is a computer?",
    "Where is Mount Everest?",
    "How old is the universe?",
    "What is your favourite dish?",
    "Why do we sleep?",
    "What is the meaning of life?",
    "Which instrument has six strings?",
    "Who is the president?",
    "When does the shop close?",
    "What colour is grass?",
    "Tell me about the city of Rome.",
    "How do birds fly?",
    "What is Python used for?",
    "Where were the first Olympic games?",
    "What is the name of the largest desert?",
    "Who discovered America?",
    "What do you do for a living?",
    "Which car is the fastest?",
    "How many people live in China?",
    "What is love?",
    "Tell me a story.",
)
"""Of general interest."""
