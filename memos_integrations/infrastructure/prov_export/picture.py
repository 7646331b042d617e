"""A lineage as PNG or SVG, drawn with matplotlib: the same bytes for the same graph."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import networkx as nx

from memos_integrations.errors import InvalidInputError, MissingExtraError
from memos_integrations.infrastructure.pictures.lineage import FORMATS, own_settings
from memos_integrations.infrastructure.prov_export.folding import fold


def picture(graph: nx.DiGraph[str], path: str | os.PathLike[str], *, full: bool = False) -> Path:
    """Write the picture of a lineage to a ``.png`` or ``.svg`` file; return the path.

    Time runs from left to right; arrows lead to what a thing came from. Without ``full``,
    versions alone, each with who made it; with it, activities and agents, too. Raises
    :class:`InvalidInputError` for another file type or a graph without versions,
    :class:`MissingExtraError` without matplotlib, and ``OSError`` if the file cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise InvalidInputError(f"{target.name!r} is no picture: end it in {' or '.join(FORMATS)}")
    shown = graph if full else fold(graph)
    if not shown:
        raise InvalidInputError("the lineage is empty: there is nothing to draw")
    try:
        # Loaded when first needed: matplotlib takes half a second, and is an extra.
        from memos_integrations.infrastructure.prov_export.lineage_drawing import LineageDrawing
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "matplotlib":
            raise
        raise MissingExtraError(
            "pictures need matplotlib: pip install 'memos-integrations[viewer]'"
        ) from None
    with own_settings():
        LineageDrawing(shown, folded=not full).save(target)
    return target


def svg(graph: nx.DiGraph[str], *, full: bool = False) -> str:
    """The SVG that :func:`picture` writes, as text."""
    with TemporaryDirectory() as folder:
        return picture(graph, Path(folder) / "lineage.svg", full=full).read_text("utf-8")
