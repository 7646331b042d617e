"""A prompt as tokens, which memory each of them came from, and where its prefill is cut.

Where a prefill is cut depends on the tokens and the ends of memories alone, never on what is
cached. So a hit continues from exactly the state that a miss would have computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from memos_integrations.errors import InvalidInputError

SHORTEST = 64
"""Tokens that a piece has at least, unless a prompt says that its memories end there."""
LONGEST = 512
"""Tokens that go through the model at once, at most."""


@dataclass(frozen=True, order=True)
class Source:
    """One version of one memory."""

    cube_id: str
    version: int


@dataclass(frozen=True)
class Span:
    """The tokens from ``start`` up to, not including, ``end`` came from a memory."""

    start: int
    end: int
    source: Source


@dataclass(frozen=True)
class Prompt:
    """What the model reads."""

    tokens: tuple[int, ...]
    spans: tuple[Span, ...] = ()
    """The memories in it, in order, not overlapping."""
    salt: str = ""
    """Whose prompt: caches are shared only under the same salt."""
    foreign: int | None = None
    """From this token on, words of unknown memories follow: nothing behind it is kept."""
    also: frozenset[Source] = frozenset()
    """Memories that may be meant by some span, too; every piece with a memory knows them."""
    ends: tuple[int, ...] = field(init=False)
    """Where the pieces of the prefill end; the last is the whole prompt."""

    def __post_init__(self) -> None:
        if not self.tokens:
            raise InvalidInputError("the prompt is empty: give at least one token")
        at = 0
        for span in self.spans:
            if not at <= span.start < span.end <= len(self.tokens):
                raise InvalidInputError(f"{span} does not lie behind the one before it")
            at = span.end
        object.__setattr__(self, "ends", split(len(self.tokens), [span.end for span in self.spans]))

    def pieces(self) -> list[tuple[int, ...]]:
        """The tokens of each piece."""
        starts = (0, *self.ends[:-1])
        return [self.tokens[start:end] for start, end in zip(starts, self.ends, strict=True)]

    def sources(self, start: int, end: int) -> frozenset[Source]:
        """The memories of which some words stand between two tokens."""
        found = frozenset(s.source for s in self.spans if s.start < end and start < s.end)
        return found | self.also if found else found


def split(length: int, memory_ends: Sequence[int]) -> tuple[int, ...]:
    """Where to cut a prompt of ``length`` tokens, whose memories end at ``memory_ends``.

    A piece ends with a memory once it has :data:`SHORTEST` tokens, with the last memory in any
    case, and after :data:`LONGEST` tokens. At least one token stays for the last piece: its
    logits are the answer.
    """
    last = max((end for end in memory_ends if end < length), default=0)
    inner = sorted({end for end in memory_ends if 0 < end < length})
    cuts: list[int] = []
    at = 0
    for end in [*inner, length - 1]:
        while end - at > LONGEST:
            at += LONGEST
            cuts.append(at)
        if end > at and (end == last or (end in inner and end - at >= SHORTEST)):
            at = end
            cuts.append(at)
    return (*cuts, length)
