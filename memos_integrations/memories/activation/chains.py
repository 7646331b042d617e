"""Which beginnings of prompts are worth computing ahead. No torch here.

A prompt of the next turn will show some of the hottest memories, in a known order, and nobody
knows which. A chain is a few of them in that order: the first words of those prompts in which the
others are missing. Chains that begin alike share what is computed of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TypeVar

T = TypeVar("T")

OF = 6
"""The hottest memories, of which chains are made."""
LENGTH = 3
"""Memories in a chain, at most: longer ones are each met too seldom."""
MOST = 32
"""Chains, at most."""


def chains(
    ordered: Sequence[T],
    heat: Sequence[float],
    *,
    shown: int,
    of: int = OF,
    length: int = LENGTH,
    most: int = MOST,
) -> list[list[T]]:
    """Beginnings to compute ahead, the hottest first, each in the order of the prompt.

    ``ordered`` are the hot memories as a prompt shows them, ``heat`` how much each is used. The
    first chain is as many of them as a prompt has ``shown`` so far, for prompts that show the same
    ones each time; then come those of up to ``length`` of the ``of`` hottest. What is the
    beginning of another chain is left out: it is computed with that one.
    """
    hottest = sorted(range(len(ordered)), key=lambda i: (-heat[i], i))[:of]
    some = [
        tuple(sorted(chosen))
        for size in range(min(length, shown), 0, -1)
        for chosen in combinations(hottest, size)
    ]
    found = list(dict.fromkeys([tuple(range(len(ordered)))[:shown], *some]))
    begun = {(), *(chain[:end] for chain in found for end in range(len(chain)))}
    return [[ordered[i] for i in chain] for chain in found if chain not in begun][:most]
