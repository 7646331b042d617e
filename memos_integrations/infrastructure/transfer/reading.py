"""Reading an archive that may have been made by an enemy.

Nothing is ever unpacked to a path that the archive names: members are streams of bytes, with names
from a short list, each hashed while it is read.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from memos_integrations.errors import ArchiveError
from memos_integrations.infrastructure.transfer.format import (
    MANIFEST,
    MAX_BYTES,
    MAX_DIRECTORY,
    MAX_LINE,
    MAX_MANIFEST,
    MAX_RATIO,
    NAME,
    SMALL,
    Manifest,
    Member,
    parsed,
)

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,
    ValueError,
    struct.error,
    KeyError,
    IndexError,
    UnicodeError,
)
"""What zipfile raises for archives that are not whole."""


class Archive:
    """An open archive. Use :func:`reading`."""

    def __init__(self, file: zipfile.ZipFile, size: int) -> None:
        self._file = file
        entries = _checked(file.infolist(), size)
        raw = b"".join(self._read(MANIFEST, MAX_MANIFEST))
        self.manifest = Manifest.read(raw)
        """What it says of itself."""
        self.digest = hashlib.sha256(raw).hexdigest()
        """Of the manifest, and so of all that is in it."""
        said = self.manifest.members
        missing = {*said, MANIFEST} ^ set(entries)
        if missing:
            raise ArchiveError(f"members and manifest differ: {sorted(missing)[0]!r:.100}")
        for name, member in said.items():
            if entries[name].file_size != member.size:
                raise ArchiveError(f"{name} has another size than the manifest says")

    def lines(self, table: str) -> Iterator[dict[str, Any]]:
        """The rows of a table, in order; none if it is not there."""
        name = f"{table}.jsonl"
        if name not in self.manifest.members:
            return
        held, count = b"", 0
        for part in self.parts(name):
            *whole, held = (held + part).split(b"\n")
            if max(map(len, [*whole, held]), default=0) > MAX_LINE:
                raise ArchiveError(f"{name} has a line of more than {MAX_LINE:,} bytes")
            for line in whole:
                count += 1
                yield parsed(line, f"{name}, line {count}")
        if held:
            raise ArchiveError(f"{name} ends within a line")
        if count != self.manifest.counts.get(table):
            raise ArchiveError(f"{name} has {count:,} lines, the manifest says otherwise")

    def parts(self, name: str) -> Iterator[bytes]:
        """The bytes of a member; :class:`ArchiveError` at the end if they are not those meant."""
        member = self.manifest.members[name]
        digest = hashlib.sha256()
        for part in self._read(name, member.size):
            digest.update(part)
            yield part
        _same(name, member, digest.hexdigest())

    def whole(self, name: str, limit: int) -> bytes:
        """A whole member of at most ``limit`` bytes."""
        if self.manifest.members[name].size > limit:
            raise ArchiveError(f"{name} has more than {limit:,} bytes")
        return b"".join(self.parts(name))

    def named(self, folder: str) -> list[str]:
        """The members in ``vectors`` or ``blobs``, sorted."""
        return sorted(one for one in self.manifest.members if one.startswith(f"{folder}/"))

    def _read(self, name: str, limit: int) -> Iterator[bytes]:
        """At most ``limit`` bytes, whatever the directory says."""
        total = 0
        try:
            with self._file.open(name) as member:
                while part := member.read(1 << 16):
                    total += len(part)
                    if total > limit:
                        raise ArchiveError(f"{name} is larger than it may be")
                    yield part
        except _BROKEN as error:
            if isinstance(error, ArchiveError):
                raise
            raise ArchiveError(f"{name} is damaged: {error!s:.200}") from None


@contextmanager
def reading(path: Path) -> Iterator[Archive]:
    """The archive at ``path``, its frame checked; its members are checked as they are read."""
    try:
        with path.open("rb") as raw:
            size = _check_end(raw)
            try:
                file = zipfile.ZipFile(raw)
            except _BROKEN as error:
                raise ArchiveError(f"{path} is no whole zip: {error!s:.200}") from None
            with file:
                yield Archive(file, size)
    except OSError as error:
        if isinstance(error, ArchiveError):
            raise
        raise ArchiveError(f"{path} cannot be read: {error.strerror or error}") from None


def _check_end(raw: IO[bytes]) -> int:
    """Refuse a directory too large to be read, before it is; return the size of the file."""
    size = raw.seek(0, io.SEEK_END)
    if size < _END.size:
        raise ArchiveError("this is no archive: it is too short")
    raw.seek(-_END.size, io.SEEK_END)
    mark, disk, start, here, entries, length, at, comment = _END.unpack(raw.read(_END.size))
    if mark != b"PK\x05\x06" or comment or disk or start or here != entries:
        raise ArchiveError("this is no archive: it does not end as one, or was cut off")
    if length == 0xFFFFFFFF or at == 0xFFFFFFFF or entries == 0xFFFF:
        length = _long_directory(raw, size)
    if length > MAX_DIRECTORY:
        raise ArchiveError(f"the archive has a directory of {length:,} bytes: too many members")
    return size


def _long_directory(raw: IO[bytes], size: int) -> int:
    back = _END.size + _LOCATOR.size
    if size < back + _END_64.size:
        raise ArchiveError("this is no archive: its directory cannot be found")
    raw.seek(-back, io.SEEK_END)
    mark, _, at, _ = _LOCATOR.unpack(raw.read(_LOCATOR.size))
    if mark != b"PK\x06\x07" or at > size - _END_64.size:
        raise ArchiveError("this is no archive: its directory cannot be found")
    raw.seek(at)
    found = _END_64.unpack(raw.read(_END_64.size))
    if found[0] != b"PK\x06\x06":
        raise ArchiveError("this is no archive: its directory cannot be found")
    return int(found[8])


def _checked(entries: list[zipfile.ZipInfo], size: int) -> dict[str, zipfile.ZipInfo]:
    """The members by name, if all of them may be there."""
    found: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        kind = entry.external_attr >> 28
        if not NAME.fullmatch(entry.filename) or entry.orig_filename != entry.filename:
            raise ArchiveError(f"the archive has a member that no archive has: {entry.filename!r}")
        if entry.filename in found:
            raise ArchiveError(f"the archive has {entry.filename} twice")
        if kind not in (0, 8) or entry.flag_bits & 0x1:
            raise ArchiveError(f"{entry.filename} is no plain file")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ArchiveError(f"{entry.filename} is packed in a way that archives are not")
        found[entry.filename] = entry
    if MANIFEST not in found:
        raise ArchiveError("the archive has no manifest")
    _check_sizes(list(found.values()), size)
    return found


def _check_sizes(entries: list[zipfile.ZipInfo], size: int) -> None:
    total, packed = sum(e.file_size for e in entries), sum(e.compress_size for e in entries)
    if packed > size:
        raise ArchiveError("members of the archive overlap")
    if total > MAX_BYTES:
        raise ArchiveError(f"{total:,} bytes would come out of the archive: more than it may have")
    if total > SMALL and total > MAX_RATIO * size:
        raise ArchiveError(f"the archive grows from {size:,} to {total:,} bytes: too much")


def _same(name: str, member: Member, digest: str) -> None:
    if digest != member.sha256:
        raise ArchiveError(f"{name} is not what was written: its hash differs")
