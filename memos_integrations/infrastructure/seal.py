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
from typing import Literal

_NAME = "seal.json"

Condition = Literal["whole", "moved", "broken", "none"]


def write(folder: Path, records: str) -> None:
    """Seal ``folder``; ``records`` names the state of the records."""
    seal = {"records": records, "files": _digests(folder, lambda: False)}
    aside = folder / f"{_NAME}.new"
    with aside.open("w") as file:
        json.dump(seal, file)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(folder / _NAME)


def inspect(folder: Path, records: str, stopping: Callable[[], bool]) -> Condition:
    """What the seal says about the folder now.

    ``whole``: the files are what was sealed, and the records have not moved. ``moved``: the
    files are, the records have. ``broken``: a file is missing, new or altered. ``none``: there
    is no seal (the last owner did not close), or reading was stopped.
    """
    try:
        seal = json.loads((folder / _NAME).read_text())
    except FileNotFoundError:
        return "none"
    except (OSError, ValueError):
        return "broken"
    digests = _digests(folder, stopping)
    if digests is None:
        return "none"
    if not isinstance(seal, dict) or seal.get("files") != digests:
        return "broken"
    return "whole" if seal.get("records") == records else "moved"


def lift(folder: Path) -> None:
    """Remove the seal: from now on the files may change."""
    (folder / _NAME).unlink(missing_ok=True)


def _digests(folder: Path, stopping: Callable[[], bool]) -> dict[str, list[object]] | None:
    found: dict[str, list[object]] = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name.startswith(_NAME):
            continue
        if stopping():
            return None
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found[str(path.relative_to(folder))] = [path.stat().st_size, digest]
    return found
