"""Where the caches of a store were ever sent to. An erasure asks each of these places. No torch.

The places are written down in the store, so that they are known to a process that serves no model.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from memos_integrations.errors import StoreError
from memos_integrations.infrastructure.deadline import DeadlineExceeded, DeadlineWorkers
from memos_integrations.infrastructure.schema import settings
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.memories.activation.remote_folder import RemoteFolder

PATIENCE = 60.0
"""Seconds that an erasure waits for each place."""
_KEY = "kv_remotes"
T = TypeVar("T")


class Remotes:
    """The places of one store. Thread-safe."""

    def __init__(self, vault: MemVault) -> None:
        self._vault, self._lock = vault, threading.Lock()
        self._open: dict[str, RemoteFolder] = {}
        self._silent: set[str] = set()  # not waited for again: the call may still be on its way
        self._workers = DeadlineWorkers("memos-kv-erase")
        vault.watch_cleaning(self.forget)

    def at(self, url: str | Path) -> RemoteFolder:
        """The place under a URL or a folder, written down before anything is sent there.

        The URL is kept in the store: name keys and passwords in the environment, not in it.
        """
        place = _absolute(url)
        folder = self._folder(place)  # raises for what fsspec does not know
        if place not in self.places():
            self._vault.database.write(lambda tx: _write(tx, [*_read(tx), place]))
        return folder

    def places(self) -> list[str]:
        """URLs and folders, in the order in which they were first used."""
        with self._vault.database.read() as tx:
            return _read(tx)

    def forget(self, cube_ids: Collection[str]) -> None:
        """Delete every piece that knows one of these memories, in every place.

        Raises :class:`StoreError` if a place does not answer: the erasure is not finished then.
        """
        self._each(lambda folder: folder.forget(cube_ids))

    def clear(self) -> None:
        """Delete every piece in every place, and forget the places that did so."""
        self._each(RemoteFolder.clear)
        self._vault.database.write(lambda tx: _write(tx, []))

    def report(self, patience: float = 10.0) -> list[dict[str, Any]]:
        """How much lies in each place; ``failure`` if it did not say within ``patience`` seconds.

        JSON-plain.
        """
        found = []
        for place in self.places():
            sizes, failure = self._ask(place, RemoteFolder.sizes, patience)
            known = sizes or {}
            found.append(
                {
                    "place": place,
                    "pieces": len(known),
                    "bytes": sum(known.values()),
                    "failure": failure,
                }
            )
        return found

    def _each(self, work: Callable[[RemoteFolder], None]) -> None:
        asked = [(place, self._ask(place, work, PATIENCE)[1]) for place in self.places()]
        failed = [f"{place} ({failure})" for place, failure in asked if failure]
        if failed:
            raise StoreError(f"cached pieces may still lie in {', '.join(failed)}")

    def _ask(
        self, place: str, work: Callable[[RemoteFolder], T], patience: float
    ) -> tuple[T | None, str]:
        """What a place said, and why it did not."""
        if place in self._silent:
            return None, "it did not answer before"
        try:
            return self._workers.call(patience, work, self._folder(place)), ""
        except DeadlineExceeded as error:
            if patience >= PATIENCE:  # a short look does not decide what an erasure may ask
                self._silent.add(place)
            return None, str(error)
        except Exception as error:  # noqa: BLE001 - a file system's own code
            return None, f"{type(error).__name__}: {error}"

    def _folder(self, place: str) -> RemoteFolder:
        with self._lock:
            if place not in self._open:
                url = Path(place) if place.startswith("/") else place
                self._open[place] = RemoteFolder(url, self._vault.id)
            return self._open[place]


def _absolute(url: str | Path) -> str:
    if isinstance(url, str) and ("://" in url or "::" in url):
        return url
    return str(Path(url).absolute())


def _read(tx: sa.Connection) -> list[str]:
    found = tx.execute(sa.select(settings.c.value).where(settings.c.key == _KEY)).scalar()
    return list(map(str, json.loads(found))) if found else []


def _write(tx: sa.Connection, places: list[str]) -> None:
    tx.execute(sa.delete(settings).where(settings.c.key == _KEY))
    if places:
        value = json.dumps(list(dict.fromkeys(places)))
        tx.execute(sa.insert(settings).values(key=_KEY, value=value))
