"""Who brought which words of a memory: ``git blame`` for what is remembered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

import networkx as nx

from memos_integrations.errors import InvalidInputError
from memos_integrations.infrastructure.prov_export.folding import fold
from memos_integrations.infrastructure.prov_export.reading import (
    DERIVATIONS,
    age,
    done,
    edges_of,
    memory_of,
    minute,
    shortened,
)
from memos_integrations.infrastructure.prov_export.word_matching import matches, word_spans

_MOST = 80


@dataclass(frozen=True)
class Blame:
    """Some words in a row, and the version that brought them; as a string, a line to read."""

    text: str
    start: int
    """``text`` is what stands from ``start`` up to, not including, ``end``."""
    end: int
    memory_id: str
    version: int
    at: datetime | None
    principal: str | None
    verb: str | None
    """What was done, such as ``add`` or ``update``."""

    def __str__(self) -> str:
        who = done(self.verb or "written", self.principal)
        when = f", {minute(self.at)} UTC" if self.at else ""
        said = shortened(self.text, _MOST)
        return f"version {self.version} of {self.memory_id} ({who}{when}): {said}"


def blame(graph: nx.DiGraph[str], node: str, text: str | None = None) -> list[Blame]:
    """Which version brought each word of ``node``, in the order of its text.

    A word is looked for in what the version came from, and there again, as far back as it goes;
    the source that has most of the words is asked first. White space between two spans belongs to
    neither. With ``text``, only the spans that touch a place where it stands. Raises
    :class:`InvalidInputError` for a node that is not in the graph, or a ``text`` that is not in
    the memory.
    """
    if node not in graph:
        raise InvalidInputError(f"the graph has no version {node!r}")
    folded = fold(graph)
    whole = str(folded.nodes[node].get("text") or "")
    owners = _owners(folded, node)
    spans = word_spans(whole)
    found = []
    for owner, group in groupby(zip(spans, owners, strict=True), key=lambda pair: pair[1]):
        run = [span for span, _ in group]
        found.append(_blame(folded, whole, owner, run[0][0], run[-1][1]))
    if text is None:
        return found
    places = list(_places(whole, text))
    if not places:
        raise InvalidInputError(f"{shortened(text, _MOST)!r} does not stand in {node}")
    return [
        one for one in found if any(start < one.end and one.start < end for start, end in places)
    ]


def _owners(folded: nx.DiGraph[str], node: str) -> list[str]:
    """For each word of a version, the one that brought it."""
    derived: nx.DiGraph[str] = nx.DiGraph()
    derived.add_node(node)
    derived.add_edges_from(edges_of(folded, DERIVATIONS))
    behind = derived.subgraph({node} | nx.descendants(derived, node))
    words = {one: _words(folded, one) for one in behind}
    known: dict[str, list[str]] = {}
    for one in reversed(list(nx.topological_sort(behind))):  # sources first
        earlier = sorted(behind.successors(one), key=lambda source: age(folded, source))
        known[one] = _inherited(one, words[one], [(words[e], known[e]) for e in earlier])
    return known[node]


def _inherited(
    node: str, words: list[str], sources: Iterable[tuple[list[str], list[str]]]
) -> list[str]:
    """The owners of a version's words; its own are those that no source has."""
    owners: dict[int, str] = {}
    common = [(list(matches(theirs, words)), owned) for theirs, owned in sources]
    common.sort(key=lambda pair: -sum(length for *_, length in pair[0]))
    for found, owned in common:
        for one, other, length in found:
            for step in range(length):
                owners.setdefault(other + step, owned[one + step])
    return [owners.get(place, node) for place in range(len(words))]


def _words(folded: nx.DiGraph[str], node: str) -> list[str]:
    text = str(folded.nodes[node].get("text") or "")
    return [text[start:end] for start, end in word_spans(text)]


def _blame(folded: nx.DiGraph[str], whole: str, owner: str, start: int, end: int) -> Blame:
    about = folded.nodes[owner]
    return Blame(
        text=whole[start:end],
        start=start,
        end=end,
        memory_id=memory_of(owner),
        version=int(about.get("version", 0)),
        at=about.get("at"),
        principal=about.get("by"),
        verb=about.get("verb"),
    )


def _places(whole: str, text: str) -> Iterable[tuple[int, int]]:
    """Where ``text`` stands, also where it overlaps itself."""
    start = whole.find(text)
    while start >= 0:
        yield start, start + len(text)
        start = whole.find(text, start + 1)
