"""Lines that go round what stands in the columns they pass."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import networkx as nx

from memos_integrations.infrastructure.pictures.layout import Layout, Point, Stroke
from memos_integrations.infrastructure.prov_export.reading import kind

_Sides = dict[float, tuple[float, float]]
"""The left and right side of each column, by its middle."""


def with_detours(layout: Layout, graph: nx.DiGraph[str]) -> Layout:
    """The same layout, its lines level across each column that they pass.

    It reserves height for a line at the middle of a column; one that began to climb right there
    would cross the boxes above or below it.
    """
    sides: _Sides = {}
    for box in layout.boxes:
        if kind(graph, box.node) != "agent":  # agents stand above the columns
            left, right = box.x - box.width / 2, box.x + box.width / 2
            known = sides.get(round(box.x, 3), (left, right))
            sides[round(box.x, 3)] = min(left, known[0]), max(right, known[1])
    lines = [
        (edge, [_levelled(stroke, sides) for stroke in strokes]) for edge, strokes in layout.lines
    ]
    return replace(layout, lines=lines)


def _levelled(stroke: Stroke, sides: _Sides) -> Stroke:
    form, points = stroke
    if form != "curve":
        return stroke
    found = [points[0]]
    for one, other in pairwise(points):
        found += [*_between(one, other, sides), other]
    return form, found


def _between(one: Point, other: Point, sides: _Sides) -> list[Point]:
    """Where a line leaves the column that it passes at ``one``, and comes into that at ``other``.

    A line passes a column at its middle; where it starts or ends, it touches a box's side.
    """
    (x0, y0), (x1, y1) = one, other
    ahead = x1 > x0
    out = sides.get(round(x0, 3), (x0, x0))[ahead]
    back = sides.get(round(x1, 3), (x1, x1))[not ahead]
    if (out < back) is not ahead:
        return []
    return [spot for spot in ((out, y0), (back, y1)) if spot not in (one, other)]
