"""Tense: whether the words around a date speak of what was or of what is to come."""

from __future__ import annotations

import re

PAST_VERBS = (
    "was|were|had|did|went|got|came|took|made|met|saw|bought|won|lost|left|began|gave|found|ate|ran"
    "|told|said|felt|flew|drove|held|built|read|spent|taught|wrote|moved|rang|sang|sat|stood|slept"
    "|became|broke|brought|caught|chose|drank|fell|forgot|grew|heard|kept|knew|paid|rode|sent|sold"
    "|spoke|stole|swam|thought|threw|understood|woke|wore"
)
"""The pasts that do not end in ``ed``, as alternatives of a pattern."""

# Patterns of words in small letters; a bar marks the place of the date.
_SURELY_AHEAD = re.compile(
    r"\b(?:will|shall|won't|gonna|going to|plan(?:s|ning)? to|hop(?:e|es|ing) to|upcoming"
    r"|looking forward|can't wait|about to|let's|remind|don't forget|remember to)\b"
    r"|'ll\b|(?<!thanks )(?<!thank you )(?<!sorry )\bfor(?: the)?\|"
)
_PAST = re.compile(
    rf"\b(?:(?:{PAST_VERBS})(?<!'ve got)(?<!'s got)(?<!have got)(?<!has got)(?<!to read)"
    r"|(?:was|were|did|had)n't|ago|since|been|done|gone|seen|last (?:time|night|week|month|year)"
    # "need" is no past, and what is planned or booked lies ahead; nor is "is closed on Friday".
    r"|(?!(?:need|feed|speed|seed|indeed|hundred|excited|booked|scheduled|planned|supposed)\b)"
    r"(?<!is )(?<!am )(?<!are )(?<!be )(?<!'s )(?<!'m )(?<!'re )\w{2,}ed)\b"
)
_LIKELY_AHEAD = re.compile(
    r"\b(?:back on|next(?! door)|plan(?:s|ned|ning)?|book(?:ed|ing)?|scheduled|flights?|fl(?:y|ies)"
    r"|due|deadline|expires?|ends?|runs? out|starts?|opens?|begins?|closes?|arrives?|leaves?"
    r"|departs?|can|wants? to|needs? to|ha(?:ve|s) to|good luck|excited|see you)\b"
    r"|\b(?:by|until)(?: the)?\|"
    r"|(?:\b(?:is|are)|'s|'re) (?:on|in)(?: the)?\|"
    r"|(?:\b(?:am|is|are)(?: not| i| we| you| he| she| they)?|'(?:m|s|re)(?: not)?) \w+ing\b"
)
_CUES = ((_SURELY_AHEAD, 1), (_PAST, -1), (_LIKELY_AHEAD, 1))

_MONTH_CUT_SHORT = r"(?<!\b(?:jan|feb|mar|apr|jun|jul|aug|sep|oct|nov|dec))(?<!\bsept)"
_STOP = re.compile(rf"[!?\n]|{_MONTH_CUT_SHORT}\.(?!\w)", re.IGNORECASE)
_BREAK = re.compile(
    rf"{_STOP.pattern}|[,;:()–—]|\b(?:and|but|so|because|which|who|while)\b", re.IGNORECASE
)
_REACH = 200


def direction(match: re.Match[str]) -> int:
    """Where the words around ``match`` point: -1 back, 1 ahead, 0 where they do not say.

    The clause is asked first, then its sentence, up to 200 characters each way. Each time what
    is surely ahead (will, going to) goes before the past (was, moved, ago), and that before what
    is often said of plans (flight, due, back on, I'm leaving).
    """
    for cut in (_BREAK, _STOP):
        words = _around(match, cut)
        for cue, way in _CUES:
            if cue.search(words):
                return way
    return 0


def _around(match: re.Match[str], cut: re.Pattern[str]) -> str:
    """The words around ``match`` up to the nearest cuts, its first word and a bar in its place."""
    text, first, last = match.string, max(0, match.start() - _REACH), match.end() + _REACH
    for end in cut.finditer(text, first, match.start()):
        first = end.end()
    if nearest := cut.search(text, match.end(), last):
        last = nearest.start()
    opening = match.group().split()[0]
    before, after = text[first : match.start()] + opening, text[match.end() : last]
    words = f"{' '.join(before.split())}| {' '.join(after.split())}"
    return words.lower().replace("’", "'")
