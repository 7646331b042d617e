"""Writing an archive: under another name, and in its place once it is whole."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from memos_integrations.errors import ArchiveError
from memos_integrations.infrastructure import crashpoints
from memos_integrations.infrastructure.transfer.format import MANIFEST, Manifest, Member

_EPOCH = (1980, 1, 1, 0, 0, 0)


class ArchiveWriter:
    """One archive that is being written. Use :func:`writing`."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        self.members: dict[str, Member] = {}
        self.counts: dict[str, int] = {}

    def lines(self, table: str, rows: Iterable[bytes]) -> int:
        """A member of JSON Lines; return how many. Without a row there is no member."""
        count = 0

        def counted() -> Iterator[bytes]:
            nonlocal count
            for row in rows:
                count += 1
                yield row

        self.member(f"{table}.jsonl", counted())
        if count:
            self.counts[table] = count
        return count

    def member(self, name: str, parts: Iterable[bytes]) -> None:
        """A member, part by part; without a part there is none."""
        digest, size, stream = hashlib.sha256(), 0, iter(parts)
        first = next(stream, None)
        if first is None:
            return
        with self._file.open(_entry(name), "w", force_zip64=True) as member:
            for part in _joined(first, stream):
                digest.update(part)
                size += len(part)
                member.write(part)
        self.members[name] = Member(digest.hexdigest(), size)

    def finish(self, manifest: Manifest) -> Manifest:
        """Write the manifest: now it can be loaded."""
        done = replace(manifest, members=self.members, counts=self.counts)
        self._file.writestr(_entry(MANIFEST), done.written())
        return done


def _joined(first: bytes, rest: Iterator[bytes], size: int = 1 << 16) -> Iterator[bytes]:
    """Small parts in larger ones."""
    held = bytearray(first)
    for part in rest:
        if len(held) >= size:
            yield bytes(held)
            held.clear()
        held += part
    yield bytes(held)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry._compresslevel = 1  # type: ignore[attr-defined]
    entry.external_attr = 0o600 << 16
    return entry


@contextmanager
def writing(target: Path) -> Iterator[ArchiveWriter]:
    """A writer whose archive stands at ``target`` when the block ends, and not before.

    If the block raises, or the process ends, nothing is there; a half-written file has another
    name, which begins with a dot and ends with ``.part``.
    """
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with aside.open("xb") as raw:
            aside.chmod(0o600)
            with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as file:
                yield ArchiveWriter(file)
                crashpoints.reach("archive-half-written")
            raw.flush()
            os.fsync(raw.fileno())
        crashpoints.reach("archive-written")
        aside.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise ArchiveError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        aside.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems cannot
            os.fsync(handle)
    finally:
        os.close(handle)
