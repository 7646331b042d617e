"""A question read for what it asks: its time and its names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from memos_integrations.checks import check_text, check_time
from memos_integrations.interface.dates import scan_times
from memos_integrations.query import MemoryCall

_QUOTED = re.compile(
    r'"([^"]{1,200})"|“([^”]{1,200})”|«([^»]{1,200})»|(?<!\w)[\'‘]([^\'‘’]{1,200})[\'’](?!\w)'
)
_WORD = re.compile(r"\w[\w&]*(?:[-.'’]\w+)*")
_POSSESSIVE = re.compile(r"['’][sS]$|(?<=[sS])['’]$")

_BETWEEN = re.compile(r"[ \t]+(?:(?:of|de|da|van|von|der|la|du)[ \t]+(?:the[ \t]+)?)?")
_SHORT = re.compile(r"(?:\w\.)*\w|Dr|Mr|Ms|Mrs|St|Prof")

# Words that open a sentence with a capital and name nobody.
_OPENING_WORDS = """
    a about according after all also am an and answer any are around as at based be because
    before between but by can could describe did do does during explain find for from give had
    has have he hello her hey hi his how i if in is it its let list many may maybe me might my
    name no not now of ok okay on one or our please remember remind shall she should show since
    so some summarise summarize tell than thanks that the their them then there these they this
    those through to under until was we were what whats when where wheres whether which while
    who whom whos whose why will with would yes yet you your
"""
_OPENERS = frozenset(_OPENING_WORDS.split())
_I = re.compile(r"i(?:['’](?:m|ve|d|ll))?", re.IGNORECASE)


def read_question(question: object, *, now: datetime) -> MemoryCall:
    """Return what ``question`` asks for, its time phrase resolved against ``now`` (aware).

    Memory is asked for what was: a date without a year is the latest, unless the words look ahead.
    """
    text = check_text(question, what="question")
    times = list(scan_times(text, check_time(now, what="now"), lean=-1))
    names = entities(text, without=[found.span() for found, _ in times])
    if not times:
        return MemoryCall(text, entities=names)
    found, window = times[0]
    return MemoryCall(text, window, names, " ".join(found.group().split()))


def entities(text: str, *, without: Iterable[tuple[int, int]] = ()) -> tuple[str, ...]:
    """Return the names in ``text``: quoted strings and runs of capitalised words, each once.

    A run may hold initials and small words between (``J. K. Rowling``, ``Lord of the Rings``).
    ``without`` are the places, in order, of phrases that name nobody (``last May``).
    """
    text = _hide(without, text)
    found = [
        (match.start(), next(filter(None, match.groups())).strip())
        for match in _QUOTED.finditer(text)
    ]
    found += _names(_hide((match.span() for match in _QUOTED.finditer(text)), text))
    return tuple(dict.fromkeys(name for _, name in sorted(found) if name))


def _hide(places: Iterable[tuple[int, int]], text: str) -> str:
    """``text`` with commas in those places, so that all else stays where it is."""
    kept, last = [], 0
    for start, end in places:
        kept += [text[last:start], "," * (end - start)]
        last = end
    return "".join([*kept, text[last:]])


def _names(text: str) -> list[tuple[int, str]]:
    """Each run of capitalised words, with its place."""
    runs: list[tuple[int, re.Match[str]]] = []  # its start, its last word
    for word in _WORD.finditer(text):
        if not _is_name(word, text):
            continue
        if runs and _joins(runs[-1][1], word, text):
            runs[-1] = runs[-1][0], word
        else:
            runs.append((word.start(), word))
    return [
        (start, _POSSESSIVE.sub("", " ".join(text[start : last.end()].split())))
        for start, last in runs
    ]


def _joins(last: re.Match[str], word: re.Match[str], text: str) -> bool:
    """Whether two capitalised words, one after the other, are of one name."""
    between = text[last.end() : word.start()]
    if between[:1] == ".":
        return bool(_SHORT.fullmatch(last.group())) and between.strip(" ") == "."
    return bool(_BETWEEN.fullmatch(between)) and not _POSSESSIVE.search(last.group())


def _is_name(word: re.Match[str], text: str) -> bool:
    letters = word.group()
    if not letters[0].isupper() or _I.fullmatch(letters):
        return False
    before = text[max(0, word.start() - 8) : word.start()].rstrip(" \t\"'“‘(«")
    opens = not before or before[-1] in ".!?:;\n"
    return not (opens and re.split("['’]", letters.lower())[0] in _OPENERS)
