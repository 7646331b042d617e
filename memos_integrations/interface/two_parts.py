"""A question that asks two things, as the questions that it is made of. English, by rules.

"Where did Maya go and what did Jonas buy?" asks for two memories; as a whole it is like neither.
"""

from __future__ import annotations

import re

from memos_integrations.interface.questions import entities

MOST = 4
"""More parts than this are not looked for: that is no question, it is a list."""

_WH = r"(?:who|whom|whose|what|when|where|which|why|how)\b"
_DOES = r"(?:did|does|do|is|are|was|were|has|have|had|can|could|will|would|should)\b"
_SUBJECT = r"(?:I|you|he|she|it|we|they|(?-i:[A-Z])\w*(?!['’\w]))\b"
# "and is his favourite", "and have a rest" go on with what was asked; "and did she" asks anew.
_ANEW = rf"(?:(?:in|on|at|to|for|from|with)\s+)?(?:{_WH}|{_DOES}\s+{_SUBJECT})"
_JOINT = re.compile(
    rf"\s*\?+\s+(?:and\s+|but\s+)?|\s*[,;]?\s+(?:and|but|or)\s+(?:also\s+)?(?={_ANEW})",
    re.IGNORECASE,
)
_WHOLE = re.compile(rf"(?:(?:in|on|at|to|for|from|with)\s+)?(?:{_WH}|{_DOES})", re.IGNORECASE)
_LEAST_WORDS = 3


def parts_of(question: str) -> tuple[str, ...]:
    """The questions in ``question``, in order; none if it asks for one thing.

    A part that names nobody asks about those whom the part before it names: they stand behind it.
    """
    parts = [part.strip(" ?\t\n") for part in _JOINT.split(question.strip())]
    if not 2 <= len(parts) <= MOST or not all(map(_is_question, parts)):
        return ()
    named: tuple[str, ...] = ()
    found = []
    for part in parts:
        own = entities(part)
        behind = "" if own else "".join(f" {name}" for name in named)
        named = own or named
        found.append(f"{part}{behind}?")
    return tuple(found)


def _is_question(part: str) -> bool:
    return len(part.split()) >= _LEAST_WORDS and _WHOLE.match(part) is not None
