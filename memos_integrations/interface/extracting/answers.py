"""Reading what a model said: arguments of a tool call, or JSON in whatever stands around it.

A truncated answer gives the entries that are whole. Nothing here runs, imports or looks up
anything that an answer names; its work is linear in the length of the answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

LONGEST = 200_000
"""Characters of an answer that are read; a longer one is no answer."""
MOST = 200
"""Entries of an answer that are read."""

_OPENS = re.compile(r"\[\s*\{|\{")
_LISTED = re.compile(r"\[\s*\{")
_LIST = re.compile(r'"memories"\s*:\s*(?=\[)|(?=\[\s*\{)')
_BETWEEN = re.compile(r"[\s,]*")
_FENCE = re.compile(r"```(?:json|JSON)?[ \t]*\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)
_THOUGHT = re.compile(r"\A\s*<(think|thinking|reasoning)>.*?</\1>", re.DOTALL)
_WRAPPERS = ("parameters", "arguments", "args", "input", "Extracted")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Entries:
    """What was found in an answer."""

    items: tuple[Any, ...] = ()
    trouble: str = ""
    """Why it could not be read, or not to its end; empty: it could."""
    cut: bool = False
    """Whether it breaks off."""
    left: int = 0
    """Entries beyond the most that are read."""


def entries(said: object) -> Entries:
    """The entries of an answer: a text, or arguments that somebody has read as JSON already."""
    if isinstance(said, str):
        return _of_text(said)
    found = _listed(said)
    return Entries(trouble="it has no list of memories") if found is None else _most(found)


def _most(found: list[Any]) -> Entries:
    return Entries(tuple(found[:MOST]), left=max(0, len(found) - MOST))


def _of_text(text: str) -> Entries:
    if len(text) > LONGEST:
        return Entries(trouble=f"it has more than {LONGEST:,} characters")
    text = _THOUGHT.sub("", text)
    for part in _candidates(text):
        try:
            found = _listed(_DECODER.raw_decode(part)[0])
        except (ValueError, RecursionError):  # broken off, no JSON, a bomb of brackets
            continue
        if found is not None:
            return _most(found)
    return _salvaged(text)


def _candidates(text: str) -> Iterator[str]:
    """Where JSON may begin: the text itself, what is fenced in it, its first brace."""
    yield text.strip()
    for fenced in _FENCE.finditer(text):
        yield fenced.group(1).strip()
    for opening in (_OPENS.search(text), _LISTED.search(text)):
        if opening is not None:
            yield text[opening.start() :]


def _listed(read: object) -> list[Any] | None:
    """The list of entries in what was read, also one wrapping deep."""
    if isinstance(read, list | tuple):
        return list(read)
    if not isinstance(read, Mapping):
        return None
    if isinstance(read.get("memories"), list | tuple):
        return list(read["memories"])
    for name in _WRAPPERS:
        inner = read.get(name)
        if isinstance(inner, Mapping) and isinstance(inner.get("memories"), list | tuple):
            return list(inner["memories"])
    return [read] if "text" in read and "quote" in read else None  # a single entry, bare


def _salvaged(text: str) -> Entries:
    """The entries that are whole, up to where an answer breaks."""
    begun = _LIST.search(text)
    if begun is None:
        empty = "it is empty" if not text.strip() else "it holds no JSON that was asked for"
        return Entries(trouble=empty)
    items: list[Any] = []
    at = begun.end() + 1
    while len(items) < MOST:
        between = _BETWEEN.match(text, at)
        at = between.end() if between else at
        try:
            item, at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            break
        items.append(item)
    cut = at >= len(text.rstrip()) or text[at : at + 1] == "{"
    return Entries(tuple(items), trouble="it breaks off" if cut else "it is broken JSON", cut=cut)
