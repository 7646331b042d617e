"""Trainings that were begun and are not over: what each learns from, and how far it is. No torch.

A checkpoint has learned its memories, so it goes when one of them changes or is erased: beside each
stands which memories it knows, written before there is anything to know.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Collection, Iterable
from pathlib import Path

from memos_integrations.memories.activation.segments import Source

_SOURCES, _CHECKPOINT = "sources.json", "checkpoint.safetensors"


class Underway:
    """A folder of trainings. Thread-safe; one process a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()

    def begin(self, name: str, sources: Iterable[Source]) -> Path:
        """Where a training keeps its checkpoint; one that learned from others is deleted."""
        place = self.folder / hashlib.sha256(name.encode()).hexdigest()[:32]
        wanted = sorted([one.cube_id, one.version] for one in sources)
        with self._lock:
            if _read(place) != wanted:
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir(parents=True)
                aside = place / f"{_SOURCES}.part"
                with aside.open("w") as file:
                    json.dump(wanted, file)
                    file.flush()
                    os.fsync(file.fileno())
                aside.replace(place / _SOURCES)
        return place / _CHECKPOINT

    def end(self, checkpoint: Path) -> None:
        """It is over, or not wanted any more: nothing of it stays."""
        with self._lock:
            shutil.rmtree(checkpoint.parent, ignore_errors=True)

    def sources(self) -> frozenset[Source]:
        """What any of them learns from; a folder that does not say so is deleted."""
        found: set[Source] = set()
        with self._lock:
            for place in self._places():
                known = _read(place)
                if known is None:
                    shutil.rmtree(place, ignore_errors=True)
                found.update(Source(str(id), int(version)) for id, version in known or ())
        return frozenset(found)

    def remove_cubes(self, cube_ids: Collection[str]) -> list[str]:
        """Delete every training that learns from one of these; return their folders' names."""
        wanted, gone = set(cube_ids), []
        with self._lock:
            for place in self._places():
                known = _read(place)
                if known is None or any(id in wanted for id, _ in known):
                    shutil.rmtree(place, ignore_errors=True)
                    gone.append(place.name)
        return gone

    def _places(self) -> list[Path]:
        return sorted(self.folder.iterdir()) if self.folder.is_dir() else []


def _read(place: Path) -> list[list[str | int]] | None:
    """Ids and versions; ``None`` if the folder does not say."""
    try:
        found = json.loads((place / _SOURCES).read_text())
        return [[str(id), int(version)] for id, version in found]
    except (OSError, ValueError, TypeError):
        return None
