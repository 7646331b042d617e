"""Where quoted words stand in a text, whatever a model did to case, spaces, marks and letters."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

_MARKS = {
    "’": "'", "‘": "'", "‚": "'", "`": "'", "´": "'", "“": '"', "”": '"', "„": '"', "«": '"',
    "»": '"', "–": "-", "—": "-", "‐": "-", "‑": "-", "−": "-",
}  # fmt: skip
_GAP = re.compile(r"\s*(?:\.{3,}|…)\s*")
_ENDS = " \t\n\"'.,;:!?-()[]"
LEAST = 2
"""Letters and figures that a quotation has at least, unless the text itself has fewer."""
FARTHEST = 400
"""Characters between the parts of a quotation that leaves something out."""


@dataclass(frozen=True)
class _Folded:
    """A text made comparable, and where each of its characters came from."""

    text: str
    places: tuple[int, ...]


@lru_cache(maxsize=64)
def _folded(text: str) -> _Folded:
    letters: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        for letter in _fold(character):
            if letter == " " and letters and letters[-1] == " ":
                continue
            letters.append(letter)
            places.append(place)
    return _Folded("".join(letters), tuple(places))


def _fold(character: str) -> str:
    if character in _MARKS:
        return _MARKS[character]
    if character.isspace():
        return " "
    if unicodedata.category(character) == "Cf":  # it cannot be seen
        return ""
    return unicodedata.normalize("NFKD", character).casefold()


def find(text: str, quote: str) -> tuple[int, int] | None:
    """The place of ``quote`` in ``text`` as ``(start, stop)``; None if the words are not there.

    Exactly as given, else whatever its case, white space, kind of marks and composition of letters;
    an ellipsis in it may stand for up to 400 characters. The first place, if there are several.
    """
    if _count(quote) < min(LEAST, _count(text)):
        return None
    exact = text.find(quote)
    if exact >= 0:
        return exact, exact + len(quote)
    parts = [_folded(part).text.strip(_ENDS) for part in _GAP.split(quote)]
    parts = [part for part in parts if part]
    return _in_order(_folded(text), parts) if parts else None


def _in_order(within: _Folded, parts: list[str]) -> tuple[int, int] | None:
    begun, at = -1, 0
    for part in parts:
        found = _whole(within.text, part, at)
        if found < 0 or (begun >= 0 and found - at > FARTHEST):
            return None
        begun, at = (found if begun < 0 else begun), found + len(part)
    return within.places[begun], within.places[at - 1] + 1


def _whole(text: str, part: str, at: int) -> int:
    """Where ``part`` stands as whole words, else where it stands at all."""
    found = re.compile(rf"(?<!\w){re.escape(part)}(?!\w)").search(text, at)
    return found.start() if found else text.find(part, at)


def _count(text: str) -> int:
    return sum(character.isalnum() for character in text[:1_000])
