"""A question as a search uses it: whom of the speakers it names, and its words without them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from memos_integrations.infrastructure.lexical import tells
from memos_integrations.protocols import Vectors
from memos_integrations.query import MemoryCall

_WHEN = re.compile(
    r"\s*(?:when|what (?:date|day|month|year|time)|how long|(?:in|on|since) (?:what|which))\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Question:
    """What is looked for."""

    call: MemoryCall
    vector: Vectors | None
    """float32 ``(dimension,)``, unit length; ``None``: by words alone."""
    named: frozenset[str] = frozenset()
    """The speakers of this namespace whom the question names."""

    @cached_property
    def words(self) -> str:
        """What is asked without the names of speakers, which stand in all that they said."""
        return without_names(self.call.text, self.named)

    @property
    def asks_when(self) -> bool:
        """Whether the answer is a time."""
        return _WHEN.match(self.call.text) is not None


def without_names(text: str, named: Iterable[str]) -> str:
    """``text`` without these names; as it is if nothing telling is left.

    Turns address the *other* person by name, so a name in the question draws those who speak to
    her in place of what she says.
    """
    names = "|".join(re.escape(name) for name in sorted(named, key=lambda n: (-len(n), n)))
    if not names:
        return text
    rest = re.sub(rf"\b(?:{names})\b(?:['’]s\b)?", " ", text)
    rest = " ".join(rest.split())
    return rest if tells(rest) else text
