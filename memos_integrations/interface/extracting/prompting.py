"""What a model is asked: a versioned prompt, and turns that cannot end their own quotation."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from memos_integrations.checks import check_text
from memos_integrations.cube import MemCube
from memos_integrations.errors import InvalidInputError

PACKAGED = ("extract_v1",)
"""The prompts that come with the package, the newest last."""

# Angle brackets make the marks of chat templates, and what cannot be seen may spell something:
# both are written as JSON escapes, which mean the same to who reads JSON.
_ESCAPED = re.compile(
    "[<>\u0085\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e01ef]"
)
_VERSION = re.compile(r"[A-Za-z0-9][\w.-]{0,63}")


@dataclass(frozen=True)
class Prompt:
    """Instructions, under a name that changes when they do. Each fact keeps the name."""

    version: str
    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.version, str) or not _VERSION.fullmatch(self.version):
            raise InvalidInputError(
                f"prompt version {self.version!r}: use letters, digits, _, . and -, at most 64"
            )
        check_text(self.text, what="prompt", max_bytes=64_000)

    @classmethod
    def packaged(cls, version: str = PACKAGED[-1]) -> Prompt:
        """One that comes with the package."""
        if version not in PACKAGED:
            raise InvalidInputError(f"prompt {version!r}: use one of {', '.join(PACKAGED)}")
        file = files("memos_integrations.interface.extracting") / "prompts" / f"{version}.txt"
        return cls(version, file.read_text(encoding="utf-8"))

    @property
    def digest(self) -> str:
        """Of the words: the same name with other words is another prompt."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Asked:
    """One question to a model."""

    instructions: str
    turns: str

    @property
    def text(self) -> str:
        """As one text, for models that take no messages."""
        return f"{self.instructions.rstrip()}\n\n{self.turns}"

    @property
    def tokens(self) -> int:
        """An estimate."""
        return estimate(self.text)


def estimate(text: str) -> int:
    """Tokens of a text, where nobody counts them: four bytes each."""
    return len(text.encode("utf-8", "surrogatepass")) // 4 + 1


def ask(prompt: Prompt, turns: Sequence[MemCube], trouble: str = "") -> Asked:
    """The question for these turns, which are numbered from 1.

    ``trouble``: what was wrong with the last answer.
    """
    lines = [line(number, turn) for number, turn in enumerate(turns, 1)]
    again = f"\nYour last answer could not be used: {trouble}. Give the JSON object alone."
    return Asked(prompt.text, "\n".join(lines) + (again if trouble else ""))


def line(number: int, turn: MemCube) -> str:
    """A turn as one line of JSON."""
    about = turn.header.descriptive
    fields: dict[str, object] = {
        "turn": number,
        "speaker": about.speaker or about.role or about.origin,
        "text": turn.text,
    }
    if about.said_at is not None:
        fields["said"] = f"{about.said_at:%Y-%m-%d, %A}"
    return _ESCAPED.sub(_escape, json.dumps(fields, ensure_ascii=False))


def _escape(found: re.Match[str]) -> str:
    return (
        json.dumps(found.group())[1:-1]
        if ord(found.group()) > 127
        else f"\\u{ord(found.group()):04x}"
    )
