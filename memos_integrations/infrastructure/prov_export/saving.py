"""A lineage as a file or as a text."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import networkx as nx

from memos_integrations.errors import InvalidInputError
from memos_integrations.infrastructure.prov_export.formats import Format, format_of
from memos_integrations.infrastructure.prov_export.graphml import graphml
from memos_integrations.infrastructure.prov_export.mermaid import mermaid
from memos_integrations.infrastructure.prov_export.page import page
from memos_integrations.infrastructure.prov_export.picture import picture, svg
from memos_integrations.infrastructure.prov_export.prov_json import prov_json_text
from memos_integrations.infrastructure.prov_export.timeline import timeline


def save(
    graph: nx.DiGraph[str],
    path: str | os.PathLike[str],
    *,
    format: Format | None = None,
    full: bool = False,
) -> Path:
    """Write a lineage to a file; return its path.

    ``full`` draws activities and agents as boxes of their own in pictures and Mermaid; the other
    formats always hold all of it. Raises :class:`InvalidInputError` for a file that names no
    format or cannot be written, :class:`MissingExtraError` for a format whose library is missing.
    """
    target = _path(path)
    chosen = format_of(format, target)
    try:
        if chosen in ("svg", "png"):
            return picture(graph, target, full=full)
        target.write_text(content(graph, chosen, full=full), encoding="utf-8", newline="")
    except OSError as error:
        raise InvalidInputError(f"{target} cannot be written: {error.strerror}") from None
    return target


def content(graph: nx.DiGraph[str], format: Format, *, full: bool = False) -> str:
    """A lineage in a format that is text, which all but ``png`` are."""
    writers: dict[Format, Callable[[], str]] = {
        "text": lambda: timeline(graph),
        "prov-json": lambda: prov_json_text(graph),
        "graphml": lambda: graphml(graph),
        "mermaid": lambda: mermaid(graph, full=full),
        "svg": lambda: svg(graph, full=full),
        "html": lambda: page(graph),
    }
    return writers[format]()


def _path(path: object) -> Path:
    try:
        name = os.fsdecode(os.fsencode(path))  # type: ignore[arg-type]
    except (TypeError, UnicodeError):
        name = "\0"
    if "\0" in name:
        raise InvalidInputError(f"path is {path!r}: give the path of a file")
    return Path(name)
