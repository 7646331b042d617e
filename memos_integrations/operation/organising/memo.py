"""A memory as the rules see it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from memos_integrations.operation.organising.statements import (
    MOST_CHARACTERS,
    Statement,
    read_statements,
)
from memos_integrations.operation.organising.words import TOKEN, content_words, exact_form, names

_WORDS = "i i'm i've i'd i'll me my mine myself we we're we've us our ours"
_FIRST_PERSON = frozenset(_WORDS.split())


@dataclass(frozen=True)
class Memo:
    """Words, who said them, and when what they tell happened (None for what is not an event)."""

    text: str
    speaker: str | None = None
    event_time: datetime | None = None

    @cached_property
    def statements(self) -> list[Statement]:
        """Read at first use."""
        return read_statements(self.text, self.speaker)

    @cached_property
    def words(self) -> frozenset[str]:
        """Content words of the beginning."""
        return content_words(self.text[:MOST_CHARACTERS])

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names in order, lower-cased."""
        return names(self.text[:MOST_CHARACTERS])

    @cached_property
    def entities(self) -> frozenset[str]:
        """Names, and subjects that are somebody."""
        subjects = {one.subject for one in self.statements} - {"?", "", "i", "order"}
        return frozenset(self.names) | subjects

    @cached_property
    def form(self) -> str:
        """The text without case, repeated white space and marks at its ends."""
        return exact_form(self.text)

    @cached_property
    def personal(self) -> bool:
        """Whether it speaks in the first person: who said it then matters."""
        words = TOKEN.findall(self.text[:MOST_CHARACTERS].casefold().replace("’", "'"))
        return not _FIRST_PERSON.isdisjoint(words)

    @property
    def asks(self) -> bool:
        """Whether it holds a question."""
        return any(one.question for one in self.statements)

    @property
    def read_whole(self) -> bool:
        """Whether none of it was too long to be read."""
        return len(self.text) <= MOST_CHARACTERS
