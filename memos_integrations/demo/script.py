"""What the demo plays: three conversations over six weeks, six questions, a change, a removal."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

USER = "maya"
"""The principal, and the namespace."""

SETTLED = "My flight to Porto is moved once more: Monday 26 October at 09:20, from Rotterdam."
"""What the memory of the flight says after the demo's update."""
SETTLED_TIME = datetime(2026, 10, 26, 8, 20, tzinfo=UTC)
"""When that flight leaves: 09:20 in Rotterdam."""


@dataclass(frozen=True)
class Session:
    """One sitting of the conversation."""

    title: str
    messages: list[dict[str, Any]]

    @property
    def day(self) -> str:
        """When it took place."""
        moment = datetime.fromisoformat(self.messages[0]["timestamp"])
        return f"{moment:%A} {moment.day} {moment:%B %Y}"


@dataclass(frozen=True)
class Question:
    """A question, and what the right memory says: all of ``expect``, word for word."""

    question: str
    expect: list[str]

    def is_answered_by(self, text: str) -> bool:
        """Whether ``text`` holds the expected words."""
        return all(words in text for words in self.expect)


@dataclass(frozen=True)
class Script:
    """The demo's material."""

    sessions: list[Session]
    questions: list[Question]
    update: Question
    """Finds the memory that is updated."""
    delete: Question
    """Finds the memory that is deleted."""


def read_script() -> Script:
    """The material that comes with the package."""
    raw = json.loads(files(__package__).joinpath("conversation.json").read_text("utf-8"))
    return Script(
        sessions=[Session(**session) for session in raw["sessions"]],
        questions=[Question(**question) for question in raw["questions"]],
        update=Question(**raw["update"]),
        delete=Question(**raw["delete"]),
    )
