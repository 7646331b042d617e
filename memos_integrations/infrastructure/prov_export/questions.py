"""What came from a version, what it came from, and how far back that goes.

Versions come from each other by revision and derivation. That an activity *used* something is
no claim that all it made came from that, so such edges alone are not followed (PROV-DM 5.2.1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import networkx as nx

from memos_integrations.errors import InvalidInputError
from memos_integrations.infrastructure.pictures.layers import relation
from memos_integrations.infrastructure.prov_export.folding import agent_of
from memos_integrations.infrastructure.prov_export.reading import (
    DERIVATIONS,
    age,
    by_time,
    counted,
    done,
    edges_of,
    kind,
    memory_of,
    minute,
    shortened,
    words,
)

_SAID = {
    "wasRevisionOf": "is a revision of",
    "wasQuotedFrom": "is quoted from",
    "hadPrimarySource": "has as its primary source",
}


@dataclass(frozen=True)
class Step:
    """One step of a path to the origin; as a string, a line to read."""

    node: str
    relation: str
    """The PROV word that led here; empty for the first step."""
    words: str

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Summary:
    """What a graph holds; as a string, one line to read."""

    versions: int
    memories: int
    activities: int
    agents: int
    relations: Mapping[str, int]
    """How many edges carry each PROV word."""
    verbs: Mapping[str, int]
    """How many activities there are of each verb."""
    first: datetime | None
    last: datetime | None

    def __str__(self) -> str:
        counts = (
            f"{counted(self.versions, 'version')} "
            f"of {counted(self.memories, 'memory', 'memories')}",
            f"{counted(self.activities, 'activity', 'activities')} "
            f"by {counted(self.agents, 'agent')}",
            f"{minute(self.first)} to {minute(self.last)} UTC" if self.first else "",
        )
        return " · ".join(part for part in counts if part)


def impact(graph: nx.DiGraph[str], node: str) -> list[str]:
    """Every version that came from this one, oldest first.

    Of an activity: what it made and what came from that; of an agent: that of its activities.
    Raises :class:`InvalidInputError` if the graph lacks the node.
    """
    _check(graph, node)
    found: set[str] = set()
    versions = _versions(graph)
    for start in _made(graph, node):
        found |= {start} | nx.ancestors(versions, start)
    return by_time(graph, found - {node})


def sources(graph: nx.DiGraph[str], node: str) -> list[str]:
    """Every version that this one came from, oldest first.

    Of an activity: what it used and what that came from; an agent comes from nothing.
    Raises :class:`InvalidInputError` if the graph lacks the node.
    """
    _check(graph, node)
    found: set[str] = set()
    versions = _versions(graph)
    for start in _used(graph, node):
        found |= {start} | nx.descendants(versions, start)
    return by_time(graph, found - {node})


def path_to_origin(graph: nx.DiGraph[str], node: str) -> list[Step]:
    """From a version back to the activity that generated its oldest source, step by step.

    The oldest source is the oldest of those that themselves have no source in the graph; of
    several ways to it, a shortest. Raises :class:`InvalidInputError` for what is no version.
    """
    _check(graph, node)
    if kind(graph, node) != "entity":
        raise InvalidInputError(f"{node!r} is no version: give a node such as '<id>@<version>'")
    versions = _versions(graph)
    behind = {node} | nx.descendants(versions, node)
    roots = [one for one in behind if versions.out_degree(one) == 0]
    way = nx.shortest_path(versions, node, min(roots, key=lambda one: age(graph, one)))
    steps = [Step(node, "", _version(graph, node))]
    for later, earlier in pairwise(way):
        word = relation(graph, (later, earlier))
        said = f"{_SAID.get(word, 'came from')} {_version(graph, earlier)}"
        steps.append(Step(earlier, word, said))
    return steps + _generation(graph, way[-1])


def describe(graph: nx.DiGraph[str]) -> Summary:
    """Count what is in a graph."""
    kinds = Counter(kind(graph, node) for node in graph)
    data = [graph.nodes[node] for node in graph]
    times = sorted(one["at"] for one in data if isinstance(one.get("at"), datetime))
    versions = [node for node in graph if kind(graph, node) == "entity"]
    acts = [node for node in graph if kind(graph, node) == "activity"]
    return Summary(
        versions=kinds["entity"],
        memories=len({memory_of(node) for node in versions}),
        activities=kinds["activity"],
        agents=kinds["agent"],
        relations=dict(Counter(relation(graph, edge) for edge in graph.edges)),
        verbs=dict(Counter(str(graph.nodes[node].get("verb", "activity")) for node in acts)),
        first=times[0] if times else None,
        last=times[-1] if times else None,
    )


def _check(graph: nx.DiGraph[str], node: str) -> None:
    if node not in graph:
        raise InvalidInputError(
            f"the graph has no node {node!r}: they are '<id>@<version>', 'activity:<id>', "
            "'agent:<principal>'"
        )


def _versions(graph: nx.DiGraph[str]) -> nx.DiGraph[str]:
    """The versions and what they came from, and nothing else."""
    found: nx.DiGraph[str] = nx.DiGraph()
    found.add_nodes_from(by_time(graph, (n for n in graph if kind(graph, n) == "entity")))
    found.add_edges_from(sorted(edges_of(graph, DERIVATIONS)))
    return found


def _made(graph: nx.DiGraph[str], node: str) -> Iterable[str]:
    """The versions at which the impact of a node begins."""
    if kind(graph, node) == "entity":
        return [node]
    if kind(graph, node) == "activity":
        made = edges_of(graph.edge_subgraph(graph.in_edges(node)), {"wasGeneratedBy"})
        return [version for version, _ in made]
    acts = [one for one in graph.predecessors(node) if kind(graph, one) == "activity"]
    return [version for activity in acts for version in _made(graph, activity)]


def _used(graph: nx.DiGraph[str], node: str) -> Iterable[str]:
    """The versions at which the sources of a node begin."""
    if kind(graph, node) == "entity":
        return [node]
    used = edges_of(graph.edge_subgraph(graph.out_edges(node)), {"used"})
    return [version for _, version in used]


def _version(graph: nx.DiGraph[str], node: str) -> str:
    """Such as ``version 2 of <id> (update by maya, 2026-05-01 12:00 UTC): In Bergen``."""
    data, text = graph.nodes[node], shortened(words(graph, node), 80)
    activity = _generator(graph, node)
    who = _doing(graph, activity) if activity is not None else ""
    about = ", ".join(part for part in (who, _when(data.get("at"))) if part)
    called = f"version {data.get('version', '?')} of {memory_of(node)}"
    return f"{called} ({about}): {text}" if about else f"{called}: {text}"


def _generation(graph: nx.DiGraph[str], node: str) -> list[Step]:
    """The step from a version to what generated it; none if the graph does not say."""
    activity = _generator(graph, node)
    if activity is None:
        return []
    parts = _doing(graph, activity), _when(graph.nodes[activity].get("at")), _saying(graph, node)
    said = ", ".join(part for part in parts if part)
    return [Step(activity, "wasGeneratedBy", f"was generated by: {said}")]


def _generator(graph: nx.DiGraph[str], node: str) -> str | None:
    made = edges_of(graph.edge_subgraph(graph.out_edges(node)), {"wasGeneratedBy"})
    return made[0][1] if made else None


def _doing(graph: nx.DiGraph[str], activity: str) -> str:
    return done(graph.nodes[activity].get("verb", "activity"), agent_of(graph, activity))


def _saying(graph: nx.DiGraph[str], node: str) -> str:
    """Who first said it, when and where, as far as its header knows."""
    data = graph.nodes[node]
    known = (("by", data.get("speaker")), ("on", _when(data.get("said_at"))))
    said = [f"{word} {shortened(str(value), 80)}" for word, value in known if value]
    where = [f"in {shortened(str(data['source']), 80)}"] if data.get("source") else []
    return " ".join(["said", *said, *where]) if said or where else ""


def _when(moment: object) -> str:
    return f"{minute(moment)} UTC" if moment else ""
