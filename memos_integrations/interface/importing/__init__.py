"""Importers: what another program remembers, read as it keeps it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from memos_integrations.errors import InvalidInputError
from memos_integrations.interface.importing import (
    from_jsonl,
    from_langgraph,
    from_llama_index,
    from_mem0,
)
from memos_integrations.interface.importing.arrivals import Arrival

READERS: dict[str, Callable[..., list[Arrival]]] = {
    "mem0": from_mem0.read,
    "langgraph": from_langgraph.read,
    "llama_index": from_llama_index.read,
    "jsonl": from_jsonl.read,
}
"""By the name of the program, or of the format."""


def read(kind: str, source: Any, history: Any = None) -> list[Arrival]:
    """All that a source holds; :class:`InvalidInputError` for what cannot be read."""
    if kind not in READERS:
        raise InvalidInputError(f"kind {kind!r}: use one of {', '.join(READERS)}")
    if history is not None and kind != "mem0":
        raise InvalidInputError("history= is the database of mem0's history: kind 'mem0' only")
    return READERS[kind](source) if history is None else READERS[kind](source, history)
