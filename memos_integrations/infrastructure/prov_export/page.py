"""A lineage as one HTML file to click through: no network, no other file, nothing to install."""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import sha256
from html import escape
from importlib.resources import files
from string import Template

import networkx as nx

from memos_integrations.errors import InvalidInputError
from memos_integrations.infrastructure.pictures.layers import relation
from memos_integrations.infrastructure.prov_export.folding import fold
from memos_integrations.infrastructure.prov_export.questions import describe
from memos_integrations.infrastructure.prov_export.reading import (
    DERIVATIONS,
    by_time,
    fields,
    kind,
    title,
    words,
)
from memos_integrations.infrastructure.prov_export.web_scene import ARROWS, Scene

_HIDDEN = ("kind", "text", "version")


def page(graph: nx.DiGraph[str]) -> str:
    """The graph as a page: drag and zoom, click a node for its fields, sources and effects.

    It shows versions with who made them, and on demand activities and agents, too. Every text is
    escaped, and the page's policy lets no script run but its own. Raises
    :class:`InvalidInputError` for an empty graph.
    """
    if not graph:
        raise InvalidInputError("the lineage is empty: there is nothing to show")
    folded = fold(graph)
    order = by_time(graph, graph)
    numbers = {node: number for number, node in enumerate(order)}
    whole = Scene(graph, numbers, labels=True)
    alone = Scene(folded, numbers, labels=False) if folded else whole
    style, script = _part("page.css"), _part("page.js")
    return Template(_part("page.html")).substitute(
        summary=escape(str(describe(graph))),
        style=style,
        script=script,
        policy=f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}",
        data=_json(_data(graph, folded, order)),
        arrows=ARROWS,
        alone=alone.svg(),
        alone_box=f"{alone.width:.0f} {alone.height:.0f}",
        whole=whole.svg(),
        whole_box=f"{whole.width:.0f} {whole.height:.0f}",
    )


def _data(graph: nx.DiGraph[str], folded: nx.DiGraph[str], order: list[str]) -> dict[str, object]:
    """What the script needs: nodes by number, and edges between the numbers."""
    numbers = {node: number for number, node in enumerate(order)}
    nodes = []
    for node in order:
        told = folded if node in folded else graph
        shown = {name: said for name, said in fields(told, node).items() if name not in _HIDDEN}
        about = {"name": node, "kind": kind(graph, node), "title": title(told, node)}
        nodes.append({**about, "text": words(graph, node), "fields": shown})
    edges = [(numbers[a], numbers[b], relation(graph, (a, b))) for a, b in graph.edges]
    return {"nodes": nodes, "edges": edges, "derivations": sorted(DERIVATIONS)}


def _json(data: object) -> str:
    """JSON that may stand in a ``script`` element: nothing in it can end the element."""
    text = json.dumps(data)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _part(name: str) -> str:
    return files(__package__).joinpath("web", name).read_text("utf-8")


def _digest(text: str) -> str:
    """How a content security policy names an inline script or style that may be used."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
