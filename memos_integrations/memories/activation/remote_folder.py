"""The cached pieces of one store in a file system elsewhere (fsspec). No torch here.

They lie as in a folder (see ``catalogue``), below a name of the store:
``URL/STORE/ab/abcd….safetensors``.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from memos_integrations.infrastructure import crashpoints
from memos_integrations.infrastructure.blobs import file_system
from memos_integrations.memories.activation.catalogue import (
    SUFFIX,
    UNREADABLE,
    Catalogue,
    Entry,
    entry_of,
    header_size,
)
from memos_integrations.memories.activation.faults import warn
from memos_integrations.memories.activation.segments import Source

log = logging.getLogger(__name__)

HEADER = 1 << 16
"""Bytes that are read of a file at first, to know its header: that of most pieces is shorter."""
AT_ONCE = 128
"""Files whose headers are asked for together."""
_PIECE = re.compile(rf"/[0-9a-f]{{2}}/([0-9a-f]{{64}}){re.escape(SUFFIX)}$")
_PART = re.compile(rf"/[0-9a-f]{{2}}/[0-9a-f]{{64}}{re.escape(SUFFIX)}\.part$")


class RemoteFolder:
    """Pieces under a URL such as ``s3://bucket/kv``; no other store sees them.

    Each method but the first asks the file system, and may raise whatever that raises.
    """

    def __init__(self, url: str | Path, store_id: str) -> None:
        """Raises as :func:`~memos_integrations.infrastructure.blobs.file_system` does."""
        self._fs, root = file_system(url)
        name = hashlib.sha256(f"memos-kv {store_id}".encode()).hexdigest()[:32]
        self._root = f"{root}/{name}"
        self.name: str = self._fs.unstrip_protocol(self._root)
        """Where it is, for people."""
        self._sending = threading.Lock()

    def path(self, digest: str) -> str:
        """Where a piece lies in the file system."""
        return f"{self._root}/{digest[:2]}/{digest}{SUFFIX}"

    def pieces(self) -> dict[str, int]:
        """The pieces that are there, by digest, with their bytes; what is half sent is deleted."""
        self._fs.invalidate_cache()
        try:
            files = self._fs.find(self._root, detail=True)
        except FileNotFoundError:
            return {}
        for path in [path for path in files if _PART.search(f"/{path}")]:
            self._delete(path)
        named = ((_PIECE.search(f"/{path}"), about) for path, about in files.items())
        return {name.group(1): int(about["size"]) for name, about in named if name}

    def sizes(self) -> dict[str, int]:
        """As :meth:`pieces`, while nothing is sent: what is half sent then is nobody's."""
        with self._sending:
            return self.pieces()

    def entries(self, sizes: Mapping[str, int]) -> Iterator[tuple[str, Entry | None]]:
        """What each of these pieces says of itself; ``None`` for a file that is none."""
        digests = list(sizes)
        for at in range(0, len(digests), AT_ONCE):
            some = digests[at : at + AT_ONCE]
            ends = [min(HEADER, sizes[digest]) for digest in some]
            begins = self._fs.cat_ranges(
                [self.path(digest) for digest in some], [0] * len(some), ends
            )
            for digest, begin in zip(some, begins, strict=True):
                if isinstance(begin, FileNotFoundError):
                    continue
                if isinstance(begin, BaseException):
                    raise begin
                yield digest, self._entry(digest, bytes(begin), sizes[digest])

    def _entry(self, digest: str, begin: bytes, size: int) -> Entry | None:
        try:
            end = 8 + header_size(begin)
            if end > len(begin):
                begin = bytes(self._fs.cat_file(self.path(digest), start=0, end=min(end, size)))
            return entry_of(begin[8:end], size, digest)
        except UNREADABLE as error:
            if isinstance(error, OSError):
                raise
            warn(log, "%s is no cached piece: %s", self.path(digest), error)
            return None

    def fetch(self, digest: str, to: Path) -> None:
        """Copy a piece into a file here; ``FileNotFoundError`` if it is not there."""
        self._fs.get_file(self.path(digest), str(to))

    def send(self, digest: str, folder: Catalogue, expect: Callable[[Entry], object]) -> bool:
        """Copy a piece of a folder there, unless it was removed here; ``expect`` hears of it first.

        An erasure never falls between the two: see :meth:`forget`.
        """
        with self._sending:
            entry = folder.touch(digest)
            if entry is None:
                return False
            expect(entry)
            try:
                self._copy(digest, folder.path(digest))
            except FileNotFoundError:
                if digest not in folder:
                    return False  # removed while it was read
                raise
        return True

    def forget(self, cube_ids: Collection[str]) -> None:
        """Delete every piece that knows one of these memories, and what is no piece.

        Whoever calls has removed them from the folder before, so nothing is sent after it.
        """
        wanted = set(cube_ids)
        with self._sending:
            for digest, entry in self.entries(self.pieces()):
                if entry is None or any(one.cube_id in wanted for one in entry.sources):
                    self.delete(digest)
                    crashpoints.reach("cache-piece-erased-elsewhere")

    def clear(self) -> None:
        """Delete every piece."""
        with self._sending:
            for digest in self.pieces():
                self.delete(digest)

    def _copy(self, digest: str, path: Path) -> None:
        """It appears whole or not at all."""
        target = self.path(digest)
        aside = f"{target}.part"
        self._fs.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
        try:
            self._fs.put_file(str(path), aside)
            self._fs.mv(aside, target)
        except BaseException:  # whatever it was; a place that fails may not let us clean up, either
            with suppress(Exception):
                self._delete(aside)
            raise

    def delete(self, digest: str) -> None:
        """Remove a piece; removing a missing one does nothing."""
        self._delete(self.path(digest))

    def _delete(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self._fs.rm_file(path)


class Index:
    """Which pieces are there, or may be; those that were sent or fetched last stand last."""

    def __init__(self) -> None:
        self._pieces: dict[str, tuple[frozenset[Source], int]] = {}
        self._of: dict[str, set[str]] = {}
        self.bytes = 0
        """Of all pieces."""

    def __len__(self) -> int:
        return len(self._pieces)

    def __contains__(self, digest: object) -> bool:
        return digest in self._pieces

    def put(self, digest: str, sources: frozenset[Source], size: int) -> None:
        """A piece is there, or on its way."""
        self.forget(digest)
        self._pieces[digest] = sources, size
        self.bytes += size
        for source in sources:
            self._of.setdefault(source.cube_id, set()).add(digest)

    def forget(self, digest: str) -> None:
        """A piece is not there."""
        sources, size = self._pieces.pop(digest, (frozenset(), 0))
        self.bytes -= size
        for cube_id in {source.cube_id for source in sources}:
            self._of[cube_id].discard(digest)
            if not self._of[cube_id]:
                del self._of[cube_id]

    def of(self, cube_id: str) -> set[str]:
        """The pieces that know a memory."""
        return set(self._of.get(cube_id, ()))

    def of_version(self, source: Source) -> set[str]:
        """The pieces that know this version of a memory."""
        return {one for one in self.of(source.cube_id) if source in self._pieces[one][0]}

    def sources(self) -> frozenset[Source]:
        """The memories that something there was made of."""
        return frozenset().union(*(sources for sources, _ in self._pieces.values()))

    def oldest(self, budget: int) -> list[str]:
        """Those that must go so that the others fit."""
        over, found = self.bytes - budget, []
        for digest, (_, size) in self._pieces.items():
            if over <= 0:
                break
            found.append(digest)
            over -= size
        return found
