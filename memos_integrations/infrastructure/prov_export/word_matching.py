"""Which words of one text stand in another: Ratcliff and Obershelp's matching, by ``difflib``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

_CHINESE_AND_JAPANESE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORDS = re.compile(
    rf"[{_CHINESE_AND_JAPANESE}]|[^\W{_CHINESE_AND_JAPANESE}]+|[^\w\s]"  # written without spaces
)
_WORDS_AND_SPACES = re.compile(rf"{_WORDS.pattern}|\s+")
_EXACT_BELOW = 1_000
"""In longer texts, frequent words begin no match: the time would grow with the square."""

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
    if one and other:
        frequent_too = max(len(one), len(other)) <= _EXACT_BELOW
        for found in SequenceMatcher(
            None, one, other, autojunk=not frequent_too
        ).get_matching_blocks():
            if found.size:
                yield start + found.a, start + found.b, found.size
    if end:
        yield len(earlier) - end, len(later) - end, end
