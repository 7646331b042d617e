"""What is known while turns are read: by whom, which are left out and why, what came of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from memos_integrations.cube import MemCube, State
from memos_integrations.interface.extracting.asking import Asker
from memos_integrations.interface.extracting.prompting import Prompt
from memos_integrations.interface.extracting.reading import LONGEST_TURN, Meter
from memos_integrations.interface.extraction import Extraction, Refused, Unread, spans_of

_SHOWN = (State.GENERATED, State.ACTIVATED, State.FROZEN)


@dataclass(frozen=True)
class Reader:
    """A model with a prompt: what has read a turn once need not read it again."""

    model: Asker
    prompt: Prompt
    meter: Meter

    @property
    def key(self) -> str:
        """Equal for the same model by name, and the same words of the prompt."""
        told = json.dumps([self.model.name, self.prompt.version, self.prompt.digest])
        return hashlib.sha256(told.encode()).hexdigest()[:24]

    @property
    def stamp(self) -> dict[str, str]:
        """What each fact says of its making."""
        return {
            "model": self.model.name,
            "prompt": self.prompt.version,
            "prompt_sha256": self.prompt.digest,
        }


@dataclass
class Report:
    """What has come of a reading so far; see :class:`Extraction`."""

    turns: Sequence[MemCube]
    reader: Reader
    facts: list[MemCube] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)

    def count(self, ignored: dict[str, int]) -> None:
        """Fields that an answer had besides those that were asked for."""
        for name, times in ignored.items():
            self.ignored[name] = self.ignored.get(name, 0) + times

    def done(self, dry_run: bool) -> Extraction:
        """All of it."""
        meter = self.reader.meter
        return Extraction(
            tuple(self.facts),
            tuple(self.turns),
            tuple(self.read),
            tuple(self.known),
            tuple(self.unread),
            tuple(self.refused),
            dict(self.ignored),
            meter.calls,
            meter.prompt_tokens,
            meter.answer_tokens,
            meter.estimated,
            self.reader.model.name,
            self.reader.prompt.version,
            dry_run,
        )


@dataclass(frozen=True)
class Marks:
    """Ids of turns, by what is known of them."""

    read: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    """In quarantine."""
    hidden: set[str] = field(default_factory=set)
    """No search may show them."""

    def why(self, turn: MemCube) -> str:
        """Why a turn is shown to no model; empty: it may be."""
        if turn.id in self.held:
            return "it is in quarantine: look at it and release() it, or leave it"
        return "its time is over" if turn.id in self.hidden else ""


def unfit(turn: MemCube) -> str:
    """Why a memory cannot be read; empty: it can."""
    if spans_of(turn):
        return "it was extracted itself"
    if not turn.text:
        return f"it has no words ({turn.memory_type})"
    if turn.state not in _SHOWN:
        return f"it is {turn.state}"
    if len(turn.text) > LONGEST_TURN:
        return f"it has more than {LONGEST_TURN:,} characters: add it as content, which is cut"
    return ""
