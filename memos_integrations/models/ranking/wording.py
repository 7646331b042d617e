"""Cheap signs in the words of questions and memories. English; elsewhere most of them are 0."""

from __future__ import annotations

import re

KINDS: dict[str, re.Pattern[str]] = {
    "asks_when": re.compile(
        r"when|what (?:date|day|month|year|time)|(?:in|on|since) (?:what|which)|how long"
    ),
    "asks_where": re.compile(r"where|(?:what|which) (?:city|country|place|state|town)"),
    "asks_who": re.compile(r"who"),
    "asks_how_many": re.compile(r"how (?:many|much|often)"),
    "asks_why": re.compile(r"why"),
    "asks_how": re.compile(r"how"),
    "asks_whether": re.compile(
        r"(?:would|is|does|did|has|have|was|were|are|do|can|could|will|should)\b"
    ),
    "asks_which": re.compile(r"which|what (?:kind|type|sort)s? of"),
}
"""By feature: how a question of that kind begins. The first that fits is taken."""

_DAYS = "monday tuesday wednesday thursday friday saturday sunday"
_MONTHS = "january february march april may june july august september october november december"
_TIMES = "yesterday today tonight tomorrow last next ago week weekend month year years"
_NUMBERS = (
    "one two three four five six seven eight nine ten once twice first second third several couple"
)


def _any_of(words: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:\d+|{'|'.join(words.split())})\b", re.IGNORECASE)


_TIME = _any_of(f"{_DAYS} {_MONTHS} {_TIMES}")
_NUMBER = _any_of(_NUMBERS)
_NAME = re.compile(r"(?<![.!?]\s)(?<!^)\b[A-Z][a-z]+")
_ME = re.compile(r"\b(?:I|my|me|mine|we|our|us)\b", re.IGNORECASE)
_REMARK = re.compile(r"\s*\[[^\]]*\]\s*$")
_YOU = re.compile(r"\byour?\b", re.IGNORECASE)


def kind(question: str) -> str | None:
    """Which of :data:`KINDS` a question is of."""
    said = question.strip().lower()
    return next((name for name, begins in KINDS.items() if begins.match(said)), None)


def signs(text: str) -> dict[str, float]:
    """Of a memory: whether it names times, numbers and names, speaks of me or you, and how."""
    return {
        "names_times": float(_TIME.search(text) is not None),
        "names_numbers": float(_NUMBER.search(text) is not None),
        "names_names": float(min(3, len(_NAME.findall(text)))),
        "of_me": float(_ME.search(text) is not None),
        "of_you": float(_YOU.search(text) is not None),
        "asks": float(_REMARK.sub("", text).endswith("?")),
        "question_marks": float(min(3, text.count("?"))),
        "exclamations": float(min(3, text.count("!"))),
        "remark": float("[" in text),
    }
