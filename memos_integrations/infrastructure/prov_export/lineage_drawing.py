"""The drawing of a folded lineage: what made a version stands in its box, not beside it."""

from __future__ import annotations

import networkx as nx
from matplotlib.path import Path as Way

from memos_integrations.infrastructure.pictures.drawing import Drawing
from memos_integrations.infrastructure.pictures.layers import Edge, relation
from memos_integrations.infrastructure.pictures.layout import Box, Point
from memos_integrations.infrastructure.prov_export.detours import with_detours
from memos_integrations.infrastructure.prov_export.reading import is_gone, title, words

_TITLE, _BODY = 7.5, 9.0
_WIDE, _WIDEST, _MOST_LINES = 2.75, 4.5, 4
_BOLD = 0.12
"""A title in bold is so much wider than it was measured."""
_FAINT = "#56606e"
_MEANING = {
    "wasRevisionOf": ("#2f5f9e", "is a new version of"),
    "wasDerivedFrom": ("#6b3fa0", "was made from"),
}
"""The colour and meaning of each arrow."""


class LineageDrawing(Drawing):
    """A lineage, whole or folded, with lines that cross no box."""

    def __init__(self, graph: nx.DiGraph[str], *, folded: bool) -> None:
        self._folded = folded
        super().__init__(graph)
        self.layout = with_detours(self.layout, graph)

    def _words(self, node: str) -> list[str]:
        if not self._folded:
            return super()._words(node)
        head = self.fonts.wrapped(title(self.graph, node), _TITLE, _WIDEST, 1)
        return [*head, *self.fonts.wrapped(words(self.graph, node), _BODY, _WIDE, _MOST_LINES)]

    def _size(self, node: str) -> tuple[float, float]:
        width, height = super()._size(node)
        return (max(width + _BOLD, _WIDE + 0.3), height) if self._folded else (width, height)

    def _is_gone(self, node: str) -> bool:
        return is_gone(self.graph, node)

    def _label(self, edge: Edge, spot: Point) -> None:
        if not self._folded:  # colours and the legend say it: a word on each line is too much
            super()._label(edge, spot)

    def _entries(self) -> list[tuple[str, str, str]]:
        """What the legend explains: a box or an arrow, its colour, its meaning."""
        found = {relation(self.graph, edge) for edge in self.graph.edges}
        arrows = [("arrow", *said) for word, said in _MEANING.items() if word in found]
        gone = [("gone", "", "deleted")] if any(is_gone(self.graph, n) for n in self.graph) else []
        return [("entity", "", "a version of a memory"), *gone, *arrows]

    def _legend_width(self) -> float:
        if not self._folded:
            return super()._legend_width()
        return sum(self.fonts.width(said, _TITLE) + 0.7 for _, _, said in self._entries())

    def _legend(self) -> None:
        if not self._folded:
            super()._legend()
            return
        x, y = self.axes.get_xlim()[0] + 0.35, -0.45
        for form, colour, said in self._entries():
            if form == "arrow":
                self._arrow(Way([(x + 0.32, y), (x, y)]), colour, 1.3)
            else:
                self._shape("entity", form, Box(form, x + 0.15, y, 0.3, 0.19))
            self._text((x + 0.4, y), said, _TITLE, colour=_FAINT, ha="left")
            x += self.fonts.width(said, _TITLE) + 0.7
