"""Which turns a statement rests on, besides the one that it quotes, and what rests on none.

A model saw all turns of its batch. A word of the statement that the quoted turn lacks and another
one has was taken from there: so that one is a source, too, and its erasure takes the statement.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from memos_integrations.cube import MemCube
from memos_integrations.interface.extracting.spans import Searched
from memos_integrations.operation.organising.words import content_words, numbers

_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+|(?:https?://|www\.)[^\s<>\"']+", re.IGNORECASE)


class Ground:
    """The turns of one batch, each with its words."""

    def __init__(self, turns: Sequence[MemCube]) -> None:
        self.texts = [Searched(turn.text) for turn in turns]
        self._words = [_words_of(turn) for turn in turns]
        self._said = "\n".join(turn.text for turn in turns).casefold()
        self._numbers = numbers(frozenset().union(*self._words))

    def contributors(self, text: str, cited: int) -> list[int]:
        """The places of turns that gave a word to ``text``, other than ``cited``, nearest first."""
        missing = content_words(text) - self._words[cited]
        found: list[int] = []
        for place in _nearest(cited, len(self._words)):
            given = missing & self._words[place]
            if given:
                found.append(place)
                missing = missing - given
        return found

    def unsupported(self, text: str, known: Sequence[datetime | None]) -> str:
        """A number or an address in ``text`` that no turn has, nor one of the ``known`` dates."""
        for address in _ADDRESS.findall(text):
            bare = address.rstrip(".,;:!?)")
            if bare.casefold() not in self._said:
                return str(bare)
        dates = {part for moment in known if moment is not None for part in _dates(moment)}
        return next(iter(sorted(numbers(content_words(text)) - self._numbers - dates)), "")


def _words_of(turn: MemCube) -> frozenset[str]:
    return content_words(f"{turn.header.descriptive.speaker or ''}\n{turn.text}")


def _nearest(cited: int, count: int) -> list[int]:
    """Places by distance; of two as far, the earlier."""
    others = [place for place in range(count) if place != cited]
    return sorted(others, key=lambda place: (abs(place - cited), place))


def _dates(moment: datetime) -> list[str]:
    year, month, day = str(moment.year), str(moment.month), str(moment.day)
    return [
        year,
        month,
        day,
        f"{moment:%Y-%m-%d}",
        f"{moment:%d}",
        f"{moment:%m}",
        f"{moment:%Y-%m}",
    ]
