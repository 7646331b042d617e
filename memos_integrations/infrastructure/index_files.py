"""Watches the files of an open index: they may not vanish, shrink or lose their header."""

from __future__ import annotations

import time
from pathlib import Path


class IndexDamaged(Exception):
    """The index cannot be trusted. Internal: leads to a rebuild, never to a user."""


class IndexFiles:
    """What is known of the files of one index folder; one thread."""

    def __init__(self) -> None:
        self._least: dict[Path, int] = {}

    def remember(self, folder: Path | None) -> None:
        """Take the present files as sound."""
        if folder is not None and folder.is_dir():
            self._least = {path: _least_size(path) for path in folder.rglob("*") if _lasting(path)}

    def check(self) -> None:
        """Raise :class:`IndexDamaged` if a file is not what it was, or more."""
        if self._wrong() is None:
            return
        time.sleep(0.2)  # a file may be in the middle of being replaced
        wrong = self._wrong()
        if wrong is not None:
            raise IndexDamaged(wrong)

    def _wrong(self) -> str | None:
        for path, least in self._least.items():
            try:
                with path.open("rb") as file:
                    start = file.read(15)
                now = path.stat().st_size
            except OSError:
                return f"{path.name} is gone"
            if now < least:
                return f"{path.name} shrank from {least:,} to {now:,} bytes"
            if path.suffix == ".sqlite3" and start != b"SQLite format 3":
                return f"{path.name} lost its header"
        return None


def _lasting(path: Path) -> bool:
    """Files that stay while the index is open; Chroma's table of ids is a pickle, not read here."""
    return path.suffix in (".sqlite3", ".bin", ".pickle") and path.is_file()


def _least_size(path: Path) -> int:
    """What the file never falls under: most only grow, the table of ids may shrink."""
    size = path.stat().st_size
    return min(size, 1) if path.suffix == ".pickle" else size
