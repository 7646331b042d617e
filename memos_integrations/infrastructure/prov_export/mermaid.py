"""A Mermaid flowchart, which Markdown viewers draw: https://mermaid.js.org/syntax/flowchart.html"""

from __future__ import annotations

from unicodedata import category

import networkx as nx

from memos_integrations.infrastructure.pictures.layers import relation
from memos_integrations.infrastructure.prov_export.folding import fold
from memos_integrations.infrastructure.prov_export.reading import (
    by_time,
    is_gone,
    kind,
    shortened,
    title,
    words,
)

_MOST = 80
_SHAPE = {"entity": '["{}"]', "activity": '(["{}"])', "agent": '[["{}"]]'}
_STYLES = (
    "classDef entity fill:#eaf1fb,stroke:#2f5f9e,color:#1c2430",
    "classDef activity fill:#fff3d9,stroke:#a96f12,color:#1c2430",
    "classDef agent fill:#e5f3ea,stroke:#2c7a4b,color:#1c2430",
    "classDef gone fill:#f1f1f1,stroke:#8a8a8a,color:#56606e",
)


def mermaid(graph: nx.DiGraph[str], *, full: bool = False) -> str:
    """The graph as a flowchart, earlier things on the left; texts are cut at 80 characters.

    Without ``full``, versions alone, with who made them. Arrows lead to what a thing came from.
    Mermaid itself stops at 500 arrows, unless ``maxEdges`` is set.
    """
    shown = graph if full else fold(graph)
    # RL: an arrow leads from the later thing on the right to the earlier one on the left.
    lines = ["flowchart RL"]
    number = {node: f"n{i}" for i, node in enumerate(by_time(shown, shown))}
    for node, name in number.items():
        paint = "gone" if is_gone(shown, node) else kind(shown, node)
        lines.append(f"    {name}{_SHAPE[kind(shown, node)].format(_label(shown, node))}:::{paint}")
    for later, earlier in shown.edges:
        word = escaped(relation(shown, (later, earlier)))
        arrow = f'-->|"{word}"|' if word else "-->"
        lines.append(f"    {number[later]} {arrow} {number[earlier]}")
    return "\n".join([*lines, *(f"    {style}" for style in _STYLES)]) + "\n"


def escaped(text: str) -> str:
    """``text`` so that neither Mermaid, Markdown nor HTML sees anything in it but words.

    Letters, digits, spaces and harmless marks stay; all else becomes Mermaid's ``#code;``.
    """
    return "".join(
        char if _is_harmless(char, before) else f"#{ord(char)};"
        for before, char in zip(" " + text, text, strict=False)
    )


def _is_harmless(char: str, before: str) -> bool:
    if char in ".-:":  # a point, a dash, a time; never a list, a rule or an icon's name
        return before.isalpha() if char == "." else before.isdecimal()
    if char.isascii():
        return char.isalnum() or char in " ,?!'"
    return category(char)[0] in "LMN" or char in "…·€£"


def _label(graph: nx.DiGraph[str], node: str) -> str:
    lines = [title(graph, node), words(graph, node)]
    return "<br/>".join(escaped(shortened(line, _MOST)) for line in lines if line)
