"""The picture of a pipeline: the boxes and lines of a lineage picture, with other words."""

from __future__ import annotations

import networkx as nx

from memos_integrations.infrastructure.pictures.drawing import Drawing, way
from memos_integrations.infrastructure.pictures.layers import Edge
from memos_integrations.infrastructure.pictures.layout import Box, Point, Stroke
from memos_integrations.infrastructure.prov_export.detours import with_detours
from memos_integrations.interface.pipelining.flowchart import KINDS

_TITLE, _BODY, _WIDE, _LINE = 8.0, 7.5, 2.6, 0.175
_PAINT = {"input": "gone", "read": "entity", "augment": "activity", "write": "agent"}
_RIM = {"input": "#56606e", "read": "#2f5f9e", "augment": "#a96f12", "write": "#2c7a4b"}
_FAINT = "#56606e"


class PipelineDrawing(Drawing):
    """Arrows lead from what comes first to what comes after; boxes are coloured by what they do."""

    def __init__(self, flow: nx.DiGraph[str]) -> None:
        self._flow = flow
        back: nx.DiGraph[str] = nx.DiGraph()  # layouts know what a thing came from
        back.add_nodes_from(
            (node, {"kind": "entity", **about}) for node, about in flow.nodes.items()
        )
        back.add_edges_from((later, earlier) for earlier, later in flow.edges)
        super().__init__(back)
        self.layout = with_detours(self.layout, back)

    def _words(self, node: str) -> list[str]:
        title, *more = self._flow.nodes[node]["lines"]
        lines = [line for one in more for line in self.fonts.wrapped(one, _BODY, _WIDE, 2)]
        return [*self.fonts.wrapped(title, _TITLE, _WIDE, 1), *lines[:8]]

    def _size(self, node: str) -> tuple[float, float]:
        head, *more = self.words[node]
        wide = [self.fonts.width(head, _TITLE, bold=True) * 1.05]
        wide += [self.fonts.width(line, _BODY) for line in more]
        return max(wide) + 0.35, _LINE * (1 + len(more)) + 0.22

    def _line(self, edge: Edge, strokes: list[Stroke]) -> None:
        forward = [(kind, points[::-1]) for kind, points in reversed(strokes)]
        how = self._flow.edges[edge[1], edge[0]]["how"]
        self._arrow(way(forward), _FAINT, 0.7 if how else 1.3)

    def _label(self, edge: Edge, spot: Point) -> None:
        how = self._flow.edges[edge[1], edge[0]]["how"]
        if how:
            box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}
            self._text(spot, how, _BODY, colour=_FAINT, box=box)

    def _node(self, box: Box) -> None:
        what, (head, *more) = self._flow.nodes[box.node]["what"], self.words[box.node]
        self._shape("entity", _PAINT[what], box)
        left, y = box.x - box.width / 2 + 0.15, box.y + _LINE * len(more) / 2
        self._text((left, y), head, _TITLE, bold=True, colour=_RIM[what], ha="left")
        for number, line in enumerate(more, 1):
            self._text((left, y - _LINE * number), line, _BODY, ha="left")

    def _legend_width(self) -> float:
        return sum(self.fonts.width(said, _BODY) + 0.7 for said in KINDS.values())

    def _legend(self) -> None:
        x, y = self.axes.get_xlim()[0] + 0.35, -0.45
        for what, said in KINDS.items():
            self._shape("entity", _PAINT[what], Box(what, x + 0.15, y, 0.3, 0.19))
            self._text((x + 0.4, y), said, _BODY, colour=_FAINT, ha="left")
            x += self.fonts.width(said, _BODY) + 0.7
