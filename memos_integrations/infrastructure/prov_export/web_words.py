"""How wide words are in a browser, guessed on the wide side, and how they break into lines."""

from __future__ import annotations

from unicodedata import category, east_asian_width

_NARROW, _BROAD = frozenset("iljtfrI.,:;'!|()[]/ -·"), frozenset("mwMW@%&—…")


def width(text: str, size: float) -> float:
    """The width of a line in a common sans-serif font of this size, in the size's unit."""
    return sum(map(_ems, text)) * size


def wrapped(text: str, size: float, room: float, lines: int) -> list[str]:
    """At most ``lines`` lines that fit; the last one ends in an ellipsis if words are left out."""
    most = lines * 200  # far more than fits
    words = drawable(text[:most]).split()
    done: list[str] = []
    while words and len(done) < lines:
        line = _head(words.pop(0), size, room, words)
        while words and width(f"{line} {words[0]}", size) <= room:
            line += f" {words.pop(0)}"
        done.append(line)
    if words or len(text) > most:
        last = done.pop() if done else ""
        while last and width(last + "…", size) > room:
            last = last[:-1]
        done.append(last.rstrip() + "…")
    return done


def drawable(text: str) -> str:
    """``text`` on one line, without characters that a browser does not show or reorders by."""
    shown = (" " if char.isspace() else char for char in text)
    return " ".join("".join(c for c in shown if category(c) not in ("Cc", "Cs", "Cf")).split())


def _head(word: str, size: float, room: float, rest: list[str]) -> str:
    """As much of a word as fits; what is left of it goes back to ``rest``."""
    end = len(word)
    while end > 1 and width(word[:end], size) > room:
        end -= 1
    if end < len(word):
        rest.insert(0, word[end:])
    return word[:end]


def _ems(char: str) -> float:
    if category(char)[0] == "M":
        return 0.0
    if east_asian_width(char) in "WF":
        return 1.3 if category(char) == "So" else 1.05
    if char in _NARROW:
        return 0.4
    if char in _BROAD:
        return 0.95
    return 0.72 if char.isupper() else 0.58
