"""Which words of one text stand in another: Ratcliff and Obershelp's matching, by ``difflib``.

Its time grows with the square, so long texts are cut first where a run of words stands once in
both (the patience diff of Bram Cohen, with runs in place of lines).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

_CHINESE_AND_JAPANESE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORDS = re.compile(
    rf"[{_CHINESE_AND_JAPANESE}]|[^\W{_CHINESE_AND_JAPANESE}]+|[^\w\s]"  # written without spaces
)
_WORDS_AND_SPACES = re.compile(rf"{_WORDS.pattern}|\s+")
_EXACT_UP_TO = 1_000
"""Words. What is longer and has no run of words in common counts as rewritten."""
_RUN = 4
"""Words in a row that tell a place in a text."""

Match = tuple[int, int, int]
"""``earlier[one : one + length] == later[other : other + length]``: one, other, length."""


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where each word begins and ends; a mark of punctuation is a word."""
    return [found.span() for found in _WORDS.finditer(text)]


def words_and_spaces(text: str) -> list[str]:
    """The words and what stands between them; joined, they are the text."""
    return _WORDS_AND_SPACES.findall(text)


def matches(earlier: Sequence[str], later: Sequence[str]) -> Iterator[Match]:
    """What both have in common, in order; the same beginning and end first."""
    shortest = min(len(earlier), len(later))
    start = next((i for i in range(shortest) if earlier[i] != later[i]), shortest)
    rest = range(shortest - start)
    end = next((i for i in rest if earlier[-1 - i] != later[-1 - i]), len(rest))
    if start:
        yield 0, 0, start
    one = earlier[start : len(earlier) - end]
    other = later[start : len(later) - end]
    for a, b, length in _within(one, other):
        yield start + a, start + b, length
    if end:
        yield len(earlier) - end, len(later) - end, end


def _within(one: Sequence[str], other: Sequence[str]) -> Iterator[Match]:
    """What is in common between two beginnings and two ends."""
    if max(len(one), len(other)) <= _EXACT_UP_TO:
        found = SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks()
        yield from (block for block in found if block.size)
        return
    i = j = 0
    for a, b in _anchors(one, other):
        if a >= i and b >= j:
            yield from _gap(one, other, (i, a), (j, b))
            length = _run(one, other, a, b)
            yield a, b, length
            i, j = a + length, b + length
    yield from _gap(one, other, (i, len(one)), (j, len(other)))


def _gap(
    one: Sequence[str], other: Sequence[str], here: tuple[int, int], there: tuple[int, int]
) -> Iterator[Match]:
    """What two places between anchors have in common; nothing, if they are long."""
    part, beside = one[slice(*here)], other[slice(*there)]
    if max(len(part), len(beside)) <= _EXACT_UP_TO:
        for a, b, length in _within(part, beside):
            yield here[0] + a, there[0] + b, length


def _run(one: Sequence[str], other: Sequence[str], a: int, b: int) -> int:
    """How many words are equal from two places on."""
    most = min(len(one) - a, len(other) - b)
    return next((n for n in range(most) if one[a + n] != other[b + n]), most)


def _anchors(one: Sequence[str], other: Sequence[str]) -> list[tuple[int, int]]:
    """Where runs of words stand that each text has once: the most that are in the same order."""
    here, there = _single_runs(one), _single_runs(other)
    pairs = [(place, there[run]) for run, place in here.items() if run in there]
    ends: list[int] = []  # the smallest place at which a row of each length ends
    last: list[int] = []  # which pair that is
    before: list[int] = []  # the pair before each pair, in its row
    for number, (_, place) in enumerate(pairs):
        length = bisect_left(ends, place)
        before.append(last[length - 1] if length else -1)
        ends[length : length + 1], last[length : length + 1] = [place], [number]
    row, at = [], last[-1] if last else -1
    while at >= 0:
        row.append(pairs[at])
        at = before[at]
    return row[::-1]


def _single_runs(words: Sequence[str]) -> dict[tuple[str, ...], int]:
    """The runs of words that stand once, with their places, in order."""
    runs = [tuple(words[at : at + _RUN]) for at in range(len(words) - _RUN + 1)]
    often = Counter(runs)
    return {run: at for at, run in enumerate(runs) if often[run] == 1}
