"""What a model knows: how it answers, how likely it finds what is right, how far it moved."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from memos_integrations.memories.parameter.reading import Read, batches
from memos_integrations.memories.parameter.targets import Target, divergence
from memos_integrations.memories.parameter.texts import Lesson, Probe

Ask = Callable[[Sequence[Read]], list[torch.Tensor]]
"""Logits of the learned tokens of each text."""
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


def examine(
    ask: Ask,
    text: Text,
    probes: Sequence[Probe],
    decode: Callable[[Sequence[int]], str],
    ends: frozenset[int] = frozenset(),
) -> Known:
    """Ask each question."""
    with torch.inference_mode():
        said = _answers(ask, [text(Lesson(one.question, "")) for one in probes], decode, ends)
        right = [Lesson(one.question, one.answer) for one in probes]
        logs = _chances(ask, [text(one) for one in right])
    fits = tuple(is_right(one.answer, words) for one, words in zip(probes, said, strict=True))
    mean = sum(logs) / len(logs)
    return Known(
        sum(fits) / len(fits),
        float(torch.tensor(mean).exp()),
        fits,
        tuple(float(torch.tensor(one).exp()) for one in logs),
    )


def drift(ask: Ask, others: Sequence[Target]) -> float:
    """KL(bare model || this one) on unrelated texts, nats a token."""
    found: list[torch.Tensor] = []
    texts = [one.text for one in others]
    with torch.inference_mode():
        for rows in batches(texts, TOGETHER):
            said = ask([texts[i] for i in rows])
            found += [divergence(others[i], one) for i, one in zip(rows, said, strict=True)]
    return float(torch.cat(found).mean())


def is_right(answer: str, said: str) -> bool:
    """Whether the words of the answer stand in what was said, in their order."""
    wanted, words = _words(answer), _words(said)
    return any(words[i : i + len(wanted)] == wanted for i in range(len(words) - len(wanted) + 1))


def _answers(
    ask: Ask,
    asked: Sequence[Read],
    decode: Callable[[Sequence[int]], str],
    ends: frozenset[int],
) -> list[str]:
    """Greedy, up to the end of a line; each token reads the whole text again: they are short."""
    tokens = [one.tokens[: one.start] for one in asked]
    said: list[list[int]] = [[] for _ in tokens]
    open_rows = list(range(len(tokens)))
    for _ in range(LONGEST):
        reads = [Read((*tokens[i], *said[i], 0), len(tokens[i]) + len(said[i])) for i in open_rows]
        nexts: dict[int, int] = {}
        for rows in batches(reads, TOGETHER):
            for i, one in zip(rows, ask([reads[i] for i in rows]), strict=True):
                nexts[open_rows[i]] = int(one[0].argmax())
        for i, token in nexts.items():
            said[i].append(token)
        open_rows = [
            i for i in open_rows if said[i][-1] not in ends and "\n" not in decode(said[i]).lstrip()
        ]
        if not open_rows:
            break
    return [decode(one).strip().split("\n")[0] for one in said]


def _chances(ask: Ask, texts: Sequence[Read]) -> list[float]:
    found: dict[int, float] = {}
    for rows in batches(texts, TOGETHER):
        for i, one in zip(rows, ask([texts[i] for i in rows]), strict=True):
            told = torch.tensor(texts[i].tokens[texts[i].start :], device=one.device)
            found[i] = float(one.log_softmax(-1).gather(-1, told[:, None]).mean())
    return [found[i] for i in range(len(texts))]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
