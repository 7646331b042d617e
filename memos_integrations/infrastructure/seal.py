"""A seal over the files of a closed index: their hashes, and the state of the records they match.

A folder whose seal holds is bit for bit what was closed cleanly, and the records have not
moved since. Any other folder is checked against the records before it is used.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

_NAME = "seal.json"


def write(folder: Path, records: str) -> None:
    """Seal ``folder``; ``records`` names the state of the records."""
    seal = {"records": records, "files": _digests(folder, lambda: False)}
    aside = folder / f"{_NAME}.new"
    with aside.open("w") as file:
        json.dump(seal, file)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(folder / _NAME)


def holds(folder: Path, records: str, stopping: Callable[[], bool]) -> bool:
    """Whether the folder is what was sealed, for the same state of the records."""
    try:
        seal = json.loads((folder / _NAME).read_text())
        if seal["records"] != records:
            return False
        return bool(seal["files"] == _digests(folder, stopping))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def lift(folder: Path) -> None:
    """Remove the seal: from now on the files may change."""
    (folder / _NAME).unlink(missing_ok=True)


def _digests(folder: Path, stopping: Callable[[], bool]) -> dict[str, list[object]]:
    found: dict[str, list[object]] = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name.startswith(_NAME):
            continue
        if stopping():
            raise ValueError("stopped before all files were read")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found[str(path.relative_to(folder))] = [path.stat().st_size, digest]
    return found
