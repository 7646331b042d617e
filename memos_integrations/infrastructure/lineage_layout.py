"""Where the boxes of a lineage picture go: a layered layout, earlier on the left.

The method of Sugiyama, Tagawa and Toda (IEEE SMC 1981): layers by longest path, stand-ins
where an edge passes a layer, sweeps of barycentres against crossings, then heights that keep
neighbours level. Agents stand below, in a lane of their own. Lengths are in inches, y upwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import networkx as nx

Point = tuple[float, float]
Edge = tuple[str, str]

GAP_X, GAP_Y, LANE = 1.45, 0.3, 0.75
LABEL_HEIGHT = 0.24
_SWEEPS = 12


@dataclass(frozen=True)
class Box:
    """A rectangle by its centre."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Layout:
    """Boxes of nodes, ways of edges, and the spots of edge labels."""

    boxes: dict[str, Box] = field(default_factory=dict)
    ways: dict[Edge, list[Point]] = field(default_factory=dict)
    """From the later thing (the edge's first node) to the earlier one."""
    labels: dict[Edge, Point] = field(default_factory=dict)
    drops: dict[Edge, list[Point]] = field(default_factory=dict)
    """Corners of the edges down to the agents."""
    width: float = 0.0
    height: float = 0.0


@dataclass(frozen=True)
class _Pass:
    """Where a long edge passes a layer."""

    edge: Edge
    layer: int


_Item = str | _Pass


def arrange(graph: nx.DiGraph[str], size: Callable[[str], tuple[float, float]]) -> Layout:
    """Place every node of a provenance graph; ``size(node)`` is ``(width, height)``."""
    agents = [node for node, data in graph.nodes(data=True) if data.get("kind") == "agent"]
    flow = _flow(graph, set(agents))
    rank = _ranks(flow)
    columns, links = _columns(flow, rank)
    _uncross(columns, links)
    sizes = {item: _item_size(item, size) for column in columns for item in column}
    heights = _level(columns, links, sizes)
    return _Placed(graph, columns, sizes, heights, {a: size(a) for a in agents}).layout()


def _flow(graph: nx.DiGraph[str], agents: set[str]) -> nx.DiGraph[str]:
    """The graph without agents, its edges from earlier to later."""
    flow: nx.DiGraph[str] = nx.DiGraph()
    flow.add_nodes_from(sorted((n for n in graph if n not in agents), key=lambda n: _age(graph, n)))
    for later, earlier, relation in graph.edges(data="relation"):
        if later in agents or earlier in agents:
            continue
        # A thing is there before what ends it, though PROV points the same way as elsewhere.
        ends = relation == "wasInvalidatedBy"
        flow.add_edge(*((later, earlier) if ends else (earlier, later)), edge=(later, earlier))
    return flow


def _age(graph: nx.DiGraph[str], node: str) -> tuple[str, str]:
    return str(graph.nodes[node].get("at", "")), node


def _ranks(flow: nx.DiGraph[str]) -> dict[str, int]:
    rank = {n: i for i, nodes in enumerate(nx.topological_generations(flow)) for n in nodes}
    for node in sorted(rank, key=lambda n: -rank[n]):
        if flow.in_degree(node) == 0 and flow.out_degree(node):
            rank[node] = min(rank[later] for later in flow.successors(node)) - 1
    return rank


def _columns(
    flow: nx.DiGraph[str], rank: Mapping[str, int]
) -> tuple[list[list[_Item]], list[tuple[_Item, _Item]]]:
    """Layers of nodes and stand-ins, and the links between adjacent layers."""
    columns: list[list[_Item]] = [[] for _ in range(max(rank.values(), default=-1) + 1)]
    links: list[tuple[_Item, _Item]] = []
    for start, end, edge in flow.edges(data="edge"):
        chain: list[_Item] = [_Pass(edge, i) for i in range(rank[start] + 1, rank[end])]
        for stand_in in chain:
            columns[stand_in.layer].append(stand_in)  # type: ignore[union-attr]
        path = [start, *chain, end]
        links += list(zip(path, path[1:], strict=False))
    for node in flow:
        columns[rank[node]].append(node)
    return columns, links


def _neighbours(links: Sequence[tuple[_Item, _Item]]) -> dict[_Item, list[_Item]]:
    near: dict[_Item, list[_Item]] = {}
    for one, other in links:
        near.setdefault(one, []).append(other)
        near.setdefault(other, []).append(one)
    return near


def _uncross(columns: list[list[_Item]], links: Sequence[tuple[_Item, _Item]]) -> None:
    """Order each layer by the mean position of its neighbours, to and fro."""
    near = _neighbours(links)
    for sweep in range(_SWEEPS):
        for column in columns if sweep % 2 == 0 else reversed(columns):
            spot = {
                item: (i + 1) / (len(c) + 1) for c in columns for i, item in enumerate(c)
            }
            column.sort(key=lambda item: _mean(spot, near.get(item, ()), spot[item]))


def _mean(spot: Mapping[_Item, float], items: Sequence[_Item], otherwise: float) -> float:
    return fmean(spot[item] for item in items) if items else otherwise


def _item_size(item: _Item, size: Callable[[str], tuple[float, float]]) -> tuple[float, float]:
    return (0.0, LABEL_HEIGHT) if isinstance(item, _Pass) else size(item)


def _level(
    columns: Sequence[Sequence[_Item]],
    links: Sequence[tuple[_Item, _Item]],
    sizes: Mapping[_Item, tuple[float, float]],
) -> dict[_Item, float]:
    """The y of each item: near the mean of its neighbours, and clear of its own layer."""
    near = _neighbours(links)
    y = {item: -float(i) for column in columns for i, item in enumerate(column)}
    for sweep in range(2 * _SWEEPS):
        for column in columns if sweep % 2 == 0 else reversed(columns):
            wanted = [_pull(y, near.get(item, ()), y[item]) for item in column]
            weights = [0.05 if isinstance(item, _Pass) else 1.0 for item in column]
            y.update(zip(column, _spread(wanted, weights, column, sizes), strict=True))
    return y


def _pull(y: Mapping[_Item, float], items: Sequence[_Item], otherwise: float) -> float:
    weights = [0.05 if isinstance(item, _Pass) else 1.0 for item in items]
    pulled = sum(w * y[item] for w, item in zip(weights, items, strict=True))
    return pulled / sum(weights) if items else otherwise


def _spread(
    wanted: Sequence[float],
    weights: Sequence[float],
    column: Sequence[_Item],
    sizes: Mapping[_Item, tuple[float, float]],
) -> list[float]:
    """Positions nearest to ``wanted`` that keep order and distance: isotonic regression."""
    below: list[float] = []
    for item in column:
        half = sizes[item][1] / 2
        below.append(below[-1] + previous + half + GAP_Y if below else 0.0)
        previous = half
    pools: list[list[float]] = []  # [mean, weight, count], means falling
    for want, weight, offset in zip(wanted, weights, below, strict=True):
        pools.append([want + offset, weight, 1])
        while len(pools) > 1 and pools[-2][0] < pools[-1][0]:
            mean, heavy, count = pools.pop()
            last = pools[-1]
            last[0] = (last[0] * last[1] + mean * heavy) / (last[1] + heavy)
            last[1], last[2] = last[1] + heavy, last[2] + count
    means = [mean for mean, _, count in pools for _ in range(int(count))]
    return [mean - offset for mean, offset in zip(means, below, strict=True)]


@dataclass
class _Placed:
    """Layers with heights, on their way to boxes and lines."""

    graph: nx.DiGraph[str]
    columns: list[list[_Item]]
    sizes: Mapping[_Item, tuple[float, float]]
    y: dict[_Item, float]
    agents: dict[str, tuple[float, float]]

    def layout(self) -> Layout:
        layout = Layout(boxes=self._boxes())
        self._ways(layout)
        if self.agents:
            self._lane(layout)
        return _from_origin(layout)

    def _boxes(self) -> dict[str, Box]:
        boxes, x = {}, 0.0
        for column in self.columns:
            width = max(self.sizes[item][0] for item in column)
            for item in column:
                if isinstance(item, str):
                    boxes[item] = Box(x + width / 2, self.y[item], *self.sizes[item])
            x += width + GAP_X
        self._centres = self._column_centres()
        return boxes

    def _column_centres(self) -> list[float]:
        centres, x = [], 0.0
        for column in self.columns:
            width = max(self.sizes[item][0] for item in column)
            centres.append(x + width / 2)
            x += width + GAP_X
        return centres

    def _ways(self, layout: Layout) -> None:
        passes: dict[Edge, list[_Pass]] = {}
        for column in self.columns:
            for item in column:
                if isinstance(item, _Pass):
                    passes.setdefault(item.edge, []).append(item)
        for edge in self.graph.edges:
            if edge[0] in self.agents or edge[1] in self.agents:
                continue
            via = [(self._centres[p.layer], self.y[p]) for p in passes.get(edge, [])]
            ends = sorted((layout.boxes[node] for node in edge), key=lambda box: box.x)
            way = [
                (ends[0].x + ends[0].width / 2, ends[0].y),
                *via,
                (ends[1].x - ends[1].width / 2, ends[1].y),
            ]
            middle = via[len(via) // 2] if via else tuple(map(fmean, zip(*way, strict=True)))
            layout.labels[edge] = (middle[0], middle[1])
            backwards = layout.boxes[edge[0]].x > layout.boxes[edge[1]].x
            layout.ways[edge] = way[::-1] if backwards else way

    def _lane(self, layout: Layout) -> None:
        """Agents below everything, with lines that go round what stands in between."""
        floor = min((b.y - b.height / 2 for b in layout.boxes.values()), default=0.0)
        floor = min([floor, *(y - LABEL_HEIGHT for y in self.y.values())])
        placed = self._agent_boxes(layout, floor)
        for number, agent in enumerate(placed):
            level = floor - 0.3 - 0.1 * number
            labelled: set[float] = set()
            for node in sorted(self.graph.predecessors(agent)):
                drop = self._drop(layout.boxes[node], node, number)
                foot = drop[-1][0]
                corners = [*drop, (foot, level), (placed[agent].x, level)]
                top = (placed[agent].x, placed[agent].y + placed[agent].height / 2)
                layout.drops[node, agent] = [*corners, top]
                if not any(abs(foot - x) < 1.4 for x in labelled):
                    labelled.add(foot)
                    layout.labels[node, agent] = (foot, floor - 0.08)
        layout.boxes.update(placed)

    def _agent_boxes(self, layout: Layout, floor: float) -> dict[str, Box]:
        centre = {
            agent: fmean([layout.boxes[n].x for n in self.graph.predecessors(agent)] or [0.0])
            for agent in self.agents
        }
        boxes: dict[str, Box] = {}
        edge = float("-inf")
        for agent in sorted(self.agents, key=lambda a: (centre[a], a)):
            width, height = self.agents[agent]
            x = max(centre[agent], edge + GAP_Y + width / 2)
            boxes[agent] = Box(x, floor - LANE - height / 2, width, height)
            edge = x + width / 2
        return boxes

    def _drop(self, box: Box, node: str, number: int) -> list[Point]:
        """Straight down if nothing stands below in the layer, else out to the left first."""
        column = next(column for column in self.columns if node in column)
        if all(self.y[item] >= box.y for item in column):
            return [(box.x, box.y - box.height / 2)]
        left = box.x - max(self.sizes[item][0] for item in column) / 2 - 0.12 - 0.07 * number
        return [(box.x - box.width / 2, box.y), (left, box.y)]


def _from_origin(layout: Layout) -> Layout:
    """The same with its lower left corner at (0, 0)."""
    xs: list[float] = [x for way in layout.drops.values() for x, _ in way]
    ys: list[float] = [y for way in layout.ways.values() for _, y in way]
    ys += [y + LABEL_HEIGHT / 2 for _, y in layout.labels.values()]
    for box in layout.boxes.values():
        xs += [box.x - box.width / 2, box.x + box.width / 2]
        ys += [box.y - box.height / 2, box.y + box.height / 2]
    left, low = min(xs), min(ys)

    def moved(points: list[Point]) -> list[Point]:
        return [(x - left, y - low) for x, y in points]

    return Layout(
        boxes={n: Box(b.x - left, b.y - low, b.width, b.height) for n, b in layout.boxes.items()},
        ways={edge: moved(way) for edge, way in layout.ways.items()},
        labels={edge: moved([spot])[0] for edge, spot in layout.labels.items()},
        drops={edge: moved(way) for edge, way in layout.drops.items()},
        width=max(xs) - left,
        height=max(ys) - low,
    )
