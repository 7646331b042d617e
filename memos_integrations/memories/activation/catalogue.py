"""What lies in a folder of cached pieces, and which memories each of them knows. No torch here.

So a store can delete what was made of a memory without loading a model. Files are safetensors:
eight bytes that say how long the header is, the header as JSON, the tensors.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from memos_integrations.memories.activation.faults import warn
from memos_integrations.memories.activation.segments import Source

log = logging.getLogger(__name__)

FORMAT = "memos-kv-3"
SUFFIX = ".safetensors"
_LONGEST_HEADER = 100_000_000
FLOATS = ("F64", "F32", "F16", "BF16")
UNREADABLE = (OSError, AttributeError, KeyError, TypeError, ValueError)
"""What :func:`read_entry` raises for a file that is no cached piece."""


@dataclass(frozen=True)
class Entry:
    """What a piece's file says of itself."""

    digest: str
    """Of the prefix up to its end: the name under which it is found."""
    size: int
    """Bytes of the file."""
    sources: frozenset[Source]
    """The memories up to its end."""
    tokens: tuple[int, ...]
    layers: tuple[int, ...]
    """Of the model's layers, those whose keys and values are in it."""
    count: int
    """How many layers the model has."""
    sums: tuple[str, ...]
    """A hash of each layer in it."""
    tensors: Mapping[str, tuple[str, tuple[int, ...], int]]
    """By name: data type, shape, and where in the file it begins."""
    dtype: str
    """That keys and values were computed in, by safetensors' name."""
    kept_as: str
    """``int8`` if they are rounded; empty: as computed."""
    model: Mapping[str, str]
    """Whose piece it is: name, revision, and the hashes of the model's fingerprint."""

    @property
    def approximate(self) -> bool:
        """Whether what is read from it is near-exact only."""
        return bool(self.kept_as)


@dataclass(frozen=True)
class Piece:
    """A cached piece that knows a memory."""

    path: Path
    version: int
    """Of the memory."""
    size: int
    """Bytes of the file."""


class Catalogue:
    """The pieces in a folder, by digest. Thread-safe; one process a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.foreign = 0
        """Files that were deleted because they are damaged, or of another program."""
        self._lock = threading.RLock()
        self._entries: dict[str, Entry] = {}
        self._used: dict[str, int] = {}
        self._removed: set[str] = set()
        self._erased: set[str] = set()
        self._clock = 0
        self._read_folder()

    def path(self, digest: str) -> Path:
        """Where a piece lies."""
        return self.folder / digest[:2] / f"{digest}{SUFFIX}"

    def __contains__(self, digest: object) -> bool:
        with self._lock:
            return digest in self._entries

    def __len__(self) -> int:
        with self._lock:
            return len(self._entries)

    def digests(self) -> list[str]:
        """Of all pieces."""
        with self._lock:
            return sorted(self._entries)

    @property
    def bytes(self) -> int:
        """Of all files."""
        with self._lock:
            return sum(entry.size for entry in self._entries.values())

    @property
    def rounded(self) -> int:
        """How many pieces are kept in eight bits."""
        with self._lock:
            return sum(entry.approximate for entry in self._entries.values())

    def unlike(self, model: Mapping[str, str]) -> dict[str, int]:
        """Pieces of a model of this name that it cannot read: their number, by what differs."""
        with self._lock:
            others = [entry.model for entry in self._entries.values()]
        found = [
            [field for field, value in model.items() if other.get(field) != value]
            for other in others
            if other.get("name") == model.get("name")
        ]
        return dict(Counter(" and ".join(_telling(fields)) for fields in found if fields))

    def sources(self) -> frozenset[Source]:
        """The memories that something here was made of."""
        with self._lock:
            return frozenset().union(*(entry.sources for entry in self._entries.values()))

    def touch(self, digest: str) -> Entry | None:
        """A piece is used; ``None`` if it is not there."""
        with self._lock:
            entry = self._entries.get(digest)
            if entry is not None:
                self._clock += 1
                self._used[digest] = self._clock
            return entry

    def wanted(self, digest: str) -> bool:
        """Whether a piece that was computed may be written; it was not removed meanwhile."""
        with self._lock:
            return digest not in self._removed and digest not in self._entries

    def welcome(self, digest: str) -> None:
        """A piece that was removed before has been computed again."""
        with self._lock:
            self._removed.discard(digest)

    def place(self, digest: str, aside: Path) -> bool:
        """Move a written file to its place, unless its memories were forgotten meanwhile."""
        with self._lock:
            if not self.wanted(digest):
                return False
            entry = read_entry(aside, digest)
            if any(source.cube_id in self._erased for source in entry.sources):
                return False
            aside.replace(self.path(digest))
            self._entries[digest] = entry
            self.touch(digest)
            return True

    def make_room(self, wanted: int, budget: int) -> None:
        """Delete what was not used longest until ``wanted`` bytes fit."""
        with self._lock:
            total = self.bytes
            for digest in sorted(self._entries, key=lambda one: self._used[one]):
                if total + wanted <= budget:
                    return
                total -= self._entries[digest].size
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
            doomed = [
                digest
                for digest, entry in self._entries.items()
                if any(source.cube_id in wanted for source in entry.sources)
            ]
            self.remove(doomed)
        return doomed

    def erase_cubes(self, cube_ids: Collection[str]) -> list[str]:
        """As :meth:`remove_cubes`; and no piece that knows one of them comes back."""
        with self._lock:
            self._erased.update(cube_ids)
            return self.remove_cubes(cube_ids)

    def clear(self) -> None:
        """Delete every piece."""
        with self._lock:
            for digest in list(self._entries):
                self._unlink(digest)

    def _unlink(self, digest: str) -> None:
        if self._entries.pop(digest, None) is not None:
            self._used.pop(digest, None)
            self.path(digest).unlink(missing_ok=True)

    def _read_folder(self) -> None:
        """What earlier processes left; what is half written, damaged or foreign is deleted."""
        if not self.folder.is_dir():
            return
        half_written = list(self.folder.glob("??/*.part"))
        for path in half_written:
            path.unlink(missing_ok=True)
        if half_written:
            warn(
                log,
                "%s: %d cached pieces were left half written, removed",
                self.folder,
                len(half_written),
            )
        files = [path for path in self.folder.glob(f"??/*{SUFFIX}") if path.is_file()]
        for path in sorted(files, key=lambda path: path.stat().st_mtime):
            digest = path.name.removesuffix(SUFFIX)
            try:
                self._entries[digest] = read_entry(path, digest)
            except UNREADABLE as error:
                warn(log, "%s is no cached piece, removed: %s", path, error)
                self.foreign += 1
                path.unlink(missing_ok=True)
                continue
            self.touch(digest)


def _telling(differing: list[str]) -> list[str]:
    """Weights in another data type are other weights: then the data type is what tells."""
    return [one for one in differing if one != "weights" or "dtype" not in differing]


def pieces_of(folder: Path, cube_id: str) -> list[Piece]:
    """The pieces in a folder that know a memory, by name; only looks, and leaves all as it is."""
    found = []
    for path in sorted(folder.glob(f"??/*{SUFFIX}")):
        try:
            entry = read_entry(path)
        except UNREADABLE:
            continue  # damaged, foreign, or deleted meanwhile: it is no cache of anything
        known = sorted(one.version for one in entry.sources if one.cube_id == cube_id)
        found += [Piece(path, version, entry.size) for version in known]
    return found


def pieces_with(folder: Path, cube_ids: Collection[str]) -> list[Path]:
    """The files in a folder that know one of these memories."""
    wanted, found = set(cube_ids), []
    for path in sorted(folder.glob(f"??/*{SUFFIX}")):
        try:
            entry = read_entry(path)
        except UNREADABLE:
            continue
        if any(one.cube_id in wanted for one in entry.sources):
            found.append(path)
    return found


def read_entry(path: Path, digest: str | None = None) -> Entry:
    """What a piece's file says; raises one of :data:`UNREADABLE` for another, or another's name."""
    with path.open("rb") as file:
        header = file.read(header_size(file.read(8)))
    return entry_of(header, path.stat().st_size, digest)


def header_size(begins: bytes) -> int:
    """Bytes of the header, which the first eight bytes of a file say."""
    length = int.from_bytes(begins[:8], "little")
    if not 2 <= length <= _LONGEST_HEADER:
        raise ValueError("its header has no proper length")
    return length


def entry_of(header: bytes, size: int, digest: str | None = None) -> Entry:
    """What the header of a file of ``size`` bytes says; see :func:`read_entry`."""
    written, data = json.loads(header), 8 + len(header)
    about = written.pop("__metadata__", None) if isinstance(written, dict) else None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ValueError("it is of another program, or of another release")
    if size != data + max((one["data_offsets"][1] for one in written.values()), default=0):
        raise ValueError("it is cut off")
    if about != signed(about):
        raise ValueError("its header was altered")
    entry = Entry(
        digest=str(about["digest"]),
        size=size,
        sources=frozenset(Source(str(id), int(n)) for id, n in json.loads(about["sources"])),
        tokens=tuple(map(int, json.loads(about["tokens"]))),
        layers=tuple(map(int, json.loads(about["layers"]))),
        count=int(about["count"]),
        sums=tuple(map(str, json.loads(about["sums"]))),
        tensors={
            name: (str(one["dtype"]), tuple(one["shape"]), data + int(one["data_offsets"][0]))
            for name, one in written.items()
        },
        dtype=str(about["dtype"]),
        kept_as=str(about["kept_as"]),
        model={str(k): str(v) for k, v in json.loads(about["model"]).items()},
    )
    if digest not in (None, entry.digest):
        raise ValueError("it has the name of another piece")
    kinds = {kind for kind, *_ in entry.tensors.values()}
    proper = not entry.kept_as or (
        entry.kept_as == "int8" and entry.dtype in FLOATS and kinds <= {*FLOATS, "I8"}
    )
    if len(entry.layers) != len(entry.sums) or not entry.tokens or not proper:
        raise ValueError("its header does not fit together")
    return entry


def signed(about: Mapping[str, str]) -> dict[str, str]:
    """What a header says, with a hash over all of it: against accidents, not against forgers."""
    said = {name: value for name, value in about.items() if name != "sum"}
    written = json.dumps(said, sort_keys=True).encode()
    return {**said, "sum": hashlib.blake2b(written, digest_size=16).hexdigest()}
