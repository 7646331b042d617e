"""W3C PROV-JSON (https://www.w3.org/submissions/prov-json/), through the ``prov`` package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import networkx as nx

from memos_integrations.errors import MissingExtraError
from memos_integrations.infrastructure.pictures.layers import relation
from memos_integrations.infrastructure.prov_export.reading import kind, shortened, words

if TYPE_CHECKING:
    from prov.model import ProvDocument

NAMESPACE = "urn:memos:"
"""Names of things are ``urn:memos:entity:...``, ``...activity:...``, ``...agent:...``."""

_VALUES = (bool, int, float, str, datetime)
_KINDS = ("entity", "activity", "agent")
_TIMED = frozenset({"wasGeneratedBy", "wasInvalidatedBy", "used"})
_PLAIN = frozenset(
    {
        "wasAssociatedWith",
        "wasAttributedTo",
        "wasRevisionOf",
        "wasDerivedFrom",
        "wasQuotedFrom",
        "hadPrimarySource",
    }
)


def prov_json(graph: nx.DiGraph[str]) -> dict[str, Any]:
    """The whole graph as a PROV-JSON document.

    ``prov.model.ProvDocument.deserialize`` reads it again. A version has its text as
    ``prov:value``; all else that a node carries stands under ``memos:``. A relation that PROV
    does not know becomes ``wasInfluencedBy``. Raises :class:`MissingExtraError` without ``prov``.
    """
    document: dict[str, Any] = json.loads(str(prov_document(graph).serialize(format="json")))
    return document


def prov_json_text(graph: nx.DiGraph[str]) -> str:
    """:func:`prov_json` as text."""
    return json.dumps(prov_json(graph), indent=2) + "\n"


def prov_document(graph: nx.DiGraph[str]) -> ProvDocument:
    """The graph as an object of the ``prov`` package, which writes PROV-N, XML and RDF, too."""
    try:
        from prov.model import ProvDocument
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "prov":
            raise
        raise MissingExtraError(
            "PROV-JSON needs the prov package: pip install 'memos-integrations[prov]'"
        ) from None
    document = ProvDocument()
    document.add_namespace("memos", NAMESPACE)
    for part in _KINDS:
        document.add_namespace(part, f"{NAMESPACE}{part}:")
    for node in graph:
        _add_node(document, graph, node)
    for later, earlier in graph.edges:
        _add_edge(document, graph, later, earlier)
    return document


def qualified(graph: nx.DiGraph[str], node: str) -> str:
    """A node's name with its prefix; what PROV-N allows in no local part is percent-encoded."""
    part = kind(graph, node)
    local = quote(node.removeprefix(f"{part}:"), safe="", errors="surrogatepass")
    local = local.replace(".", "%2E").replace("~", "%7E")  # which quote() leaves alone
    return f"{part}:%2D{local[1:]}" if local.startswith("-") else f"{part}:{local}"


def _add_node(document: ProvDocument, graph: nx.DiGraph[str], node: str) -> None:
    data, name = graph.nodes[node], qualified(graph, node)
    more = _attributes(data)
    if kind(graph, node) == "entity":
        text = words(graph, node)
        document.entity(name, {**more, "prov:label": shortened(text, 80), "prov:value": text})
    elif kind(graph, node) == "activity":
        at = data.get("at")
        document.activity(name, at, at, {**more, "prov:label": str(data.get("verb", "activity"))})
    else:
        called = str(data.get("name", node.removeprefix("agent:")))
        document.agent(name, {**more, "prov:label": called})


def _attributes(data: Mapping[str, Any]) -> dict[Any, Any]:
    """What a node carries, but for what PROV has words of its own for."""
    return {
        f"memos:{key}": value if isinstance(value, _VALUES) else str(value)
        for key, value in data.items()
        if key not in ("kind", "text", "name") and value is not None
    }


def _add_edge(document: ProvDocument, graph: nx.DiGraph[str], later: str, earlier: str) -> None:
    word = relation(graph, (later, earlier))
    ends = qualified(graph, later), qualified(graph, earlier)
    if word in _TIMED:
        activity = later if word == "used" else earlier
        more = _attributes({**graph.edges[later, earlier], "relation": None})
        at = graph.nodes[activity].get("at")
        getattr(document, word)(*ends, time=at, other_attributes=more)
    elif word in _PLAIN:
        getattr(document, word)(*ends)
    else:
        document.wasInfluencedBy(*ends, other_attributes={"memos:relation": word})
