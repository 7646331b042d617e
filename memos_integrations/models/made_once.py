"""A folder that is made once and used by every process from then on: complete, or not there."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

log = logging.getLogger(__name__)

_MANIFEST = "manifest.json"


def made_once(folder: Path, source: str, make: Callable[[Path], None]) -> Path:
    """``folder`` as ``make`` fills it: now, if it is missing, damaged, or of another source.

    ``make`` gets an empty folder beside, which takes its name when it is complete. Processes
    that come meanwhile wait. ``source`` says what the content depends on, such as a hash.
    Raises the ``OSError`` of a place that cannot be written, and what ``make`` raises.
    """
    if _damage(folder, source) is None:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        damage = _damage(folder, source)  # another process may have made it meanwhile
        if damage is None:
            return folder
        if folder.exists():
            log.warning("%s is made again: %s", folder, damage)
        for left in folder.parent.glob(f"{folder.name}.*.part"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        _make(folder, source, make)
    return folder


def _make(folder: Path, source: str, make: Callable[[Path], None]) -> None:
    beside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        make(beside)
        sizes = {path.name: path.stat().st_size for path in beside.iterdir()}
        (beside / _MANIFEST).write_text(json.dumps({"source": source, "sizes": sizes}, indent=2))
        for path in beside.iterdir():
            _sync(path)
        if folder.exists():
            shutil.rmtree(folder)
        beside.rename(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _damage(folder: Path, source: str) -> str | None:
    """What is wrong with the folder; ``None`` if nothing is."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        if manifest["source"] != source:
            return "it was made from something else"
        for name, size in manifest["sizes"].items():
            found = (folder / name).stat().st_size
            if found != size:
                return f"{name} has {found:,} bytes, not {size:,}"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{_MANIFEST} cannot be read"
    return None


def _sync(path: Path) -> None:
    """A crash of the machine must not leave a file of the right size without its content."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
