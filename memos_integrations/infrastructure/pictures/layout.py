"""From layers to inches: the boxes, lines and label spots of a lineage picture.

Columns go from left to right and, where they get too wide for a page, on in the next band
below. Agents stand in a lane above each band that they worked in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean
from typing import Literal

import networkx as nx

from memos_integrations.infrastructure.pictures.layers import (
    LABEL_HEIGHT,
    LABEL_WIDTH,
    Block,
    Edge,
    Extent,
    Item,
    Pass,
    blocks,
    is_ending,
    layers,
    level,
    relation,
)

Point = tuple[float, float]
Stroke = tuple[Literal["curve", "corner"], list[Point]]
"""A smooth line that is level at its points, or straight pieces with round corners."""

GAP_X = 1.4
STEM = 0.42
"""Between a version and the activity above it."""
_PAGE = 17.0
_LANE = 0.62
_PORT = 0.2
_TRACK = 0.17
_ASIDE = 0.2
"""Between the lines to different agents, which must not look like one."""


@dataclass(frozen=True)
class Box:
    """A node's rectangle by its centre. An agent has one in each band that it worked in."""

    node: str
    x: float
    y: float
    width: float
    height: float


@dataclass
class Layout:
    """All that is to be drawn; the lower left corner is (0, 0)."""

    boxes: list[Box] = field(default_factory=list)
    lines: list[tuple[Edge, list[Stroke]]] = field(default_factory=list)
    """From the later thing to what it came from."""
    labels: list[tuple[Edge, Point]] = field(default_factory=list)
    width: float = 0.0
    height: float = 0.0


def arrange(graph: nx.DiGraph[str], size: Callable[[str], tuple[float, float]]) -> Layout:
    """Place a provenance graph; ``size(node)`` is ``(width, height)``."""
    return _Arrangement(graph, size).layout()


class _Arrangement:
    def __init__(self, graph: nx.DiGraph[str], size: Callable[[str], tuple[float, float]]) -> None:
        self.graph, self.size = graph, {node: size(node) for node in graph}
        self.agents = {n for n in graph if graph.nodes[n].get("kind") == "agent"}
        self.home = blocks(graph, self.agents)
        self.columns, links = layers(graph, self.home)
        self.layer = {i: n for n, column in enumerate(self.columns) for i in column}
        self.extents = {item: self._extent(item) for column in self.columns for item in column}
        self.y = level(self.columns, links, self.extents)
        self.x: list[float] = []
        self.band: list[int] = []
        self.place: dict[str, Box] = {}
        self.out = Layout()

    def layout(self) -> Layout:
        self._columns_to_bands()
        crossings = self._crossings()
        self._stack_bands(crossings)
        for box in self._node_boxes():
            self.place[box.node] = box
            self.out.boxes.append(box)
        self._lines(crossings)
        for band in sorted(set(self.band)):
            self._lane(band)
        if not self.columns:
            self.out.boxes += [Box(a, 0, i * 1.0, *self.size[a]) for i, a in enumerate(self.agents)]
        return _from_origin(self.out)

    def _extent(self, item: Item) -> Extent:
        if isinstance(item, Pass):
            return Extent(0.0, LABEL_HEIGHT / 2, LABEL_HEIGHT / 2)
        width, height = self.size[item.name]
        if item.above is None:
            return Extent(width, height / 2, height / 2)
        wide, high = self.size[item.above]
        return Extent(max(width, wide), height / 2 + STEM + high, height / 2)

    def _columns_to_bands(self) -> None:
        x, band = 0.0, 0
        for column in self.columns:
            width = max(self.extents[item].width for item in column)
            last = len(self.x) == len(self.columns) - 1
            if x and x + width > _PAGE * (1.15 if last else 1.0):  # no band for one straggler
                x, band = 0.0, band + 1
            self.x.append(x + width / 2)
            self.band.append(band)
            x += width + GAP_X

    def _layer(self, node: str) -> int:
        return self.layer[self.home[node]]

    def _crossings(self) -> list[list[Edge]]:
        """For each band the edges that come into it from the band above."""
        found: list[list[Edge]] = [[] for _ in range(max(self.band, default=0) + 1)]
        for edge in self._inner_edges():
            bands = sorted(self.band[self._layer(node)] for node in edge)
            for band in range(bands[0] + 1, bands[1] + 1):
                found[band].append(edge)
        for edges in found:  # activities stand above versions: their lines go outside
            edges.sort(key=lambda edge: self.home[edge[0]].above == edge[0])
        return found

    def _inner_edges(self) -> list[Edge]:
        return [
            (later, earlier)
            for later, earlier in self.graph.edges
            if later in self.home
            and earlier in self.home
            and self.home[later] != self.home[earlier]
        ]

    def _stack_bands(self, crossings: list[list[Edge]]) -> None:
        """Shift each band below the one before it."""
        floor = 0.0
        self.ceilings: list[float] = []
        self.gutters: list[float] = []
        for band in range(len(crossings)):
            items = [
                i for c, b in zip(self.columns, self.band, strict=True) if b == band for i in c
            ]
            top = max((self.y[i] + self.extents[i].up for i in items), default=0.0)
            gutter = _TRACK * len(crossings[band]) + 0.3 if crossings[band] else 0.0
            lane = _LANE + 0.45 if self.agents else 0.0
            self.gutters.append(floor - 0.2)
            ceiling = floor - gutter - lane - 0.25
            for item in items:
                self.y[item] += ceiling - top
            self.ceilings.append(ceiling)
            floor = min((self.y[i] - self.extents[i].down for i in items), default=ceiling)

    def _node_boxes(self) -> list[Box]:
        found = []
        for x, column in zip(self.x, self.columns, strict=True):
            for item in column:
                if isinstance(item, Block):
                    width, height = self.size[item.name]
                    found.append(Box(item.name, x, self.y[item], width, height))
                    if item.above is not None:
                        up = self.y[item] + height / 2 + STEM + self.size[item.above][1] / 2
                        found.append(Box(item.above, x, up, *self.size[item.above]))
        return found

    # Lines ----------------------------------------------------------------------------------

    def _lines(self, crossings: list[list[Edge]]) -> None:
        passes: dict[Edge, list[Pass]] = {}
        for column in self.columns:
            for item in column:
                if isinstance(item, Pass):
                    passes.setdefault(item.edge, []).append(item)
        ways = {edge: self._way(edge, passes.get(edge, [])) for edge in self._inner_edges()}
        self._spread_ports(ways)
        for edge, way in ways.items():
            self._draw(edge, way, crossings)
        for later, earlier in self.graph.edges:
            if later in self.home and self.home[later] is self.home.get(earlier):
                low, high = self.place[later], self.place[earlier]
                start = (low.x, low.y + low.height / 2)
                end = (high.x, high.y - high.height / 2)
                self.out.lines.append(((later, earlier), [("corner", [start, end])]))
                self.out.labels.append(((later, earlier), (low.x, (start[1] + end[1]) / 2 + 0.02)))

    def _way(self, edge: Edge, passes: list[Pass]) -> list[tuple[int, Point]]:
        """``(layer, point)`` from the left end to the right end."""
        left, right = self._left_right(edge)
        start, end = self.place[left], self.place[right]
        return [
            (self._layer(left), (start.x + start.width / 2, start.y)),
            *((p.layer, (self.x[p.layer], self.y[p])) for p in passes),
            (self._layer(right), (end.x - end.width / 2, end.y)),
        ]

    def _left_right(self, edge: Edge) -> Edge:
        later, earlier = edge
        ending = is_ending(relation(self.graph, edge))
        return (later, earlier) if ending else (earlier, later)

    def _spread_ports(self, ways: dict[Edge, list[tuple[int, Point]]]) -> None:
        """Give each line its own spot on a version's side; a level line keeps the middle."""
        sides: dict[tuple[str, int], list[Edge]] = {}
        for edge in ways:
            for node, end in zip(self._left_right(edge), (0, -1), strict=True):
                if self.graph.nodes[node].get("kind") == "entity":
                    sides.setdefault((node, end), []).append(edge)
        for (node, end), edges in sides.items():
            middle = self.place[node].y
            reach = {e: ways[e][1 if end == 0 else -2][1][1] - middle for e in edges}
            for edge, offset in _ports(reach, self.place[node].height).items():
                layer, (x, y) = ways[edge][end]
                ways[edge][end] = (layer, (x, y + offset))

    def _draw(self, edge: Edge, way: list[tuple[int, Point]], crossings: list[list[Edge]]) -> None:
        strokes: list[Stroke] = []
        curve = [way[0][1]]
        spot: Point | None = None
        for (layer, a), (after, b) in pairwise(way):
            if self.band[layer] == self.band[after]:
                curve.append(b)
                continue
            corners = self._gutter(a, b, self.band[layer], edge, crossings[self.band[after]])
            spot = spot or (corners[3][0] + 1.2, corners[3][1])
            strokes += [("curve", curve)] if len(curve) > 1 else []
            strokes.append(("corner", corners))
            curve = [b]
        strokes += [("curve", curve)] if len(curve) > 1 else []
        if self._left_right(edge)[0] == edge[1]:  # drawn from the later thing, on the right
            strokes = [(kind, points[::-1]) for kind, points in reversed(strokes)]
        self.out.lines.append((edge, strokes))
        self.out.labels.append((edge, spot or _middle([point for _, point in way])))

    def _gutter(
        self, a: Point, b: Point, above: int, edge: Edge, tracks: list[Edge]
    ) -> list[Point]:
        """From a band's right end round to the left end of the next one, each on its track."""
        track = tracks.index(edge)
        right = max(
            x + max(self.extents[i].width for i in column) / 2
            for x, band, column in zip(self.x, self.band, self.columns, strict=True)
            if band == above
        )
        out, back = right + 0.25 + _TRACK * track, -0.25 - _TRACK * (len(tracks) - 1 - track)
        y = self.gutters[above + 1] - _TRACK * track
        return [a, (out, a[1]), (out, y), (back, y), (back, b[1]), b]

    # Agents ---------------------------------------------------------------------------------

    def _lane(self, band: int) -> None:
        """Agents above a band, with lines that go round what stands in between."""
        here = [node for node in self.place if self.band[self._layer(node)] == band]
        served = {a: [n for n in here if self.graph.has_edge(n, a)] for a in self.agents}
        boxes = self._agent_boxes({a: nodes for a, nodes in served.items() if nodes}, band)
        for number, box in enumerate(boxes):
            labelled: set[int] = set()
            rail = self.ceilings[band] + 0.36 + 0.1 * number
            rises = [(node, self._rise(node, number)) for node in served[box.node]]
            for node, rise in sorted(rises, key=lambda pair: (len(pair[1]), pair[0])):
                foot, door = rise[-1][0], (box.x, box.y - box.height / 2)
                straight = abs(foot - box.x) < 0.01
                way = [*rise, door] if straight else [*rise, (foot, rail), (box.x, rail), door]
                self.out.lines.append(((node, box.node), [("corner", way)]))
                if self._layer(node) not in labelled:  # once for lines that run together
                    labelled.add(self._layer(node))
                    self.out.labels.append(((node, box.node), (foot, self.ceilings[band] + 0.16)))
        self.out.boxes += boxes

    def _agent_boxes(self, served: Mapping[str, list[str]], band: int) -> list[Box]:
        centre = {a: fmean(self.place[n].x for n in nodes) for a, nodes in served.items()}
        found: list[Box] = []
        edge = float("-inf")
        for number, agent in enumerate(sorted(served, key=lambda a: (centre[a], a))):
            width, height = self.size[agent]
            x = max(centre[agent] + _ASIDE * number, edge + 0.4 + width / 2)
            found.append(Box(agent, x, self.ceilings[band] + _LANE + height / 2, width, height))
            edge = x + width / 2
        return found

    def _rise(self, node: str, number: int) -> list[Point]:
        """Straight up if nothing stands above in the column, else out to the left first."""
        box, block, layer = self.place[node], self.home[node], self._layer(node)
        covered = node == block.name and block.above is not None
        if not covered and self.columns[layer][0] == block:
            return [(box.x + _ASIDE * number, box.y)]
        wide = max(self.extents[item].width for item in self.columns[layer])
        left = box.x - wide / 2 - 0.14 - 0.08 * number
        return [(box.x - box.width / 2, box.y), (left, box.y)]


def _ports(reach: Mapping[Edge, float], height: float) -> dict[Edge, float]:
    """Offsets from the middle of a side, in the order in which the lines come in."""
    order = sorted(reach, key=lambda edge: reach[edge])
    pivot = min(order, key=lambda edge: abs(reach[edge]))
    middle = order.index(pivot) if abs(reach[pivot]) < 0.05 else (len(order) - 1) / 2
    most = max(middle, len(order) - 1 - middle, 1)
    step = min(_PORT, (height / 2 - 0.12) / most)
    return {edge: (i - middle) * step for i, edge in enumerate(order)}


def _middle(points: list[Point]) -> Point:
    """Where a label goes: on the middle stand-in, or half way."""
    if len(points) > 2:
        return points[len(points) // 2]
    return fmean(x for x, _ in points), fmean(y for _, y in points)


def _from_origin(layout: Layout) -> Layout:
    xs = [x for _, strokes in layout.lines for _, points in strokes for x, _ in points]
    ys = [y for _, strokes in layout.lines for _, points in strokes for _, y in points]
    xs += [x + side * LABEL_WIDTH / 2 for _, (x, _) in layout.labels for side in (-1, 1)]
    for box in layout.boxes:
        xs += [box.x - box.width / 2, box.x + box.width / 2]
        ys += [box.y - box.height / 2, box.y + box.height / 2]
    left, low = min(xs), min(ys)

    def moved(points: list[Point]) -> list[Point]:
        return [(x - left, y - low) for x, y in points]

    return Layout(
        [Box(b.node, b.x - left, b.y - low, b.width, b.height) for b in layout.boxes],
        [(edge, [(kind, moved(way)) for kind, way in strokes]) for edge, strokes in layout.lines],
        [(edge, moved([spot])[0]) for edge, spot in layout.labels],
        max(xs) - left,
        max(ys) - low,
    )
