"""A lineage as plain text: what was done when, by whom, and what that made or ended."""

from __future__ import annotations

import networkx as nx

from memos_integrations.infrastructure.pictures.layers import is_ending, relation
from memos_integrations.infrastructure.prov_export.folding import agent_of
from memos_integrations.infrastructure.prov_export.questions import describe
from memos_integrations.infrastructure.prov_export.reading import (
    DERIVATIONS,
    by_time,
    done,
    kind,
    minute,
    shortened,
    words,
)

_MOST = 200


def timeline(graph: nx.DiGraph[str]) -> str:
    """A line of counts, then every activity, oldest first.

    ``+`` stands before a version that it made, ``-`` before one that it ended, ``=`` before one
    whose state it changed, ``<`` before what a version came from.
    """
    lines = [str(describe(graph))]
    for activity in by_time(graph, (n for n in graph if kind(graph, n) == "activity")):
        about = graph.nodes[activity]
        verb = done(about.get("verb", "activity"), agent_of(graph, activity))
        lines += ["", f"{minute(about.get('at'))}  {shortened(verb, _MOST)}".strip()]
        for version in by_time(graph, graph.predecessors(activity)):
            word = relation(graph, (version, activity))
            if word == "wasGeneratedBy":
                lines += _made(graph, version)
            elif is_ending(word):
                lines.append(f"  - {version}")
        lines += _moved(graph, activity)
    return "\n".join(lines) + "\n"


def _moved(graph: nx.DiGraph[str], activity: str) -> list[str]:
    """The versions whose state an activity changed."""
    lines = []
    for version in by_time(graph, graph.successors(activity)):
        about = graph.edges[activity, version]
        if "after" in about:
            reason = shortened(str(about.get("reason") or ""), _MOST)
            change = f"{about.get('before')} to {about['after']}"
            lines.append(f"  = {version}  {change}" + (f" ({reason})" if reason else ""))
    return lines


def _made(graph: nx.DiGraph[str], version: str) -> list[str]:
    lines = [f"  + {version}", f"      {shortened(words(graph, version), _MOST)}"]
    for earlier in by_time(graph, graph.successors(version)):
        word = relation(graph, (version, earlier))
        if word in DERIVATIONS:
            lines.append(f"      < {earlier}  {word}")
    return lines
