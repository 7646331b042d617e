"""Labelled conversations: what was said, what is asked, and which turns answer it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class Turn:
    """One utterance."""

    id: str
    text: str
    speaker: str | None = None
    role: str = "user"
    said_at: datetime | None = None
    session: str = ""
    """Which talk it belongs to; empty: one talk is all there is."""

    @property
    def line(self) -> str:
        """As it stands in a prompt: the same for every row, so that prompts cost the same."""
        day = f"{self.said_at.date().isoformat()} " if self.said_at else ""
        return f"- {day}{self.speaker or self.role}: {self.text}"


@dataclass(frozen=True)
class Asked:
    """A question with the ids of the turns that answer it."""

    text: str
    evidence: frozenset[str]
    category: str = "all"


@dataclass(frozen=True)
class Conversation:
    """What is remembered together, and what is asked about it."""

    id: str
    turns: tuple[Turn, ...]
    questions: tuple[Asked, ...]


@dataclass(frozen=True)
class Labelled:
    """Conversations from one file."""

    name: str
    conversations: tuple[Conversation, ...]
    skipped: Counter[str] = field(default_factory=Counter)
    """What could not be used, and how often."""

    @property
    def turns(self) -> int:
        """How many in all."""
        return sum(len(one.turns) for one in self.conversations)

    @property
    def questions(self) -> int:
        """How many in all."""
        return sum(len(one.questions) for one in self.conversations)

    @property
    def categories(self) -> list[str]:
        """In the order in which they first occur."""
        every = [asked.category for one in self.conversations for asked in one.questions]
        return list(dict.fromkeys(every))
