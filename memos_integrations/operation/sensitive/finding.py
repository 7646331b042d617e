"""A finding: where in a text something sensitive stands, and of what kind it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

LABELS = ("secret", "card", "iban", "national_id", "email", "phone", "address")
"""The kinds that the rules know; where findings overlap, the first of them here names both."""


@dataclass(frozen=True, order=True)
class Finding:
    """``text[start:stop]`` is of this kind."""

    start: int
    stop: int
    label: str


Detector = Callable[[str], Iterable[Finding]]
"""Finds what is sensitive in a text. It must be safe to call from several threads."""


def joined(found: Iterable[Finding]) -> list[Finding]:
    """Findings that do not overlap, in the order of the text: those that do become one."""
    kept: list[Finding] = []
    for one in sorted(found):
        if kept and one.start < kept[-1].stop:
            last = kept.pop()
            label = min(last.label, one.label, key=_rank)
            one = Finding(last.start, max(last.stop, one.stop), label)
        kept.append(one)
    return kept


def _rank(label: str) -> tuple[int, str]:
    return (LABELS.index(label) if label in LABELS else len(LABELS), label)
