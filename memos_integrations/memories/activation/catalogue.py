"""What lies in a folder of cached pieces, and which memories each of them knows. No torch here.

So a store can delete what was made of a memory without loading a model. Files are safetensors:
eight bytes that say how long the header is, the header as JSON, the tensors.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Collection, Mapping
from pathlib import Path

from memos_integrations.memories.activation.segments import Source

log = logging.getLogger(__name__)

FORMAT = "memos-kv-1"
SUFFIX = ".safetensors"
_LONGEST_HEADER = 100_000_000


class Catalogue:
    """The pieces in a folder, by digest. Thread-safe; one process a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.foreign = 0
        """Files that were deleted because they are damaged, or of another program."""
        self._lock = threading.RLock()
        self._sizes: dict[str, int] = {}
        self._of: dict[str, frozenset[Source]] = {}
        self._used: dict[str, int] = {}
        self._removed: set[str] = set()
        self._clock = 0
        self._read_folder()

    def path(self, digest: str) -> Path:
        """Where a piece lies."""
        return self.folder / digest[:2] / f"{digest}{SUFFIX}"

    def __contains__(self, digest: object) -> bool:
        with self._lock:
            return digest in self._sizes

    def __len__(self) -> int:
        with self._lock:
            return len(self._sizes)

    @property
    def bytes(self) -> int:
        """Of all files."""
        with self._lock:
            return sum(self._sizes.values())

    def sources(self) -> frozenset[Source]:
        """The memories that something here was made of."""
        with self._lock:
            return frozenset().union(*self._of.values())

    def touch(self, digest: str) -> bool:
        """A piece is used; whether it is there."""
        with self._lock:
            if digest not in self._sizes:
                return False
            self._clock += 1
            self._used[digest] = self._clock
            return True

    def wanted(self, digest: str) -> bool:
        """Whether a piece that was computed may be written; it was not removed meanwhile."""
        with self._lock:
            return digest not in self._removed and digest not in self._sizes

    def welcome(self, digest: str) -> None:
        """A piece that was removed before has been computed again."""
        with self._lock:
            self._removed.discard(digest)

    def place(self, digest: str, aside: Path, sources: frozenset[Source]) -> bool:
        """Move a written file to its place, unless its memories were forgotten meanwhile."""
        with self._lock:
            if not self.wanted(digest):
                return False
            aside.replace(self.path(digest))
            self._note(digest, sources)
            return True

    def make_room(self, wanted: int, budget: int) -> None:
        """Delete what was not used longest until ``wanted`` bytes fit."""
        with self._lock:
            total = self.bytes
            for digest in sorted(self._sizes, key=lambda one: self._used[one]):
                if total + wanted <= budget:
                    return
                total -= self._sizes[digest]
                self._unlink(digest)

    def remove(self, digests: Collection[str]) -> None:
        """Delete pieces; also those that are being written."""
        with self._lock:
            self._removed.update(digests)
            for digest in digests:
                self._unlink(digest)

    def remove_cubes(self, cube_ids: Collection[str]) -> list[str]:
        """Delete every piece that knows one of these memories; return their digests."""
        wanted = set(cube_ids)
        with self._lock:
            doomed = [d for d, of in self._of.items() if any(s.cube_id in wanted for s in of)]
            self.remove(doomed)
        return doomed

    def clear(self) -> None:
        """Delete every piece."""
        with self._lock:
            for digest in list(self._sizes):
                self._unlink(digest)

    def _note(self, digest: str, sources: frozenset[Source]) -> None:
        self._sizes[digest] = self.path(digest).stat().st_size
        self._of[digest] = sources
        self.touch(digest)

    def _unlink(self, digest: str) -> None:
        if self._sizes.pop(digest, None) is not None:
            self._used.pop(digest, None)
            self._of.pop(digest, None)
            self.path(digest).unlink(missing_ok=True)

    def _read_folder(self) -> None:
        """What earlier processes left; what is half written, damaged or foreign is deleted."""
        if not self.folder.is_dir():
            return
        for half_written in self.folder.glob("??/*.part"):
            half_written.unlink(missing_ok=True)
        files = [path for path in self.folder.glob(f"??/*{SUFFIX}") if path.is_file()]
        for path in sorted(files, key=lambda path: path.stat().st_mtime):
            try:
                sources = sources_of(header(path))
            except (OSError, KeyError, TypeError, ValueError) as error:
                log.warning("%s is no cached piece, removed: %s", path, error)
                self.foreign += 1
                path.unlink(missing_ok=True)
                continue
            self._note(path.name.removesuffix(SUFFIX), sources)


def header(path: Path) -> Mapping[str, str]:
    """The metadata of a piece's file; raises ``ValueError`` or ``OSError`` for another's."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= _LONGEST_HEADER:
            raise ValueError("its header has no proper length")
        written = json.loads(file.read(length))
    about = written.pop("__metadata__", None) if isinstance(written, dict) else None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ValueError("it is of another program")
    end = max((one["data_offsets"][1] for one in written.values()), default=0)
    if path.stat().st_size != 8 + length + end:
        raise ValueError("it is cut off")
    return about


def sources_of(about: Mapping[str, str]) -> frozenset[Source]:
    """The memories that a piece knows."""
    return frozenset(Source(str(id), int(version)) for id, version in json.loads(about["sources"]))
