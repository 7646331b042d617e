"""Keeps the vector index equal to the records: follows the outbox, checks, repairs, rebuilds.

The index is disposable. Whenever it is not known to be sound, searches scan the records
exactly and this thread mends the index meanwhile.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from memos_integrations.errors import MemOSError
from memos_integrations.infrastructure import crashpoints, seal
from memos_integrations.infrastructure.database import Database
from memos_integrations.infrastructure.deadline import DeadlineExceeded, DeadlineWorkers
from memos_integrations.infrastructure.index_files import IndexDamaged, IndexFiles
from memos_integrations.infrastructure.index_probe import audit, probe
from memos_integrations.infrastructure.records import queue_everything
from memos_integrations.infrastructure.schema import (
    activities,
    embeddings,
    namespaces,
    outbox,
    settings,
    versions,
)
from memos_integrations.infrastructure.vectors import ChromaIndex, decode
from memos_integrations.protocols import VectorIndex, Vectors

log = logging.getLogger(__name__)

Found = list[tuple[int, float]]
"""Keys with their cosines, best first."""

TOLERANCE = 1e-3
"""How far a cosine of the index may lie from that of the stored vectors."""

BUSY = 0.25
"""Seconds since the last write during which more writes are expected."""


@dataclass(frozen=True)
class IndexPolicy:
    """When a namespace gets an approximate index, and how long that index may think."""

    exact_below: int = 2_000
    """Namespaces with fewer memories are scanned exactly: as quick there, and never wrong."""
    query_seconds: float = 5.0
    """A query that takes longer counts as hanging: the exact scan answers, the index is rebuilt."""
    write_seconds: float = 60.0
    """The same for one batch of changes."""
    batch: int = 1_000
    """Changes applied at a time."""
    check_every: float = 5.0
    """Seconds between two looks at the index files."""


class IndexKeeper:
    """Owns the index folder and one daemon thread. All public methods are thread-safe."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        policy: IndexPolicy,
        opener: Callable[[Path], VectorIndex] = ChromaIndex,
    ) -> None:
        self._database, self._folder, self._policy, self._opener = database, folder, policy, opener
        self._workers = DeadlineWorkers("memos-index-call")
        self._index: VectorIndex | None = None
        self._path: Path | None = None
        self._files = IndexFiles()
        self._state = "idle"
        self._trouble = ""
        self._last_write = 0.0
        self._stopping = False
        self._to_renew = False
        self._renewed = threading.Event()
        self._wake = threading.Event()
        self._caught_up = threading.Condition()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    # What searches and writers call -------------------------------------------------------

    @property
    def state(self) -> str:
        """``idle`` (no large namespace), ``checking``, ``rebuilding``, ``ready`` or ``closed``."""
        return self._state

    def query(self, collection: str, vector: Vectors, limit: int) -> Found | None:
        """Ask the index; ``None`` if it cannot be asked now (then scan exactly)."""
        return self.ask(collection, vector, limit)()

    def ask(self, collection: str, vector: Vectors, limit: int) -> Callable[[], Found | None]:
        """Begin to ask the index; the answer is that of :meth:`query`."""
        index = self._index
        if index is None or self._state != "ready":
            return lambda: None
        answer = self._workers.start(index.query, collection, vector, limit)

        def found() -> Found | None:
            try:
                return answer(self._policy.query_seconds)
            except Exception as error:  # noqa: BLE001 - a native library may raise anything
                self.suspect(f"a query failed: {error!r}")
                return None

        return found

    def doubt(self, key: int, vector: Vectors, claimed: float) -> None:
        """The index gave ``key`` another cosine than a snapshot: is it wrong, or only newer?"""
        with self._database.read() as tx:
            changing = tx.execute(sa.select(outbox.c.seq).where(outbox.c.cube_pk == key)).first()
            query = sa.select(embeddings.c.vector).where(embeddings.c.cube_pk == key)
            blob = tx.execute(query).scalar()
        newer = blob is not None and abs(float(decode([blob])[0] @ vector) - claimed) < TOLERANCE
        if changing is None and not newer:
            self.suspect(f"entry {key} is not the vector in the records")

    def suspect(self, reason: str) -> None:
        """Stop using the index and rebuild it."""
        if self._state == "ready":
            log.warning("vector index: %s; searching exactly while it is rebuilt", reason)
            self._state, self._trouble = "rebuilding", reason
        self._wake.set()

    def renew(self, seconds: float) -> bool:
        """Begin anew in another folder; ``True`` once no file of the former index is left.

        Searches scan exactly until the new one is filled.
        """
        self._renewed.clear()
        self._to_renew = True
        self.notify()
        return self._renewed.wait(seconds)

    @property
    def trouble(self) -> str:
        """Why the index was last found unsound; empty if it never was."""
        return self._trouble

    def audit(self) -> str:
        """What differs from the records right now, in words; empty if nothing does."""
        index = self._index
        if index is None or self._state != "ready":
            return "" if self._state == "idle" else f"it is {self._state}"
        try:
            return self._workers.call(300.0, audit, index, self._database.path)
        except Exception as error:  # noqa: BLE001 - a native library may raise anything
            return f"it cannot be read: {error!r}"

    def notify(self) -> None:
        """The outbox may have something for the index."""
        self._last_write = time.monotonic()
        with self._starting:
            if self._thread is None and not self._stopping:
                self._state = "checking"
                self._thread = threading.Thread(target=self._run, name="memos-index", daemon=True)
                self._thread.start()
        self._wake.set()

    def wait(self, seconds: float) -> bool:
        """Wait until the index holds every committed change; ``False`` if it took too long."""
        end = time.monotonic() + seconds
        while not self._settled():
            left = end - time.monotonic()
            if left <= 0:
                return False
            self._wake.set()
            with self._caught_up:
                self._caught_up.wait(min(left, 0.2))
        return True

    def close(self, seconds: float = 10.0) -> None:
        """Stop the thread, seal the index. Changes not yet applied wait in the outbox."""
        with self._starting:
            self._stopping = True
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(seconds)
            if self._thread.is_alive():
                log.warning(
                    "vector index did not stop within %g s; it is checked at next use", seconds
                )
                self._index = None
        if self._index is not None and self._state == "ready":
            self._close_and_seal(seconds)
        self._workers.stop()
        self._state = "closed"

    # The thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        pause = 0.1
        while not self._stopping:
            try:
                self._step()
                pause = 0.1
                self._wake.wait(self._policy.check_every)
            except MemOSError as error:  # the records: a full disk, or closed under us
                log.warning("vector index waits: %s", error)
                pause = self._back_off(pause)
            except Exception as error:  # noqa: BLE001 - whatever the index raises, the thread lives
                self._fail(str(error) or repr(error))
                pause = self._back_off(pause)
            finally:
                with self._caught_up:
                    self._caught_up.notify_all()

    def _fail(self, reason: str, level: int = logging.WARNING) -> None:
        if not self._stopping:
            log.log(level, "vector index: %s; it is rebuilt", reason)
        self._state, self._trouble = "rebuilding", reason

    def _back_off(self, pause: float) -> float:
        """Sleep unless stopped; return the next, longer pause."""
        until = time.monotonic() + pause
        while not self._stopping and time.monotonic() < until:
            time.sleep(0.05)
        return min(pause * 2, 5.0)

    def _step(self) -> None:
        self._wake.clear()
        if not self._wanted():
            self._state = "idle"
            return
        if self._state in ("idle", "checking") and not self._to_renew:
            self._adopt()
        if self._to_renew:
            self._state = "rebuilding"
        if self._state == "rebuilding":
            self._rebuild()
        self._files.check()
        started = time.monotonic()
        while not self._stopping and self._in_use() and self._drain():
            with self._caught_up:
                self._caught_up.notify_all()
            self._give_way(time.monotonic() - started)
            started = time.monotonic()
        if self._state == "ready" and self._worn():
            self._fail("more was changed than is in it", logging.INFO)
            self._wake.set()

    def _in_use(self) -> bool:
        return self._state == "ready" and not self._to_renew

    def _give_way(self, worked: float) -> None:
        """While others write, take at most a fifth of the time: searches need not wait for us."""
        until = time.monotonic() + 4 * worked
        while time.monotonic() < min(until, self._last_write + BUSY) and not self._stopping:
            time.sleep(0.01)

    def _wanted(self) -> bool:
        with self._database.read() as tx:
            query = sa.select(namespaces.c.pk).where(namespaces.c.collection.is_not(None)).limit(1)
            return tx.execute(query).first() is not None

    def _settled(self) -> bool:
        if not self._wanted():
            return True
        with self._database.read() as tx:
            pending = tx.execute(sa.select(outbox.c.seq).limit(1)).first()
        return self._state == "ready" and pending is None and not self._worn()

    # Opening an index that is there ----------------------------------------------------------

    def _adopt(self) -> None:
        """Open the index of last time if it is sound; else ask for a rebuild."""
        self._state = "checking"
        path = self._current()
        if path is None:
            self._state = "rebuilding"
            return
        if not path.is_dir():
            raise IndexDamaged("its folder is gone")
        condition = seal.inspect(path, self._watermark(), lambda: self._stopping)
        if self._stopping:
            return  # the seal stays for the next owner
        if condition == "broken":
            raise IndexDamaged("its files are not what was closed")
        seal.lift(path)
        if condition != "whole":
            self._reconcile(path)
        if not self._stopping:
            self._open(path)

    def _reconcile(self, path: Path) -> None:
        """Compare ids and vectors in another process; queue what differs."""
        report = probe(path, self._database.path, lambda: self._stopping)
        for name, found in report.items():
            if found["lost"]:
                raise IndexDamaged(f"{name}: {found['lost']} vectors do not find themselves")
            self._enqueue(name, {*found["missing"], *found["stale"], *found["extra"]})

    def _enqueue(self, collection: str, keys: set[int]) -> None:
        if not keys:
            return
        log.info("vector index: %d entries of %s differ from the records", len(keys), collection)

        def work(tx: sa.Connection) -> None:
            pk = tx.execute(
                sa.select(namespaces.c.pk).where(namespaces.c.collection == collection)
            ).scalar_one()
            rows = [{"namespace_pk": pk, "cube_pk": key} for key in sorted(keys)]
            tx.execute(sa.insert(outbox), rows)

        self._database.write(work)

    def _open(self, path: Path) -> None:
        self._index = self._workers.call(self._policy.write_seconds, self._opener, path)
        self._path = path
        self._files = IndexFiles()
        self._state = "ready"

    def _current(self) -> Path | None:
        with self._database.read() as tx:
            query = sa.select(settings.c.value).where(settings.c.key == "index_folder")
            name = tx.execute(query).scalar()
        return self._folder / name if name else None

    def _watermark(self) -> str:
        """What identifies a state of the records: the newest version, verb and folder."""
        with self._database.read() as tx:
            newest = [
                tx.execute(sa.select(sa.func.max(column))).scalar()
                for column in (versions.c.pk, activities.c.pk)
            ]
            store = tx.execute(
                sa.select(settings.c.value).where(settings.c.key == "store_id")
            ).scalar()
        return json.dumps([store, *newest])

    # Following -----------------------------------------------------------------------------

    def _drain(self) -> bool:
        """Apply one batch of the outbox; ``False`` when there is nothing left."""
        with self._database.read() as tx:
            rows = tx.execute(
                sa.select(
                    outbox.c.seq, outbox.c.namespace_pk, outbox.c.cube_pk, namespaces.c.collection
                )
                .join(namespaces, namespaces.c.pk == outbox.c.namespace_pk)
                .order_by(outbox.c.seq)
                .limit(self._policy.batch)
            ).all()
            if not rows:
                return False
            keys = {row.cube_pk for row in rows}
            vectors = dict(
                tx.execute(
                    sa.select(embeddings.c.cube_pk, embeddings.c.vector).where(
                        embeddings.c.cube_pk.in_(keys)
                    )
                ).all()
            )
        crashpoints.reach("index-batch-read")
        for collection in dict.fromkeys(row.collection for row in rows):
            of_it = {row.cube_pk for row in rows if row.collection == collection}
            self._apply(collection, of_it, vectors)
        crashpoints.reach("index-batch-applied")
        last = rows[-1].seq
        self._database.write(
            lambda tx: tx.execute(sa.delete(outbox).where(outbox.c.seq <= last)) and None
        )
        crashpoints.reach("index-batch-recorded")
        self._files.remember(self._path)
        return True

    def _apply(self, collection: str, keys: set[int], vectors: dict[int, bytes]) -> None:
        """Make the entries of ``keys`` what the records say: applying twice changes nothing."""
        index, seconds = self._index, self._policy.write_seconds
        assert index is not None
        present = sorted(keys & vectors.keys())
        gone = sorted(keys - vectors.keys())
        if gone:
            self._workers.call(seconds, index.delete, collection, gone)
        if present:
            matrix = decode([vectors[key] for key in present])
            self._workers.call(seconds, index.upsert, collection, present, matrix)
            # Chroma adds to its graph at the next query: made here, so that no user waits for it.
            self._workers.call(seconds, index.query, collection, matrix[0], 1)

    def _worn(self) -> bool:
        """An HNSW graph loses recall with every deletion; renew it after a full turnover."""
        with self._database.read() as tx:
            query = sa.select(namespaces.c.pk).where(
                namespaces.c.collection.is_not(None),
                namespaces.c.churn > sa.func.max(namespaces.c.live, self._policy.exact_below),
            )
            return tx.execute(query).first() is not None

    # Rebuilding ----------------------------------------------------------------------------

    def _rebuild(self) -> None:
        """Start an empty index in a new folder and queue every vector for it."""
        self._to_renew = False
        self._discard()
        path = self._folder / f"{uuid.uuid4().hex[:12]}"
        self._database.write(lambda tx: queue_everything(tx, path.name))
        crashpoints.reach("index-rebuild-begun")
        if self._folder.is_dir():
            for old in self._folder.iterdir():
                if old != path:
                    shutil.rmtree(old, ignore_errors=True)
        crashpoints.reach("index-old-removed")
        if not self._folder.is_dir() or not set(self._folder.iterdir()) - {path}:
            self._renewed.set()
        self._open(path)

    def _discard(self) -> None:
        index, self._index, self._path = self._index, None, None
        if index is not None:
            try:
                self._workers.call(2.0, index.close)
            except Exception as error:  # noqa: BLE001 - it is thrown away, however it ends
                log.debug("closing a damaged index: %r", error)

    def _close_and_seal(self, seconds: float) -> None:
        index, path = self._index, self._path
        assert index is not None and path is not None
        self._index = None
        try:
            self._files.check()
            self._workers.call(seconds, index.close)
            seal.write(path, self._watermark())
            crashpoints.reach("index-sealed")
        except (IndexDamaged, DeadlineExceeded, OSError, MemOSError) as error:
            log.warning("vector index not sealed (%r): it is checked at next use", error)
