"""Zeros where Chroma wrote memory that it had never set.

A new index allocates room for its first vectors and writes that room to its files before anything
stands in it: whatever the process had freed there, such as the text of a memory, is then on disk
until vectors take its place. See ``initPersistentIndex`` in Chroma's ``hnswalg.h``.
"""

from __future__ import annotations

import logging
import struct
from pathlib import Path

log = logging.getLogger(__name__)

LEVEL_0 = "data_level0.bin"
"""Vectors, neighbours and labels, one entry of equal size after the other."""
_LENGTHS = "length.bin"
"""Four bytes for each entry."""
_HEADER = struct.Struct("=iQQQQ")
"""Format, offset of level 0, capacity, entries, bytes per entry."""
_FORMAT = 1


def indexes(folder: Path) -> set[Path]:
    """The folders of those indexes below ``folder`` that have files."""
    return {path.parent for path in folder.glob(f"*/{LEVEL_0}")}


def is_saved(index: Path) -> bool:
    """Whether it was saved once: until then, opening it again begins it anew.

    Chroma's table of ids is written at each saving; it is a pickle, and only looked for, not read.
    """
    return (index / "index_metadata.pickle").exists()


def blank(index: Path) -> None:
    """Write zeros over what lies beyond the last entry.

    Nobody else may write these files meanwhile.
    """
    try:
        header = (index / "header.bin").read_bytes()[: _HEADER.size]
        if len(header) < _HEADER.size:
            return  # cut short: it is found damaged when it is read
        form, _, _, entries, size = _HEADER.unpack(header)
        if form != _FORMAT:
            log.warning("vector index: format %d of %s is not known", form, index)
            return
        _zeros(index / LEVEL_0, entries * size)
        _zeros(index / _LENGTHS, entries * 4)
    except FileNotFoundError:
        return  # removed meanwhile, or damaged: found when it is read


def _zeros(path: Path, start: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        left = file.read()
        if any(left):
            file.seek(start)
            file.write(bytes(len(left)))
