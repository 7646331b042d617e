"""The reader that uses a language model: what it is given, and what it reports.

Turns go in as they were said; facts, preferences and events come out, each with the words that it
came from. How it is done stands in :mod:`memos_integrations.interface.extracting`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from memos_integrations.cube import MemCube
from memos_integrations.errors import InvalidInputError

FIELD = "extraction"
"""Where in a fact's metadata stands how it was made."""


@dataclass(frozen=True)
class Budget:
    """What one call may ask of the model; ``None``: no limit.

    Tokens are those that the model reports, else an estimate of four bytes each. A call is made
    if its prompt fits; its answer may go beyond by itself, and then is the last one.
    """

    calls: int | None = 20
    tokens: int | None = 100_000

    def __post_init__(self) -> None:
        for name in ("calls", "tokens"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 0):
                raise InvalidInputError(f"{name} is {value!r}: give a number, or None for no limit")


@dataclass(frozen=True)
class Span:
    """Words of a memory: ``text[start:stop]`` of one version of it."""

    memory_id: str
    version: int
    start: int
    stop: int


@dataclass(frozen=True)
class Quote:
    """The words that a fact came from; as a string, a line to read."""

    span: Span
    words: str
    speaker: str | None = None

    def __str__(self) -> str:
        who = f"{self.speaker}: " if self.speaker else ""
        place = f"{self.span.memory_id} v{self.span.version} [{self.span.start}:{self.span.stop}]"
        return f"{who}{self.words!r} ({place})"


@dataclass(frozen=True)
class Refused:
    """Something that the model said and that was not written, and why."""

    said: str
    """Its beginning."""
    why: str


@dataclass(frozen=True)
class Unread:
    """A turn that was not read, and why. It is kept; the next call tries it again."""

    memory_id: str
    why: str


@dataclass(frozen=True)
class Extraction:
    """What became of a reading; as a string, lines to read. A loop over it gives the facts."""

    facts: tuple[MemCube, ...] = ()
    """What was written; in a dry run what would be."""
    turns: tuple[MemCube, ...] = ()
    """What was to be read: the raw turns, as they are kept."""
    read: tuple[str, ...] = ()
    """The ids of the turns that were read now."""
    known: tuple[str, ...] = ()
    """Of those that the same reader had read before: nothing was asked or written."""
    unread: tuple[Unread, ...] = ()
    refused: tuple[Refused, ...] = ()
    ignored: Mapping[str, int] | None = None
    """Fields in answers that nobody asked for, by name: nothing reads them."""
    calls: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    estimated: bool = False
    """Whether tokens had to be estimated, for some of the calls."""
    model: str = ""
    prompt: str = ""
    """The version of the prompt."""
    dry_run: bool = False

    def __iter__(self) -> Iterator[MemCube]:
        return iter(self.facts)

    def __len__(self) -> int:
        return len(self.facts)

    def __bool__(self) -> bool:
        return bool(self.facts)

    @property
    def tokens(self) -> int:
        """Of prompts and answers."""
        return self.prompt_tokens + self.answer_tokens

    def __str__(self) -> str:
        kinds = Counter(fact.header.descriptive.semantic_type for fact in self.facts)
        made = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "no facts"
        would = "would write " if self.dry_run else ""
        about = "about " if self.estimated else ""
        lines = [
            f"{self.model}, {self.prompt}: {would}{made} from {len(self.read)} turns"
            f" ({len(self.known)} read before, {len(self.unread)} unread),"
            f" {self.calls} calls, {about}{self.tokens} tokens"
        ]
        lines += [f"  {fact.text}" for fact in self.facts]
        lines += [f"  refused: {one.said!r}: {one.why}" for one in self.refused]
        lines += [f"  unread: {one.memory_id}: {one.why}" for one in self.unread]
        return "\n".join(lines)


def spans_of(fact: MemCube) -> tuple[Span, ...]:
    """The words that a fact came from, first those that the model quoted; none of other memories.

    What is copied into a branch or another store keeps the ids of where it was made.
    """
    about: Any = fact.metadata.get(FIELD)
    rows = about.get("spans", ()) if isinstance(about, Mapping) else ()
    found = [_span(row) for row in rows] if isinstance(rows, tuple | list) else []
    return tuple(span for span in found if span is not None)


def _span(row: Any) -> Span | None:
    """Metadata is the caller's: what is no span is none."""
    if not isinstance(row, Mapping):
        return None
    id, numbers = row.get("memory"), [row.get(name) for name in ("version", "start", "stop")]
    whole = [one for one in numbers if type(one) is int]
    return Span(id, *whole) if isinstance(id, str) and len(whole) == 3 else None
