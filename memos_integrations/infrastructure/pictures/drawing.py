"""One lineage figure: lines, boxes, words and the legend, on matplotlib's own objects."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import networkx as nx
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.path import Path as Way

from memos_integrations.infrastructure.pictures.layers import Edge, is_ending, relation
from memos_integrations.infrastructure.pictures.layout import Box, Point, Stroke, arrange
from memos_integrations.infrastructure.pictures.words import Fonts

_MARGIN, _LEGEND = 0.35, 0.5
_TEXT_WIDTH, _MOST_LINES, _LINE = 2.45, 5, 0.175
_BODY, _SMALL = 9.0, 7.5
_MOST_PIXELS = 40_000_000
_ROUND = 0.09

_FILL = {"entity": "#eaf1fb", "activity": "#fff3d9", "agent": "#e5f3ea", "gone": "#f1f1f1"}
_RIM = {"entity": "#2f5f9e", "activity": "#a96f12", "agent": "#2c7a4b", "gone": "#8a8a8a"}
_INK, _FAINT = "#1c2430", "#56606e"
_COLOUR = {
    "wasGeneratedBy": "#a96f12",
    "used": "#6b7280",
    "wasRevisionOf": "#2f5f9e",
    "wasDerivedFrom": "#6b3fa0",
    "wasInvalidatedBy": "#b3261e",
    "wasAssociatedWith": "#2c7a4b",
    "wasAttributedTo": "#2c7a4b",
}
_MEANING = (
    ("entity", "a version of a memory"),
    ("activity", "what was done"),
    ("agent", "who did it"),
)
_HINT = "arrows lead to what a thing came from"


class Drawing:
    """The picture of one provenance graph."""

    def __init__(self, graph: nx.DiGraph[str]) -> None:
        self.graph, self.fonts = graph, Fonts()
        self.words = {node: self._words(node) for node in graph}
        self.layout = arrange(graph, self._size)
        self.width = max(self.layout.width, self._legend_width()) + 2 * _MARGIN
        self.height = self.layout.height + 2 * _MARGIN + _LEGEND
        self.figure = Figure(figsize=(self.width, self.height), facecolor="white")
        FigureCanvasAgg(self.figure)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        left, low = (self.width - self.layout.width) / 2, _MARGIN + _LEGEND
        self.axes.set_xlim(-left, self.width - left)
        self.axes.set_ylim(-low, self.height - low)

    def save(self, target: Path) -> None:
        """Draw and write; neither date nor the drawing library's version is noted."""
        for edge, strokes in self.layout.lines:
            self._line(edge, strokes)
        for edge, spot in self.layout.labels:
            self._label(edge, spot)
        for box in self.layout.boxes:
            self._node(box)
        self._legend()
        kind = target.suffix.lower()[1:]
        nothing = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        dpi = min(150.0, (_MOST_PIXELS / (self.width * self.height)) ** 0.5)
        self.figure.savefig(target, format=kind, dpi=dpi, metadata=nothing)

    # What is said ---------------------------------------------------------------------------

    def _kind(self, node: str) -> str:
        return str(self.graph.nodes[node].get("kind", "entity"))

    def _words(self, node: str) -> list[str]:
        """The lines in a node; the first one is its title."""
        data, kind = self.graph.nodes[node], self._kind(node)
        if kind == "agent":
            name = str(data.get("name", node.removeprefix("agent:")))
            return self.fonts.wrapped(name, _BODY, _TEXT_WIDTH, 1)
        if kind == "activity":
            return [str(data.get("verb", "activity")), _minute(data.get("at"))]
        state = "deleted" if self._is_gone(node) else str(data.get("state", "generated"))
        title = f"version {data.get('version', '?')} · {_minute(data.get('at'))}"
        text = str(data.get("text") or "(not in words)")
        body = self.fonts.wrapped(text, _BODY, _TEXT_WIDTH, _MOST_LINES)
        return [title if state == "generated" else f"{title} · {state}", *body]

    def _is_gone(self, node: str) -> bool:
        return any(is_ending(relation(self.graph, edge)) for edge in self.graph.out_edges(node))

    def _size(self, node: str) -> tuple[float, float]:
        lines, kind = self.words[node], self._kind(node)
        if kind == "entity":
            title = self.fonts.width(lines[0], _SMALL, bold=True)
            return max(_TEXT_WIDTH, title) + 0.3, _LINE * len(lines) + 0.2
        wide = max(self.fonts.width(line, _BODY, bold=True) for line in lines)
        return (wide * 1.2 + 0.4, 0.62) if kind == "activity" else (wide + 0.5, 0.4)

    # How it looks ---------------------------------------------------------------------------

    def _line(self, edge: Edge, strokes: list[Stroke]) -> None:
        colour = _COLOUR.get(relation(self.graph, edge), _FAINT)
        with_agent = self._kind(edge[1]) == "agent"
        self._arrow(way(strokes), colour, 0.9 if with_agent else 1.3)

    def _arrow(self, way: Way, colour: str, linewidth: float = 1.0) -> None:
        self.axes.add_patch(
            FancyArrowPatch(
                path=way,
                arrowstyle="-|>,head_length=5,head_width=2.6",
                mutation_scale=1,
                shrinkA=0,
                shrinkB=0,
                color=colour,
                linewidth=linewidth,
                zorder=1,
            )
        )

    def _label(self, edge: Edge, spot: Point) -> None:
        words = relation(self.graph, edge)
        box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}
        self._text(spot, words, _SMALL, colour=_COLOUR.get(words, _FAINT), box=box)

    def _node(self, box: Box) -> None:
        kind, lines = self._kind(box.node), self.words[box.node]
        gone = kind == "entity" and self._is_gone(box.node)
        paint = "gone" if gone else kind
        self._shape(kind, paint, box)
        if kind == "entity":
            left, y = box.x - box.width / 2 + 0.15, box.y + _LINE * (len(lines) - 1) / 2
            self._text((left, y + 0.02), lines[0], _SMALL, bold=True, colour=_RIM[paint], ha="left")
            for number, line in enumerate(lines[1:], 1):
                spot = (left, y - _LINE * number - 0.02)
                self._text(spot, line, _BODY, colour=_FAINT if gone else _INK, ha="left")
        elif kind == "activity":
            self._text((box.x, box.y + 0.1), lines[0], _BODY, bold=True)
            self._text((box.x, box.y - 0.1), lines[1], _SMALL, colour=_FAINT)
        else:
            self._text((box.x + 0.045, box.y), lines[0], _BODY, bold=True)

    def _shape(self, kind: str, paint: str, box: Box) -> None:
        look: dict[str, Any] = {"facecolor": _FILL[paint], "edgecolor": _RIM[paint]}
        look |= {"linewidth": 1.3, "zorder": 3}
        corner = (box.x - box.width / 2, box.y - box.height / 2)
        if kind == "activity":
            self.axes.add_patch(Ellipse((box.x, box.y), box.width, box.height, **look))
        elif kind == "agent":
            self.axes.add_patch(Rectangle(corner, box.width, box.height, **look))
            stripe = {**look, "facecolor": _RIM[paint]}
            self.axes.add_patch(Rectangle(corner, 0.09, box.height, **stripe))
        else:
            style = f"round,pad=0,rounding_size={min(0.12, box.height / 3)}"
            rounded = FancyBboxPatch(corner, box.width, box.height, boxstyle=style, **look)
            self.axes.add_patch(rounded)

    def _text(
        self,
        spot: Point,
        text: str,
        size: float,
        *,
        bold: bool = False,
        colour: str = _INK,
        ha: str = "center",
        box: dict[str, Any] | None = None,
    ) -> None:
        self.axes.text(
            *spot,
            self.fonts.drawable(text),
            fontproperties=self.fonts.of(size, bold=bold),
            color=colour,
            ha=ha,
            va="center_baseline",
            zorder=2 if box else 4,
            bbox=box,
            parse_math=False,  # a dollar sign in a memory is no formula
        )

    # The legend -----------------------------------------------------------------------------

    def _legend_width(self) -> float:
        said = [*(meaning for _, meaning in _MEANING), _HINT]
        return sum(self.fonts.width(words, _SMALL) + 0.68 for words in said)

    def _legend(self) -> None:
        x, y = self.axes.get_xlim()[0] + _MARGIN, -_LEGEND + 0.05
        for kind, meaning in _MEANING:
            self._shape(kind, kind, Box(kind, x + 0.15, y, 0.3, 0.19))
            self._text((x + 0.4, y), meaning, _SMALL, colour=_FAINT, ha="left")
            x += self.fonts.width(meaning, _SMALL) + 0.68
        self._arrow(Way([(x + 0.32, y), (x, y)]), _FAINT)
        self._text((x + 0.4, y), _HINT, _SMALL, colour=_FAINT, ha="left")


def way(strokes: list[Stroke]) -> Way:
    """One path through strokes that follow each other."""
    vertices: list[Point] = [strokes[0][1][0]]
    codes = [Way.MOVETO]
    for kind, points in strokes:
        for more, code in _curved(points) if kind == "curve" else _cornered(points):
            vertices.append(more)
            codes.append(code)
    return Way(vertices, codes)


def _curved(points: list[Point]) -> list[tuple[Point, Any]]:
    """Smooth, and level at each point."""
    found: list[tuple[Point, Any]] = []
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (x0 + x1) / 2
        found += [(spot, Way.CURVE4) for spot in ((middle, y0), (middle, y1), (x1, y1))]
    return found


def _cornered(points: list[Point]) -> list[tuple[Point, Any]]:
    """Straight, with round corners."""
    found: list[tuple[Point, Any]] = []
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        found.append((_towards(corner, before), Way.LINETO))
        found += [(corner, Way.CURVE3), (_towards(corner, after), Way.CURVE3)]
    return [*found, (points[-1], Way.LINETO)]


def _towards(corner: Point, other: Point) -> Point:
    """The spot on the way to ``other`` where the rounding of a corner ends."""
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    length = (dx * dx + dy * dy) ** 0.5
    share = min(_ROUND, length / 2) / length if length else 0.0
    return corner[0] + dx * share, corner[1] + dy * share


def _minute(moment: object) -> str:
    if isinstance(moment, datetime):
        return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
    return str(moment or "")
