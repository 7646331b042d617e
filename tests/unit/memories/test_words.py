"""Words of an answer: nothing is said that a later token could change, and nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos_integrations.memories.activation.words import Words


def letters(tokens: Sequence[int]) -> str:
    return "".join(map(chr, tokens))


def said(text: str, *stops: str) -> tuple[list[str], bool]:
    """What is said of a text whose tokens are its letters, and whether it was cut."""
    words = Words(letters, stops)
    found = []
    for letter in text:
        found.append(words.add(ord(letter)))
        if words.over:
            return found, True
    return [*found, words.rest()], False


@pytest.mark.parametrize(
    ("text", "stops", "right", "cut"),
    [
        ("one two", (), "one two", False),
        ("one END two", ("END",), "one ", True),
        ("one EN", ("END",), "one EN", False),
        ("END", ("END",), "", True),
        ("aab", ("ab", "aab"), "", True),
    ],
)
def test_up_to_a_stop(text: str, stops: tuple[str, ...], right: str, cut: bool) -> None:
    found, over = said(text, *stops)
    assert ("".join(found), over) == (right, cut)


def test_what_may_become_a_stop_is_held_back() -> None:
    assert said("aEx", "END")[0] == ["a", "", "Ex", ""]


def test_half_a_letter_is_held_back() -> None:
    bytes_of = "é!".encode()
    words = Words(lambda tokens: bytes(tokens).decode("utf-8", "replace"), ())
    assert [words.add(one) for one in bytes_of] == ["", "é", "!"]
    assert words.rest() == ""


@given(st.text("abc", max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3))
def test_it_is_the_text_before_the_first_stop(text: str, stops: list[str]) -> None:
    found, over = said(text, *stops)
    assert over == any(stop in text for stop in stops)
    ends = [text[:at] for at in range(len(text) + 1) if any(s in text[:at] for s in stops)]
    seen = min(ends, key=len, default=text)
    first = min((seen.find(s) for s in stops if s in seen), default=len(seen))
    assert "".join(found) == seen[:first]
