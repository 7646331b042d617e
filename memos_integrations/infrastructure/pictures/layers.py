"""The layers of a lineage picture: what stands in which column, in which order, how high.

The method of Sugiyama, Tagawa and Toda (IEEE SMC 1981): layers by longest path, stand-ins
where an edge passes a layer, sweeps of barycentres against crossings, then heights that keep
neighbours level. Lengths are in inches, y upwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

import networkx as nx

Edge = tuple[str, str]

GAP_Y = 0.34
LABEL_WIDTH, LABEL_HEIGHT = 1.3, 0.24
_SWEEPS = 24
_LIGHT = 0.001
"""The pull of a stand-in, beside 1 for a block: lines bend, boxes stay level."""


@dataclass(frozen=True)
class Block:
    """A node; or a version with, above it, the activity that made it and nothing else."""

    name: str
    """The node that other columns are levelled with."""
    above: str | None = None


@dataclass(frozen=True)
class Pass:
    """Where a long edge passes a layer."""

    edge: Edge
    layer: int


Item = Block | Pass


@dataclass(frozen=True)
class Extent:
    """How far an item reaches from its centre line."""

    width: float
    up: float
    down: float


def relation(graph: nx.DiGraph[str], edge: Edge) -> str:
    """The PROV word on an edge."""
    return str(graph.edges[edge].get("relation", ""))


def is_ending(relation: str) -> bool:
    """A thing is there before what ends it, though PROV's arrow points the usual way."""
    return relation == "wasInvalidatedBy"


def blocks(graph: nx.DiGraph[str], agents: Iterable[str]) -> dict[str, Block]:
    """Each node but the agents with its block; an activity that made one thing joins it."""
    left_out = set(agents)
    nodes = sorted((n for n in graph if n not in left_out), key=lambda n: _age(graph, n))
    made = {
        node: [n for n in graph.pred[node] if relation(graph, (n, node)) == "wasGeneratedBy"]
        for node in nodes
    }
    joined = {only[0]: node for node, only in made.items() if len(only) == 1}
    found: dict[str, Block] = {}
    for node in nodes:
        if node not in joined.values():
            found[node] = Block(node, joined.get(node))
            if node in joined:
                found[joined[node]] = found[node]
    return found


def _age(graph: nx.DiGraph[str], node: str) -> tuple[str, str]:
    return str(graph.nodes[node].get("at", "")), node


def layers(
    graph: nx.DiGraph[str], home: Mapping[str, Block]
) -> tuple[list[list[Item]], list[tuple[Item, Item]]]:
    """Columns of items, earlier ones first, and the links between adjacent columns."""
    flow: nx.DiGraph[Block] = nx.DiGraph()
    flow.add_nodes_from(home.values())
    steps: list[tuple[Block, Block, Edge]] = []
    for later, earlier in graph.edges:
        if later in home and earlier in home and home[later] != home[earlier]:
            ends = (home[earlier], home[later])
            start, end = ends[::-1] if is_ending(relation(graph, (later, earlier))) else ends
            flow.add_edge(start, end)
            steps.append((start, end, (later, earlier)))
    rank = _ranks(flow)
    columns: list[list[Item]] = [[] for _ in range(max(rank.values(), default=-1) + 1)]
    links: list[tuple[Item, Item]] = []
    for start, end, edge in steps:
        passes = [Pass(edge, layer) for layer in range(rank[start] + 1, rank[end])]
        for stand_in in passes:
            columns[stand_in.layer].append(stand_in)
        path: list[Item] = [start, *passes, end]
        links += list(pairwise(path))
    for block in flow:
        columns[rank[block]].append(block)
    _uncross(columns, links)
    return columns, links


def _ranks(flow: nx.DiGraph[Block]) -> dict[Block, int]:
    rank = {b: i for i, found in enumerate(nx.topological_generations(flow)) for b in found}
    for block in sorted(rank, key=lambda b: -rank[b]):
        if flow.in_degree(block) == 0 and flow.out_degree(block):
            rank[block] = min(rank[later] for later in flow.successors(block)) - 1
    return rank


def _neighbours(links: Sequence[tuple[Item, Item]]) -> dict[Item, list[Item]]:
    near: dict[Item, list[Item]] = {}
    for one, other in links:
        near.setdefault(one, []).append(other)
        near.setdefault(other, []).append(one)
    return near


def _uncross(columns: list[list[Item]], links: Sequence[tuple[Item, Item]]) -> None:
    """Order each layer by the mean position of its neighbours, to and fro."""
    near = _neighbours(links)
    for sweep in range(_SWEEPS):
        for column in columns if sweep % 2 == 0 else reversed(columns):
            spot = {item: (i + 1) / (len(c) + 1) for c in columns for i, item in enumerate(c)}
            wanted = {i: fmean([spot[n] for n in near.get(i, [i])]) for i in column}
            column.sort(key=lambda item: wanted[item])


def level(
    columns: Sequence[Sequence[Item]],
    links: Sequence[tuple[Item, Item]],
    extents: Mapping[Item, Extent],
) -> dict[Item, float]:
    """The y of each item: near the mean of its neighbours, and clear of its own layer."""
    near = _neighbours(links)
    y = {item: -float(i) for column in columns for i, item in enumerate(column)}
    for sweep in range(_SWEEPS):
        for column in columns if sweep % 2 == 0 else reversed(columns):
            wanted = [_pull(y, near.get(item, [item])) for item in column]
            y.update(zip(column, _spread(wanted, column, extents), strict=True))
    return y


def _weight(item: Item) -> float:
    return 1.0 if isinstance(item, Block) else _LIGHT


def _pull(y: Mapping[Item, float], items: Sequence[Item]) -> float:
    pulled = sum(_weight(item) * y[item] for item in items)
    return pulled / sum(map(_weight, items))


def _spread(
    wanted: Sequence[float], column: Sequence[Item], extents: Mapping[Item, Extent]
) -> list[float]:
    """Heights nearest to ``wanted`` that keep order and distance: isotonic regression."""
    below = [0.0]
    for upper, lower in pairwise(column):
        below.append(below[-1] + extents[upper].down + GAP_Y + extents[lower].up)
    pools: list[tuple[float, float, int]] = []  # mean, weight, count; means must fall
    for want, item, offset in zip(wanted, column, below, strict=True):
        mean, weight, count = want + offset, _weight(item), 1
        while pools and pools[-1][0] < mean:
            other, heavy, more = pools.pop()
            mean = (other * heavy + mean * weight) / (heavy + weight)
            weight, count = weight + heavy, count + more
        pools.append((mean, weight, count))
    means = [mean for mean, _, count in pools for _ in range(count)]
    return [mean - offset for mean, offset in zip(means, below, strict=True)]
