"""Content-addressed blobs on any fsspec file system; and the one place that opens such a system."""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from pathlib import Path
from typing import Any

from memos_integrations.errors import (
    BlobCorruptError,
    BlobNotFoundError,
    InvalidInputError,
    MissingExtraError,
    StoreFullError,
)
from memos_integrations.infrastructure import crashpoints


def file_system(url: str | Path) -> tuple[Any, str]:
    """The fsspec file system that ``url`` means, and the path in it, without a slash at the end.

    A folder is given as a ``Path``, so that none of its characters is read as part of a URL.
    Raises :class:`InvalidInputError` for a kind of URL that fsspec does not know, and
    :class:`MissingExtraError` if the package behind it is not installed. Nothing is asked of the
    network yet.
    """
    import fsspec

    if isinstance(url, Path):
        return fsspec.filesystem("file"), str(url).rstrip("/")
    try:
        found, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise MissingExtraError(f"{url.split('://')[0]}:// needs a package: {error}") from error
    except ValueError as error:
        raise InvalidInputError(f"give a URL of a kind that fsspec knows: {error}") from error
    return found, root.rstrip("/")


class FsspecBlobs:
    """A :class:`~memos_integrations.protocols.BlobStore` under ``url`` (``memory://``, ``s3://``).

    A folder is given as a ``Path``, so that none of its characters is read as part of a URL.

    The name of a blob is the sha256 of its bytes, checked at every read. A blob appears whole
    or not at all: it is written beside and moved into place.
    """

    def __init__(self, url: str | Path) -> None:
        self._fs, self._root = file_system(url)
        self._local = "file" in self._fs.protocol

    def put(self, content: bytes) -> str:
        """Store ``content``; return its digest (64 hex digits). Storing twice is one blob."""
        digest = hashlib.sha256(content).hexdigest()
        target = self._path(digest)
        if self._fs.exists(target) and self._fs.size(target) == len(content):
            return digest
        aside = f"{self._root}/incoming/{uuid.uuid4().hex}"
        try:
            self._fs.makedirs(f"{self._root}/incoming", exist_ok=True)
            self._fs.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
            with self._fs.open(aside, "wb") as file:
                file.write(content[: len(content) // 2])
                crashpoints.reach("blob-half-written")
                file.write(content[len(content) // 2 :])
                file.flush()
                if self._local:
                    os.fsync(file.fileno())
            self._fs.mv(aside, target)
        except OSError as error:
            if self._fs.exists(aside):
                self._fs.rm_file(aside)
            raise StoreFullError(f"blob of {len(content):,} bytes not written: {error}") from error
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes of a blob.

        Raises :class:`BlobNotFoundError` if it is missing, and :class:`BlobCorruptError`, which is
        one, if it was altered.
        """
        try:
            content = bytes(self._fs.cat_file(self._path(digest)))
        except FileNotFoundError:
            raise BlobNotFoundError(f"no blob {digest}") from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise BlobCorruptError(f"blob {digest} no longer holds the bytes it is named after")
        return content

    def exists(self, digest: str) -> bool:
        """Whether there is a blob of this name (its bytes are checked by :meth:`get`)."""
        return bool(self._fs.exists(self._path(digest)))

    def delete(self, digest: str) -> None:
        """Remove a blob; removing a missing one does nothing."""
        if self.exists(digest):
            self._fs.rm_file(self._path(digest))

    def remove_unfinished(self) -> None:
        """Remove what was half-written when a process died; nobody may be writing."""
        aside = f"{self._root}/incoming"
        for path in self._fs.ls(aside, detail=False) if self._fs.exists(aside) else ():
            self._fs.rm_file(path)

    def _path(self, digest: str) -> str:
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise InvalidInputError(f"{digest!r} is not a blob digest: 64 lower-case hex digits")
        return f"{self._root}/{digest[:2]}/{digest}"
