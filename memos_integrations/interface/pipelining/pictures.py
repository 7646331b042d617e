"""A pipeline as a file: SVG or PNG drawn with matplotlib, or Mermaid."""

from __future__ import annotations

import os
from pathlib import Path

import networkx as nx

from memos_integrations.errors import InvalidInputError, MissingExtraError
from memos_integrations.infrastructure.pictures.lineage import own_settings
from memos_integrations.interface.pipelining.flowchart import flowchart


def save(graph: nx.DiGraph[str], path: str | os.PathLike[str]) -> Path:
    """Draw it; the file's ending says how."""
    try:
        target = Path(path)
        kind = target.suffix.lower()
        if kind == ".mmd":
            target.write_text(flowchart(graph), encoding="utf-8", newline="")
        elif kind in (".svg", ".png"):
            _draw(graph, target)
        else:
            raise InvalidInputError(f"{target.name!r}: end it in .svg, .png or .mmd")
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be written: {error.strerror}") from None
    except TypeError:
        raise InvalidInputError(f"path is {path!r}: give the path of a file") from None
    return target


def _draw(graph: nx.DiGraph[str], target: Path) -> None:
    try:
        # Loaded when first needed: matplotlib takes half a second, and is an extra.
        from memos_integrations.interface.pipelining.drawing import PipelineDrawing
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "matplotlib":
            raise
        raise MissingExtraError(
            "pictures need matplotlib: pip install 'memos-integrations[viewer]'"
        ) from None
    with own_settings():
        PipelineDrawing(graph).save(target)
