"""Parts of phrases: whose, and the head of a value."""

from __future__ import annotations

import re

_CUT = re.compile(
    r",| (?:and (?!\w+$)|because |that |which |who |with |instead of |since |before |after |when "
    r"|but |so |near |for |from |in |at |on )"
)
_FIRST = ("a ", "an ", "the ", "my ", "our ", "some ")


def owner_of(word: str, speaker: str) -> str:
    """``my``, ``anna's`` or ``the`` as a subject."""
    if word in ("my", "our", "the user's", "user's"):
        return speaker
    if word == "the":
        return ""
    word = word.removeprefix("the ").removesuffix("'s")
    return owned_by(speaker, word[3:]) if word.startswith("my ") else word


def owned_by(owner: str, noun: str) -> str:
    """``maya's sister``."""
    return f"{owner}'s {noun}" if owner else noun


def head_of(value: str) -> str:
    """The head of a value: what stands before the first comma, preposition or clause."""
    for first in _FIRST:
        value = value.removeprefix(first)
    head = _CUT.split(value, maxsplit=1)[0].strip()
    return head or value


def tail_of(value: str) -> str:
    """What :func:`head_of` leaves out."""
    head = head_of(value)
    return value.partition(head)[2] if head else ""
