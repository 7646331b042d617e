"""What a node of a provenance graph says: its kind, title, words and fields."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import networkx as nx

from memos_integrations.infrastructure.pictures.layers import Edge, is_ending, relation

DERIVATIONS = frozenset({"wasRevisionOf", "wasDerivedFrom", "wasQuotedFrom", "hadPrimarySource"})
"""The PROV words by which one version comes from another."""


def kind(graph: nx.DiGraph[str], node: str) -> str:
    """``entity``, ``activity`` or ``agent``."""
    found = str(graph.nodes[node].get("kind"))
    return found if found in ("activity", "agent") else "entity"


def memory_of(node: str) -> str:
    """The id of the memory that a version belongs to."""
    return node.rpartition("@")[0] or node


def is_gone(graph: nx.DiGraph[str], node: str) -> bool:
    """Whether something ended this version."""
    ended = any(is_ending(relation(graph, edge)) for edge in graph.out_edges(node))
    return ended or "ended" in graph.nodes[node]


def title(graph: nx.DiGraph[str], node: str) -> str:
    """One line, such as ``version 2 · 2026-05-01 12:00 · deleted``; in a folded graph with who."""
    data = graph.nodes[node]
    if kind(graph, node) == "agent":
        return str(data.get("name", node.removeprefix("agent:")))
    if kind(graph, node) == "activity":
        return _joined(str(data.get("verb", "activity")), minute(data.get("at")))
    made = done(data["verb"], data.get("by")) if "verb" in data else ""
    return _joined(
        f"version {data.get('version', '?')}", made, minute(data.get("at")), _state(graph, node)
    )


def _state(graph: nx.DiGraph[str], node: str) -> str:
    """What has become of a version; nothing if it is as it was made, or was used."""
    if is_gone(graph, node):
        return done("deleted", graph.nodes[node].get("ended_by"))
    state = str(graph.nodes[node].get("state", "generated"))
    return "" if state in ("generated", "activated") else state


def done(verb: object, by: object) -> str:
    """``update by maya``; a long name is cut."""
    return f"{verb} by {shortened(str(by), 32)}" if by else str(verb)


def words(graph: nx.DiGraph[str], node: str) -> str:
    """The text of a version; nothing for other nodes."""
    if kind(graph, node) != "entity":
        return ""
    return str(graph.nodes[node].get("text") or "(not in words)")


def fields(graph: nx.DiGraph[str], node: str) -> dict[str, str]:
    """All that a node carries, as words."""
    data = graph.nodes[node].items()
    return {name: plain(value) for name, value in data if value is not None}


def plain(value: object) -> str:
    """A value as words; times in ISO 8601."""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def minute(moment: object) -> str:
    """A time to the minute, in UTC."""
    if isinstance(moment, datetime):
        return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
    return str(moment or "")


def shortened(text: str, most: int) -> str:
    """At most ``most`` characters on one line, the last one an ellipsis if some are left out."""
    line = " ".join(text[: most * 8].split())
    cut = len(line) > most or len(text) > most * 8
    return line[: most - 1].rstrip() + "…" if cut else line


def counted(number: int, one: str, more: str | None = None) -> str:
    """``1 version``, ``2 versions``; ``more`` where an s is not enough."""
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def by_time(graph: nx.DiGraph[str], nodes: Iterable[str]) -> list[str]:
    """Oldest first; of one moment, lower versions first, then by name."""
    return sorted(nodes, key=lambda node: age(graph, node))


def age(graph: nx.DiGraph[str], node: str) -> tuple[float, int, str]:
    """What :func:`by_time` sorts by."""
    data = graph.nodes[node]
    at, version = data.get("at"), data.get("version")
    moment = at.timestamp() if isinstance(at, datetime) else float("-inf")
    return moment, version if isinstance(version, int) else 0, node


def edges_of(graph: nx.DiGraph[str], relations: Iterable[str]) -> list[Edge]:
    """The edges that carry one of these PROV words."""
    wanted = set(relations)
    return [edge for edge in graph.edges if relation(graph, edge) in wanted]


def _joined(*parts: str) -> str:
    return " · ".join(part for part in parts if part)
