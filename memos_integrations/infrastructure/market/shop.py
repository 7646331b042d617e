"""A shop: where packages lie. A folder, any fsspec URL, or a store that offers them (a peer).

::

    packages/NAME/PUBLISHER/VERSION.json   signed indexes
    objects/ab/SHA256                      memories, each under the hash of its content

So a new version of a package brings only what is new in it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from memos_integrations.checks import check_id, check_text
from memos_integrations.errors import (
    BlobNotFoundError,
    InvalidInputError,
    PackageError,
    StoreFullError,
)
from memos_integrations.infrastructure.blobs import FsspecBlobs
from memos_integrations.infrastructure.market.packages import (
    MAX_INDEX,
    Package,
    check_name,
    check_publisher,
    opened,
    order,
)

PEER = "market"
"""The folder of a store in which its packages lie."""
MAX_OBJECT = 16 << 20
_FIELDS = {"id", "text", "event_time", "semantic_type", "tags"}


class Shop:
    """Packages in one place."""

    def __init__(self, place: str | Path | object) -> None:
        import fsspec

        self.url = _url(place)
        self._fs: Any
        self._fs, self._root = fsspec.core.url_to_fs(self.url)
        self._root = self._root.rstrip("/")
        self._objects = FsspecBlobs(f"{self.url.rstrip('/')}/objects")

    def put(self, memory: dict[str, Any]) -> str:
        """Lay a memory there; return the hash of its content."""
        return self._objects.put(json.dumps(memory, sort_keys=True).encode())

    def offer(self, package: Package, key: Any) -> None:
        """Lay a version there: all of it can be pulled from now on."""
        folder = f"{self._root}/packages/{package.name}/{package.publisher}"
        aside = f"{folder}/.{uuid.uuid4().hex}"
        try:
            self._fs.makedirs(folder, exist_ok=True)
            self._fs.pipe_file(aside, package.signed(key))
            self._fs.mv(aside, f"{folder}/{package.version}.json")
        except OSError as error:
            raise StoreFullError(f"{package.label} cannot be published: {error}") from error

    def versions(self, name: str, publisher: str) -> list[str]:
        """Of a package, oldest first."""
        folder = f"{self._root}/packages/{check_name(name)}/{check_publisher(publisher)}"
        found = [one.removesuffix(".json") for one in self._names(folder) if one.endswith(".json")]
        return sorted((one for one in found if _is_version(one)), key=order)

    def package(self, name: str, publisher: str, version: str) -> Package:
        """A version, its signature checked."""
        path = f"{self._root}/packages/{name}/{publisher}/{version}.json"
        try:
            if self._fs.size(path) > MAX_INDEX:
                raise PackageError(f"the index of {name}@{version} is too large")
            raw = bytes(self._fs.cat_file(path))
        except FileNotFoundError:
            raise PackageError(f"there is no {name}@{version} at {self.url}") from None
        return opened(raw, name=name, version=version, publisher=publisher)

    def latest(self, name: str, publisher: str) -> Package:
        """The newest version."""
        found = self.versions(name, publisher)
        if not found:
            raise PackageError(f"{publisher[:16]}... offers no package {name!r} at {self.url}")
        return self.package(name, publisher, found[-1])

    def all(self) -> Iterator[Package]:
        """The newest version of every package; those that are not properly signed are left out."""
        root = f"{self._root}/packages"
        for name in self._names(root):
            for publisher in self._names(f"{root}/{name}"):
                try:
                    yield self.latest(name, publisher)
                except (PackageError, InvalidInputError):
                    continue  # anybody may write into a shop

    def memory(self, cube_id: str, digest: str) -> dict[str, Any]:
        """One memory, checked; :class:`PackageError` if it is not what was signed."""
        try:
            said = json.loads(self._objects.get(digest))
            if set(said) != _FIELDS or check_id(said["id"]) != cube_id:
                raise ValueError("it is no memory of this package")
            check_text(said["text"])
        except (BlobNotFoundError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise PackageError(f"memory {cube_id} of the package: {error!s:.200}") from None
        return dict(said)

    def _names(self, folder: str) -> list[str]:
        try:
            found = self._fs.ls(folder, detail=False)
        except FileNotFoundError:
            return []
        names = sorted(one.rstrip("/").rsplit("/", 1)[-1] for one in found)
        return [one for one in names if not one.startswith(".")]


def withdraw(store: Path, cube_ids: Collection[str]) -> int:
    """Take erased memories out of what a store itself offers; return how many."""
    gone = 0
    for path in (store / PEER / "objects").glob("??/*"):
        try:
            about = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(about, dict) and about.get("id") in cube_ids:
            path.unlink(missing_ok=True)
            gone += 1
    return gone


def _url(place: object) -> str:
    """Where a shop is: a store offers what lies in its ``market`` folder."""
    folder = getattr(place, "path", place)
    if isinstance(folder, str) and "://" in folder:
        return folder
    if not isinstance(folder, str | Path):
        raise InvalidInputError(f"{place!r:.80} is no shop: give a folder, a URL or a MemOS")
    path = Path(folder).expanduser().absolute()
    if place is not folder or (path / "memory.db").exists():
        path = path / PEER
    return str(path)


def _is_version(name: str) -> bool:
    try:
        order(name)
    except InvalidInputError:
        return False
    return True
