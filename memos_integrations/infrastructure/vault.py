"""MemVault: one unit of work over records, vectors and blobs, and one gate for every read.

Writes go to SQL in one transaction; the vector index follows. Reads take a snapshot: whatever
an index answers is checked there again before it is used.
"""

from __future__ import annotations

import contextlib
import copy
import json
import threading
import uuid
import weakref
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Self

import sqlalchemy as sa

from memos_integrations.errors import (
    InvalidInputError,
    MemOSError,
    NotAStoreError,
    StoreNotWritableError,
)
from memos_integrations.infrastructure import audit, crashpoints, governance, retention
from memos_integrations.infrastructure.access import Asker
from memos_integrations.infrastructure.blobs import FsspecBlobs
from memos_integrations.infrastructure.database import Database
from memos_integrations.infrastructure.deriving import Deriving
from memos_integrations.infrastructure.former_vectors import FormerVectors
from memos_integrations.infrastructure.index_keeper import IndexKeeper, IndexPolicy
from memos_integrations.infrastructure.ownership import Ownership
from memos_integrations.infrastructure.placements import Placements
from memos_integrations.infrastructure.readable import DATABASE
from memos_integrations.infrastructure.schema import namespaces, settings
from memos_integrations.infrastructure.spaces import read_spaces
from memos_integrations.infrastructure.units import Shared, Writer
from memos_integrations.infrastructure.usage import UsageCounters
from memos_integrations.infrastructure.vectors import ChromaIndex
from memos_integrations.protocols import Clock, EmbedderFingerprint, VectorIndex

_OURS = {"lock", "owner.json", "index", "blobs"}


class MemVault(Deriving):
    """An embedded store in one folder: ``memory.db``, ``index/``, ``blobs/``. Thread-safe."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock,
        policy: IndexPolicy,
        index_opener: Callable[[Path], VectorIndex] = ChromaIndex,
        audit_reads: bool | None = None,
    ) -> None:
        self._audit_reads = audit_reads
        self.folder, self._clock, self._policy = _prepared(folder), clock, policy
        self._owner = Ownership(self.folder)
        try:
            crashpoints.reach("folder-locked")
            self._database = Database(self.folder / DATABASE)
            fingerprint = self._settings()
            with self._database.read() as tx:
                rules, lives = governance.read_rules(tx), retention.read_rules(tx)
                self._shared = Shared(fingerprint, rules, lives, read_spaces(tx))
        except BaseException:  # whatever it was, the folder is free again
            self._owner.release()
            raise
        self.blobs = FsspecBlobs(self.folder / "blobs")
        self.usage, self.placements = UsageCounters(), Placements()
        self._former = FormerVectors()
        self._changing_rules = threading.Lock()
        self._watchers: list[Callable[[Collection[str]], object]] = []
        self._mourners: list[Callable[[Collection[str]], object]] = []
        self._cleaners: list[Callable[[Collection[str]], object]] = []
        self._keeper = IndexKeeper(self._database, self.folder / "index", policy, index_opener)
        writer = Writer(self.id, self._shared, self.usage, self.placements, clock)
        self._writer = writer
        parts = (writer, self._keeper, self._database, self._owner)
        self._closing = weakref.finalize(self, _close, *parts)
        if self._has_index():
            self._keeper.notify()

    # Opening and closing ------------------------------------------------------------------

    def _settings(self) -> EmbedderFingerprint | None:
        """What was stored about the embedder; a new store gets its identity."""

        def work(tx: sa.Connection) -> dict[str, str]:
            found: dict[str, str] = dict(tx.execute(sa.select(settings)).all())
            if "store_id" not in found:
                found["store_id"] = str(uuid.uuid4())
                tx.execute(sa.insert(settings).values(key="store_id", value=found["store_id"]))
            audit.begin_log(tx, found["store_id"], self._clock.now())
            return found

        with self._database.read() as tx:
            found = dict(tx.execute(sa.select(settings)).all())
        if "store_id" not in found or audit.SECRET not in found:  # new, or of an earlier release
            found = self._database.write(work)
        self.id = found["store_id"]
        """Of this store, for good; a secret of it."""
        stored = found.get("embedder")
        return EmbedderFingerprint.read(json.loads(stored)) if stored else None

    def _has_index(self) -> bool:
        with self._database.read() as tx:
            query = sa.select(namespaces.c.pk).where(namespaces.c.collection.is_not(None))
            return tx.execute(query.limit(1)).first() is not None

    def seen_by(self, asker: Asker) -> Self:
        """The same store, as somebody may see and change it."""
        seen = copy.copy(self)
        seen.asker = asker
        return seen

    def close(self) -> None:
        """Write the counters, seal the index, close the database, free the folder.

        Closing twice does nothing. A vault that is dropped, or open when the process ends, is
        closed then.
        """
        self._closing()

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self._closing.alive

    @property
    def database(self) -> Database:
        """The records, for maintenance: reindexing and examination."""
        return self._database


def _close(writer: Writer, keeper: IndexKeeper, database: Database, owner: Ownership) -> None:
    if not owner.is_here:
        return  # a fork ends; its parent still uses the store
    with contextlib.suppress(MemOSError):  # counters may be lost, closing must go on
        writer.write(database, writer.counters)
    keeper.close()
    database.close()
    owner.release()


def _prepared(folder: Path) -> Path:
    """The folder, made if it is missing; refused if it is somebody else's."""
    folder = folder.expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in folder.iterdir()}
    except ValueError as error:
        raise InvalidInputError(
            f"{str(folder)!r} cannot be the name of a folder: {error}"
        ) from None
    except (FileExistsError, NotADirectoryError):
        raise NotAStoreError(f"{folder} is a file: give a folder") from None
    except OSError as error:
        raise StoreNotWritableError(f"{folder} cannot be used: {error.strerror}") from error
    foreign = {name for name in names if name not in _OURS and not name.startswith(DATABASE)}
    if foreign and DATABASE not in names:
        raise NotAStoreError(
            f"{folder} holds {sorted(foreign)[0]!r} and no memory store: give a new or empty folder"
        )
    return folder
