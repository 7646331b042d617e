"""What the teacher expects: its likeliest next tokens at each place, computed once and kept.

The teacher is the same model with the memory in front of the text (context distillation,
arXiv:2209.15189). Of each distribution the likeliest tokens are kept, and the rest as one mass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from memos_integrations.cube import MemCube
from memos_integrations.memories.activation.segments import Source
from memos_integrations.memories.activation.tensors import Pair, fork, fresh_piece
from memos_integrations.memories.block import block
from memos_integrations.memories.parameter.reading import Columns, Read, batches, logits
from memos_integrations.memories.parameter.texts import Lesson
from memos_integrations.models.causal import CausalModel

KEPT = 24
"""Tokens of each distribution."""
TOGETHER = 16
"""Texts that go through the model at once."""
SHORTEST = 16
"""Tokens of a common beginning that are worth being read apart."""


@dataclass(frozen=True)
class Target:
    """A text for the student, and what the teacher expects of it."""

    text: Read
    ids: torch.Tensor
    """``(learned, KEPT)``."""
    logs: torch.Tensor
    """Their log-probabilities, float32."""
    own: torch.Tensor
    """Log-probabilities of the text's own tokens, ``(learned,)``, float32."""


def student_text(model: CausalModel, lesson: Lesson) -> Read:
    """What the student reads: the question as a chat, or the words alone."""
    return _read(model, "", lesson)


def teacher_text(model: CausalModel, lesson: Lesson, memories: Sequence[MemCube]) -> Read:
    """The same behind the memories, as they stand in a prompt."""
    return _read(model, block(memories) if memories else "", lesson)


def targets(
    model: CausalModel, lessons: Sequence[Lesson], cubes: Mapping[Source, MemCube]
) -> list[Target]:
    """Of each lesson, by the model itself.

    Lessons about one memory begin alike for the teacher: that beginning is read once.
    """
    found: dict[int, Target] = {}
    with torch.no_grad():
        for about in dict.fromkeys(one.about for one in lessons):
            numbers = [i for i, one in enumerate(lessons) if one.about == about]
            memories = [cubes[about]] if about is not None else []
            for asked in (True, False):
                those = [i for i in numbers if bool(lessons[i].asked) is asked]
                found |= _taught(model, {i: lessons[i] for i in those}, memories)
    return [found[i] for i in range(len(lessons))]


def _taught(
    model: CausalModel, lessons: Mapping[int, Lesson], memories: Sequence[MemCube]
) -> dict[int, Target]:
    """The targets of lessons that begin alike."""
    whole = {i: teacher_text(model, one, memories) for i, one in lessons.items()}
    if not whole:
        return {}
    same = beginning([one.tokens[: one.start - 1] for one in whole.values()])
    long = len(same) >= SHORTEST
    before = computed(model, same) if long else None
    cut = len(same) if long else 0
    texts = {i: Read(one.tokens[cut:], one.start - cut) for i, one in whole.items()}
    found: dict[int, Target] = {}
    numbers = list(texts)
    for rows in batches([texts[i] for i in numbers], TOGETHER):
        some = [numbers[row] for row in rows]
        for i, said in zip(some, logits(model, [texts[i] for i in some], before), strict=True):
            logs = said.log_softmax(-1)
            top = logs.topk(min(KEPT, said.shape[-1]))
            text = _aligned(student_text(model, lessons[i]), texts[i])
            at = len(said) - text.learned
            own = logs.gather(-1, told(texts[i], said))[:, 0]
            found[i] = Target(text, top.indices[at:], top.values[at:], own[at:])
    return found


def _aligned(student: Read, teacher: Read) -> Read:
    """The student's text, with as much of its end learned as the teacher foretold, too.

    A first token without anything before it, such as BOS, is foretold by nobody.
    """
    most, count = min(student.learned, teacher.learned), 0
    while count < most and student.tokens[-1 - count] == teacher.tokens[-1 - count]:
        count += 1
    return Read(student.tokens, len(student.tokens) - count)


def told(text: Read, said: torch.Tensor) -> torch.Tensor:
    """The learned tokens of a text, ``(learned, 1)``, where its logits are."""
    return torch.tensor(text.tokens[text.start :], device=said.device)[:, None]


def computed(model: CausalModel, tokens: Sequence[int]) -> list[Pair]:
    """The model's own keys and values of some tokens, by layer, ``(1, heads, tokens, dim)``."""
    cache = fork(model.model.config, [])
    with torch.no_grad():
        ids = torch.tensor([list(tokens)], device=model.device)
        model.model.base_model(input_ids=ids, past_key_values=cache, use_cache=True)
    piece = fresh_piece(cache)
    return [pair for i in range(len(piece)) if (pair := piece.layer(i)) is not None]


def narrowed(targets: Sequence[Target], columns: Columns) -> list[Target]:
    """The same targets, their tokens numbered by column."""
    return [
        replace(one, ids=torch.searchsorted(columns.ids, one.ids.contiguous())) for one in targets
    ]


def named(targets: Sequence[Target]) -> torch.Tensor:
    """The tokens that targets name, each once, in order."""
    found: torch.Tensor = torch.unique(torch.cat([one.ids.reshape(-1) for one in targets]))
    return found


def columns_of(tokens: torch.Tensor, vocabulary: int, count: int, seed: int) -> Columns:
    """These tokens, and a sample of ``count`` that stands for all others."""
    others = torch.ones(vocabulary, dtype=torch.bool)
    others[tokens.cpu()] = False
    rest = others.nonzero()[:, 0]
    dice = torch.Generator().manual_seed(seed)
    taken = rest[torch.randperm(len(rest), generator=dice)[:count]].to(tokens.device)
    ids, order = torch.cat([tokens, taken]).sort()
    weight = math.log(len(rest) / len(taken)) if len(taken) else 0.0
    addends = torch.cat(
        [
            tokens.new_zeros(len(tokens)).float(),
            torch.full((len(taken),), weight, device=tokens.device),
        ]
    )
    return Columns(ids, addends[order])


def divergence(target: Target, said: torch.Tensor) -> torch.Tensor:
    """KL(teacher || student) at each place, nats, ``(learned,)``; the rest counts as one token."""
    logs = said.log_softmax(-1).gather(-1, target.ids)
    teacher, student = target.logs.exp(), logs.exp()
    rest = (1 - teacher.sum(-1)).clamp(min=1e-6)
    left = (1 - student.sum(-1)).clamp(min=1e-6)
    among: torch.Tensor = (teacher * (target.logs - logs)).sum(-1)
    return among + rest * (rest.log() - left.log())


def _read(model: CausalModel, memory: str, lesson: Lesson) -> Read:
    if not lesson.asked:
        head = model.encode(f"{memory}\n\n" if memory else "")
        said = model.encode(lesson.said, special=False)
        # Without a beginning the first token has nothing to be foretold from.
        return Read((*head, *said), len(head) or 1)
    messages = [{"role": "system", "content": memory}] if memory else []
    asked = model.render([*messages, {"role": "user", "content": lesson.asked}])
    head = model.encode(asked)
    whole = model.encode(
        f"{asked} {lesson.said}\n" if not asked[-1:].isspace() else f"{asked}{lesson.said}\n"
    )
    same = next((i for i, (a, b) in enumerate(zip(head, whole, strict=False)) if a != b), len(head))
    return Read(tuple(whole), same)


def beginning(texts: Sequence[Sequence[int]]) -> list[int]:
    """What all begin with."""
    found = []
    for tokens in zip(*texts, strict=False):
        if len(set(tokens)) > 1:
            break
        found.append(tokens[0])
    return found
