"""Looks for words and vectors in every byte of a folder."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path


def traces(folder: Path, words: Iterable[str], exact: Iterable[bytes] = ()) -> dict[str, set[str]]:
    """Which of these are found, whatever their case, in UTF-8 and UTF-16: by word, the files."""
    found: dict[str, set[str]] = {}
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    contents = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    for name, content in contents.items():
        folded = content.lower()
        for word in words:
            low = word.casefold()
            forms = (low.encode(), low.encode("utf-16-le"), low.encode("utf-16-be"))
            if any(form in folded for form in forms):
                found.setdefault(word, set()).add(name)
        for number, piece in enumerate(exact):
            if piece in content:
                found.setdefault(f"bytes {number}", set()).add(name)
    return found


def vectors_of(folder: Path, ids: Iterable[str]) -> list[bytes]:
    """The stored vectors of memories, present and former."""
    records = sqlite3.connect(folder / "memory.db")
    found: set[bytes] = set()
    for id in ids:
        for table in ("embeddings", "facets", "past"):
            query = (
                f"SELECT vector FROM {table} JOIN cubes ON cubes.pk = cube_pk "
                "WHERE id = ? AND vector IS NOT NULL"
            )
            found |= {row[0] for row in records.execute(query, (id,))}
    records.close()
    return sorted(found)
