"""A question and its answer: time window, memory call, hit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from memos_integrations.checks import check_time
from memos_integrations.cube import MemCube
from memos_integrations.errors import InvalidInputError


@dataclass(frozen=True)
class TimeWindow:
    """From ``start`` up to, not including, ``end``; ``None`` leaves that side open."""

    start: datetime | None = None
    end: datetime | None = None

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            moment = getattr(self, name)
            if moment is not None:
                object.__setattr__(self, name, check_time(moment, what=f"time window {name}"))
        if self.start and self.end and self.start >= self.end:
            raise InvalidInputError(
                f"the time window ends ({self.end.isoformat()}) before it starts "
                f"({self.start.isoformat()}): swap them"
            )

    def __contains__(self, moment: datetime) -> bool:
        return (self.start is None or self.start <= moment) and (
            self.end is None or moment < self.end
        )


@dataclass(frozen=True)
class MemoryCall:
    """What a question asks for, as the reader understood it (the paper's MemoryCall)."""

    text: str
    """The question, word for word."""
    window: TimeWindow | None = None
    """The time that the question speaks of; it raises memories of that time, it drops none."""
    entities: tuple[str, ...] = ()
    """Names in the question."""
    phrase: str = ""
    """The words that the window was read from, such as ``last Friday``."""


@dataclass(frozen=True)
class Successor:
    """What says it now, in place of an older memory."""

    id: str
    text: str
    since: datetime
    """When the older one ceased to hold: the newer one's event time, else when it was said."""


@dataclass(frozen=True)
class Hit:
    """One memory that came back."""

    cube: MemCube
    score: float
    """0 to 1: the sum of its parts over the most that the question could give."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """What the score was made of: ``dense`` (cosine), ``lexical`` (BM25), ``speaker``, ..."""
    why: str = ""
    """The reason, in one line."""
    superseded_by: Successor | None = None
    """What has replaced this memory, where :meth:`MemorySession.organise` found something."""

    @property
    def said(self) -> str:
        """Who said it, and what: ``Maya: I moved to Oslo``; the text alone, if nobody is named."""
        speaker = self.cube.header.descriptive.speaker
        return f"{speaker}: {self.cube.text}" if speaker else self.cube.text

    def metadata(self) -> dict[str, Any]:
        """What a framework's document carries beside the text; JSON-plain, ``None`` left out.

        The same keys in every adapter: ``id``, ``version``, ``score``, ``score_parts``, ``why``,
        the header's descriptive fields, ``state``, ``memory_type``, ``namespace``, and the
        caller's own under ``metadata``; of what was replaced ``superseded_by`` and
        ``valid_until``.
        """
        about = self.cube.header.descriptive.model_dump(mode="json")
        facts = {
            "id": self.cube.id,
            "version": self.cube.version,
            "score": self.score,
            "score_parts": dict(self.parts),
            "why": self.why,
            "namespace": list(self.cube.namespace),
            "state": self.cube.state.value,
            "memory_type": self.cube.memory_type,
            "owner": self.cube.header.governance.owner,
            **about,
        }
        if self.superseded_by is not None:
            facts["superseded_by"] = self.superseded_by.id
            facts["valid_until"] = self.superseded_by.since.isoformat()
        return {name: value for name, value in facts.items() if value is not None}


@dataclass(frozen=True)
class Use:
    """A memory stood in a prompt."""

    prompt: str
    """Which prompt, by the name that the caller gave it."""
    position: int
    """Where among the memories in it, from 0."""
    version: int
    """Which version of the memory."""
    at: datetime
