"""A lineage as SVG elements, each with the number of its node: what a page makes alive."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from itertools import pairwise

import networkx as nx

from memos_integrations.infrastructure.pictures.layers import Edge, relation
from memos_integrations.infrastructure.pictures.layout import Box, Point, Stroke, arrange
from memos_integrations.infrastructure.prov_export.detours import with_detours
from memos_integrations.infrastructure.prov_export.reading import is_gone, kind, title, words
from memos_integrations.infrastructure.prov_export.web_words import drawable, width, wrapped

_INCH = 100
"""Pixels of an inch of the layout."""
_BODY, _HEAD, _LINE = 0.13, 0.13, 0.175
"""Sizes of type; the head is set smaller, in bold, which is wider."""
_WIDE, _WIDEST, _MOST_LINES, _ROUND = 2.9, 4.6, 4, 9

_WORDS = (
    "wasGeneratedBy",
    "used",
    "wasRevisionOf",
    "wasDerivedFrom",
    "wasInvalidatedBy",
    "wasAssociatedWith",
)
ARROWS = "".join(
    f'<marker id="to-{word}" class="{word}" viewBox="0 0 8 6" refX="8" refY="3" markerWidth="8" '
    'markerHeight="6" markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0 8 3 0 6z"/></marker>'
    for word in (*_WORDS, "other")
)
"""The arrow heads, for the ``defs`` of the page."""


class Scene:
    """The drawing of one graph; ``numbers`` are those of the nodes in the page's data."""

    def __init__(self, graph: nx.DiGraph[str], numbers: Mapping[str, int], *, labels: bool) -> None:
        self.graph, self._numbers, self._labels = graph, numbers, labels
        self._lines = {node: self._words(node) for node in graph}
        self._layout = with_detours(arrange(graph, self._size), graph)
        self.width = self._layout.width * _INCH
        self.height = self._layout.height * _INCH

    def svg(self) -> str:
        """Lines first, then labels, then boxes."""
        lines = [self._edge(edge, strokes) for edge, strokes in self._layout.lines]
        labels = [self._label(edge, spot) for edge, spot in self._layout.labels if self._labels]
        return "\n".join([*lines, *labels, *map(self._node, self._layout.boxes)])

    def _words(self, node: str) -> list[str]:
        if kind(self.graph, node) == "activity":
            verb, _, at = title(self.graph, node).partition(" · ")
            return [*wrapped(verb, _BODY, _WIDE, 1), at]
        head = wrapped(title(self.graph, node), _HEAD, _WIDEST, 1)
        return [*head, *wrapped(words(self.graph, node), _BODY, _WIDE, _MOST_LINES)]

    def _size(self, node: str) -> tuple[float, float]:
        lines = self._lines[node]
        wide = max((width(line, _BODY) for line in lines), default=0.0)
        if kind(self.graph, node) == "entity":
            return max(_WIDE, width(lines[0], _HEAD)) + 0.3, _LINE * len(lines) + 0.25
        return (
            (wide * 1.2 + 0.5, 0.62) if kind(self.graph, node) == "activity" else (wide + 0.5, 0.4)
        )

    def _at(self, spot: Point) -> Point:
        """In pixels, y downwards."""
        return spot[0] * _INCH, self.height - spot[1] * _INCH

    def _edge(self, edge: Edge, strokes: list[Stroke]) -> str:
        word = relation(self.graph, edge)
        word = word if word in _WORDS else "other"
        way = _path([(form, [self._at(spot) for spot in points]) for form, points in strokes])
        later, earlier = (self._numbers[node] for node in edge)
        return (
            f'<path class="edge {word}" data-later="{later}" data-earlier="{earlier}" '
            f'd="{way}" marker-end="url(#to-{word})"/>'
        )

    def _label(self, edge: Edge, spot: Point) -> str:
        x, y = self._at(spot)
        word = relation(self.graph, edge)
        known = word if word in _WORDS else "other"
        return f'<text class="label {known}" x="{x:.1f}" y="{y + 4:.1f}">{_safe(word)}</text>'

    def _node(self, box: Box) -> str:
        what = kind(self.graph, box.node)
        gone = " gone" if what == "entity" and is_gone(self.graph, box.node) else ""
        number, said = self._numbers[box.node], _safe(title(self.graph, box.node))
        return (
            f'<g class="node {what}{gone}" data-node="{number}" tabindex="0" role="button" '
            f'aria-label="{said}">{self._shape(what, box)}{self._texts(what, box)}</g>'
        )

    def _shape(self, what: str, box: Box) -> str:
        (x, y), w, h = self._at((box.x, box.y)), box.width * _INCH, box.height * _INCH
        if what == "activity":
            return f'<ellipse cx="{x:.1f}" cy="{y:.1f}" rx="{w / 2:.1f}" ry="{h / 2:.1f}"/>'
        corner = 10 if what == "entity" else 0
        return (
            f'<rect x="{x - w / 2:.1f}" y="{y - h / 2:.1f}" width="{w:.1f}" height="{h:.1f}" '
            f'rx="{corner}"/>'
        )

    def _texts(self, what: str, box: Box) -> str:
        x, y = self._at((box.x, box.y))
        lines = self._lines[box.node]
        left = x - box.width / 2 * _INCH + 15 if what == "entity" else x
        top = y - _LINE * _INCH * (len(lines) - 1) / 2 + 4
        return "".join(
            f'<text class="{"body" if number else "head"}" x="{left:.1f}" '
            f'y="{top + _LINE * _INCH * number:.1f}">{_safe(line)}</text>'
            for number, line in enumerate(lines)
        )


def _safe(text: str) -> str:
    """Words for an element or an attribute."""
    return escape(drawable(text), quote=True)


def _path(strokes: list[Stroke]) -> str:
    """SVG path data: smooth strokes level at each point, straight ones with round corners."""
    found = ["M{:.1f} {:.1f}".format(*strokes[0][1][0])]
    for form, points in strokes:
        found += _curved(points) if form == "curve" else _cornered(points)
    return "".join(found)


def _curved(points: list[Point]) -> list[str]:
    return [
        f"C{(x0 + x1) / 2:.1f} {y0:.1f} {(x0 + x1) / 2:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"
        for (x0, y0), (x1, y1) in pairwise(points)
    ]


def _cornered(points: list[Point]) -> list[str]:
    found = []
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        start, end = _towards(corner, before), _towards(corner, after)
        found.append("L{:.1f} {:.1f}Q{:.1f} {:.1f} {:.1f} {:.1f}".format(*start, *corner, *end))
    return [*found, "L{:.1f} {:.1f}".format(*points[-1])]


def _towards(corner: Point, other: Point) -> Point:
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    length = (dx * dx + dy * dy) ** 0.5
    share = min(_ROUND, length / 2) / length if length else 0.0
    return corner[0] + dx * share, corner[1] + dy * share
