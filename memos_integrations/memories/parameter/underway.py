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
from typing import Any

from memos_integrations.memories.activation.segments import Source

_ABOUT, _CHECKPOINT = "training.json", "checkpoint.safetensors"


class Underway:
    """A folder of trainings, one of each name. Thread-safe; one process a folder."""

    def __init__(self, folder: Path) -> None:
        """What does not say what it knows is deleted."""
        self.folder = folder
        self._lock = threading.Lock()
        for place in self._places():
            if _read(place) is None:
                _delete(place)

    def begin(self, name: str, training: str, sources: Iterable[Source]) -> Path:
        """Where a training keeps its checkpoint; that of another one of this name is deleted.

        ``training`` is the same for trainings that would come out the same.
        """
        place = self.folder / hashlib.sha256(name.encode()).hexdigest()[:32]
        wanted = {
            "training": training,
            "sources": sorted([one.cube_id, one.version] for one in sources),
        }
        with self._lock:
            if _read(place) != wanted:
                _delete(place)
                place.mkdir(parents=True)
                aside = place / f"{_ABOUT}.part"
                with aside.open("w") as file:
                    json.dump(wanted, file)
                    file.flush()
                    os.fsync(file.fileno())
                aside.replace(place / _ABOUT)
        return place / _CHECKPOINT

    def end(self, checkpoint: Path) -> None:
        """It is over, or not wanted any more: nothing of it stays."""
        with self._lock:
            _delete(checkpoint.parent)

    def sources(self) -> frozenset[Source]:
        """What any of them learns from."""
        with self._lock:
            known = [_sources(_read(place)) for place in self._places()]
        return frozenset(Source(*one) for some in known for one in some)

    def remove_cubes(self, cube_ids: Collection[str]) -> list[str]:
        """Delete every training that learns from one of these; return their folders' names.

        Raises :class:`OSError` if one cannot be deleted.
        """
        wanted, gone = set(cube_ids), []
        with self._lock:
            for place in self._places():
                about = _read(place)
                if about is None or any(id in wanted for id, _ in _sources(about)):
                    _delete(place)
                    gone.append(place.name)
        return gone

    def _places(self) -> list[Path]:
        return sorted(self.folder.iterdir()) if self.folder.is_dir() else []


def _delete(place: Path) -> None:
    """The folder with all that is in it, also what a training writes there meanwhile."""
    for left in (2, 1, 0):
        try:
            shutil.rmtree(place)
        except FileNotFoundError:
            return
        except OSError:
            if not left:
                raise


def _sources(about: dict[str, Any] | None) -> list[tuple[str, int]]:
    return [(id, version) for id, version in (about or {"sources": ()})["sources"]]


def _read(place: Path) -> dict[str, Any] | None:
    """Which training it is; ``None`` if the folder does not say."""
    try:
        found = json.loads((place / _ABOUT).read_text())
        known = [[str(id), int(version)] for id, version in found["sources"]]
        return {"training": str(found["training"]), "sources": known}
    except (OSError, ValueError, TypeError, KeyError):
        return None
