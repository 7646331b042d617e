"""The versions alone, each with who made it: what most readers want to see of a lineage."""

from __future__ import annotations

import networkx as nx

from memos_integrations.infrastructure.pictures.layers import is_ending, relation
from memos_integrations.infrastructure.prov_export.reading import (
    DERIVATIONS,
    by_time,
    edges_of,
    kind,
)


def fold(graph: nx.DiGraph[str]) -> nx.DiGraph[str]:
    """The same graph with activities and agents written into the versions.

    A version gains ``verb`` and ``by`` (what made it, who did it); a deleted one ``ended``,
    ``ended_by`` and ``ended_at``. Its ``state`` is the last one that it was brought into. Only
    the derivations remain as edges. Fold a graph once.
    """
    folded: nx.DiGraph[str] = nx.DiGraph()
    for node, data in graph.nodes(data=True):
        if kind(graph, node) == "entity":
            folded.add_node(node, **data)
    for edge in edges_of(graph, DERIVATIONS):
        folded.add_edge(*edge, relation=relation(graph, edge))
    for node in folded:
        for activity in graph.successors(node):
            _note(graph, folded, node, activity)
        for activity in by_time(graph, graph.predecessors(node)):
            state = graph.edges[activity, node].get("after")
            if state is not None:
                folded.nodes[node]["state"] = state
    return folded


def agent_of(graph: nx.DiGraph[str], activity: str) -> str | None:
    """Who did it, if the graph says so."""
    agents = sorted(one for one in graph.successors(activity) if kind(graph, one) == "agent")
    names = [str(graph.nodes[one].get("name", one.removeprefix("agent:"))) for one in agents]
    return ", ".join(names) or None


def _note(graph: nx.DiGraph[str], folded: nx.DiGraph[str], version: str, activity: str) -> None:
    """Write one activity into the version that it made or ended."""
    word, about = relation(graph, (version, activity)), graph.nodes[activity]
    verb, by = str(about.get("verb", "activity")), agent_of(graph, activity)
    if word == "wasGeneratedBy":
        found = {"verb": verb, "by": by}
    elif is_ending(word):
        found = {"ended": verb, "ended_by": by, "ended_at": about.get("at")}
    else:
        return
    kept = {name: value for name, value in found.items() if value is not None}
    folded.nodes[version].update(kept)
