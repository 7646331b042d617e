"""GraphML, which graph programs such as Gephi, yEd and Cytoscape read."""

from __future__ import annotations

import re
from io import BytesIO

import networkx as nx

from memos_integrations.infrastructure.prov_export.reading import plain

# What XML 1.0 cannot hold at all, and the line ends that its readers would change.
_UNFIT = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def graphml(graph: nx.DiGraph[str]) -> str:
    """The whole graph as GraphML text; ``networkx.read_graphml`` reads it again.

    Times become ISO strings; what is ``None`` is left out. Characters that XML cannot hold
    become U+FFFD, line ends a line feed.
    """
    fit: nx.DiGraph[str] = nx.DiGraph()
    for node, data in graph.nodes(data=True):
        fit.add_node(_text(node), **_values(data))
    for later, earlier, data in graph.edges(data=True):
        fit.add_edge(_text(later), _text(earlier), **_values(data))
    written = BytesIO()
    nx.write_graphml_xml(fit, written, named_key_ids=True)
    return written.getvalue().decode("utf-8")


def _values(data: dict[str, object]) -> dict[str, object]:
    return {_text(name): _value(value) for name, value in data.items() if value is not None}


def _value(value: object) -> object:
    return value if isinstance(value, bool | int | float) else _text(plain(value))


def _text(text: str) -> str:
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", lines)
