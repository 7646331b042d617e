"""The formats of a lineage, and which one the ending of a file names."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from memos_integrations.errors import InvalidInputError

Format = Literal["text", "prov-json", "graphml", "mermaid", "svg", "png", "html"]

BY_ENDING: dict[str, Format] = {
    ".txt": "text",
    ".json": "prov-json",
    ".graphml": "graphml",
    ".mmd": "mermaid",
    ".svg": "svg",
    ".png": "png",
    ".html": "html",
}


def format_of(format: Format | None, target: Path | None) -> Format:
    """What was asked for, or what the file's ending says; without a file, text.

    Raises :class:`InvalidInputError` where the two do not go together, or say nothing.
    """
    if format is not None and format not in get_args(Format):
        raise InvalidInputError(f"format is {format!r}: use one of {', '.join(get_args(Format))}")
    ending = target.suffix.lower() if target is not None else ".txt"
    chosen = format or BY_ENDING.get(ending)
    if chosen is None:
        raise InvalidInputError(
            f"the ending of {target} names no format: give one, or end it in one of "
            f"{', '.join(BY_ENDING)}"
        )
    if chosen == "png" and target is None:
        raise InvalidInputError("a png is no text: give a file that ends in .png")
    if chosen in ("svg", "png") and target is not None and ending != f".{chosen}":
        raise InvalidInputError(f"{target} is no {chosen} file: end it in .{chosen}")
    return chosen
