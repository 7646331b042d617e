"""The words of an answer, as soon as no later token can change them or make a stop string of them.

No torch here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


class Words:
    """Takes an answer's tokens one by one, and gives its text up to, not including, a stop."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str]) -> None:
        self._decode, self._stops = decode, stops
        self._tokens: list[int] = []
        self._said = 0
        self.over = False
        """Whether a stop string has come: then no token is wanted any more."""

    def add(self, token: int) -> str:
        """What is certain now and was not before; often nothing."""
        self._tokens.append(token)
        text = self._decode(self._tokens)
        cut = _cut(text, self._stops)
        self.over = cut is not None
        return self._say(text[: len(text) - _held_back(text, self._stops) if cut is None else cut])

    def rest(self) -> str:
        """What was held back, once no token follows."""
        return "" if self.over else self._say(self._decode(self._tokens))

    def _say(self, text: str) -> str:
        fresh = text[self._said :]
        self._said = max(self._said, len(text))
        return fresh


def _cut(text: str, stops: Sequence[str]) -> int | None:
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    return min(found, default=None)


def _held_back(text: str, stops: Sequence[str]) -> int:
    """Characters at the end that may still change, or become a stop string."""
    longest = len(text) - len(text.rstrip("\ufffd"))
    for stop in stops:
        for size in range(min(len(stop) - 1, len(text)), longest, -1):
            if text.endswith(stop[:size]):
                longest = size
                break
    return longest
