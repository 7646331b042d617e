"""Where quoted words stand in a text, whatever a model did to case, spaces, marks and letters."""

from __future__ import annotations

import re
import unicodedata
from functools import cached_property

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


class Searched:
    """A text that words are looked for in; what it is made comparable by is kept with it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def find(self, quote: str) -> tuple[int, int] | None:
        """The place of ``quote`` as ``(start, stop)``; None if the words are not there.

        Exactly as given, else whatever its case, white space, kind of marks and composition of
        letters; an ellipsis in it may stand for up to 400 characters. The first place of several.
        """
        if _count(quote) < min(LEAST, _count(self.text)):
            return None
        exact = self.text.find(quote)
        if exact >= 0:
            return exact, exact + len(quote)
        parts = [_folded(part)[0].strip(_ENDS) for part in _GAP.split(quote)]
        parts = [part for part in parts if part]
        return self._in_order(parts) if parts else None

    @cached_property
    def _comparable(self) -> tuple[str, list[int]]:
        return _folded(self.text)

    def _in_order(self, parts: list[str]) -> tuple[int, int] | None:
        folded, places = self._comparable
        begun, at = -1, 0
        for part in parts:
            found = _whole(folded, part, at)
            if found < 0 or (begun >= 0 and found - at > FARTHEST):
                return None
            begun, at = (found if begun < 0 else begun), found + len(part)
        return places[begun], places[at - 1] + 1


def find(text: str, quote: str) -> tuple[int, int] | None:
    """As :meth:`Searched.find`, in a text that is searched once."""
    return Searched(text).find(quote)


def _folded(text: str) -> tuple[str, list[int]]:
    """A text made comparable, and where each of its characters came from."""
    letters: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        for letter in _fold(character):
            if letter == " " and letters and letters[-1] == " ":
                continue
            letters.append(letter)
            places.append(place)
    return "".join(letters), places


def _fold(character: str) -> str:
    if character in _MARKS:
        return _MARKS[character]
    if character.isspace():
        return " "
    if unicodedata.category(character) == "Cf":  # it cannot be seen
        return ""
    return unicodedata.normalize("NFKD", character).casefold()


def _whole(text: str, part: str, at: int) -> int:
    """Where ``part`` stands as whole words, else where it stands at all."""
    found = re.compile(rf"(?<!\w){re.escape(part)}(?!\w)").search(text, at)
    return found.start() if found else text.find(part, at)


def _count(text: str) -> int:
    return sum(character.isalnum() for character in text[:1_000])
