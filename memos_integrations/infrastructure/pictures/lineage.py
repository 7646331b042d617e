"""Draw a provenance graph as PNG or SVG with matplotlib: the same bytes for the same graph."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import networkx as nx

from memos_integrations.errors import InvalidInputError, MissingExtraError

FORMATS = (".png", ".svg")

_SETTINGS_LOCK = threading.Lock()


def draw_lineage(graph: nx.DiGraph[str], path: str | os.PathLike[str]) -> Path:
    """Write the picture of a graph from ``MemorySession.lineage`` to a ``.png`` or ``.svg`` file.

    Time runs from left to right; arrows lead from the later thing to what it came from, as in
    W3C PROV. Characters that the font lacks are drawn as a square. Returns the path.

    Raises :class:`InvalidInputError` for another file type or an empty graph,
    :class:`MissingExtraError` without matplotlib, and ``OSError`` if the file cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise InvalidInputError(f"{target.name!r} is no picture: end it in {' or '.join(FORMATS)}")
    if not graph:
        raise InvalidInputError("the lineage is empty: there is nothing to draw")
    try:
        # Loaded when first needed: matplotlib takes half a second, and is an extra.
        from memos_integrations.infrastructure.pictures.drawing import Drawing
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "matplotlib":
            raise
        raise MissingExtraError(
            "pictures need matplotlib: pip install 'memos-integrations[viewer]'"
        ) from None
    with own_settings():
        Drawing(graph).save(target)
    return target


@contextmanager
def own_settings() -> Iterator[None]:
    """Matplotlib's defaults, whatever the user's own settings are, for as long as we draw.

    They are global to the process, hence the lock; they are put back afterwards.
    """
    import matplotlib

    defaults = {k: v for k, v in matplotlib.rcParamsDefault.items() if not k.startswith("backend")}
    with _SETTINGS_LOCK, matplotlib.rc_context(defaults):
        matplotlib.rcParams["svg.hashsalt"] = "memos_integrations"
        yield
