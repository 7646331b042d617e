"""What a model knows: how it answers, how likely it finds what is right, how far it moved."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from memos_integrations.memories.parameter.reading import Mind, Read, batches
from memos_integrations.memories.parameter.targets import Target, divergence, told
from memos_integrations.memories.parameter.texts import Lesson, Probe

Text = Callable[[Lesson], Read]
"""How a question and an answer stand before a model."""

TOGETHER = 16
LONGEST = 24
"""Tokens of an answer."""


@dataclass(frozen=True)
class Known:
    """How a model did in an examination."""

    accuracy: float
    """Share of questions whose greedy answer has the words of the right one."""
    probability: float
    """Of the right answer's tokens, the geometric mean over all questions."""
    right: tuple[bool, ...]
    """For each question."""
    chances: tuple[float, ...]


def examine(mind: Mind, text: Text, probes: Sequence[Probe]) -> Known:
    """Ask each question."""
    with torch.inference_mode():
        said = _answers(mind, [text(Lesson(one.question, "")) for one in probes])
        logs = _chances(mind, [text(Lesson(one.question, one.answer)) for one in probes])
    fits = tuple(is_right(one.answer, words) for one, words in zip(probes, said, strict=True))
    mean = sum(logs) / len(logs)
    return Known(
        sum(fits) / len(fits),
        math.exp(mean),
        fits,
        tuple(map(math.exp, logs)),
    )


@dataclass(frozen=True)
class Moved:
    """How a model stands to the bare one on texts that have nothing to do with a memory."""

    drift: float
    """KL(bare model || this one), nats a token."""
    bare_perplexity: float
    """Of the texts' tokens for the bare model: exp of the mean of -log p."""
    perplexity: float
    """For this one."""


def moved(mind: Mind, others: Sequence[Target]) -> Moved:
    """How far, on these texts; the perplexities come from the same logits as the drift."""
    found: list[torch.Tensor] = []
    own: list[torch.Tensor] = []
    texts = [one.text for one in others]
    with torch.inference_mode():
        for rows in batches(texts, TOGETHER):
            for i, said in zip(rows, mind.logits([texts[i] for i in rows]), strict=True):
                found.append(divergence(others[i], said))
                own.append(said.gather(-1, told(texts[i], said))[:, 0] - said.logsumexp(-1))
    bare = torch.cat([one.own for one in others])
    return Moved(float(torch.cat(found).mean()), _perplexity(bare), _perplexity(torch.cat(own)))


def drift(mind: Mind, others: Sequence[Target]) -> float:
    """KL(bare model || this one) on unrelated texts, nats a token."""
    return moved(mind, others).drift


def _perplexity(logs: torch.Tensor) -> float:
    return math.exp(min(700.0, -float(logs.mean())))  # more is no number that JSON has


def is_right(answer: str, said: str) -> bool:
    """Whether the words of the answer stand in what was said, in their order."""
    wanted, words = _words(answer), _words(said)
    return any(words[i : i + len(wanted)] == wanted for i in range(len(words) - len(wanted) + 1))


def _answers(mind: Mind, asked: Sequence[Read]) -> list[str]:
    """The likeliest, up to the end of a line."""
    decode = mind.model.decode

    def done(said: Sequence[int]) -> bool:
        return "\n" in decode(said).lstrip()

    found: dict[int, str] = {}
    for rows in batches(asked, TOGETHER):
        said = mind.answers([asked[i] for i in rows], LONGEST, done=done)
        for i, one in zip(rows, said, strict=True):
            found[i] = decode(one).strip().split("\n")[0]
    return [found[i] for i in range(len(asked))]


def _chances(mind: Mind, texts: Sequence[Read]) -> list[float]:
    found: dict[int, float] = {}
    for rows in batches(texts, TOGETHER):
        for i, one in zip(rows, mind.logits([texts[i] for i in rows]), strict=True):
            found[i] = float(one.log_softmax(-1).gather(-1, told(texts[i], one)).mean())
    return [found[i] for i in range(len(texts))]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
