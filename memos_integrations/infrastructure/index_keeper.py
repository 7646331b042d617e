"""Keeps the vector index equal to the records: follows the outbox, checks, repairs, rebuilds.

The index is disposable. Whenever it is not known to be sound, searches scan the records
exactly and this thread mends the index meanwhile.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from memos_integrations.errors import MemOSError
from memos_integrations.infrastructure import crashpoints, seal
from memos_integrations.infrastructure.database import Database
from memos_integrations.infrastructure.deadline import DeadlineExceeded, DeadlineWorkers
from memos_integrations.infrastructure.index_calls import IndexClosed, OpenIndex
from memos_integrations.infrastructure.index_files import IndexDamaged, IndexFiles
from memos_integrations.infrastructure.index_probe import audit, probe
from memos_integrations.infrastructure.indexed_records import IndexedRecords
from memos_integrations.infrastructure.renewals import Renewals
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
        self._records = IndexedRecords(database)
        self._workers = DeadlineWorkers("memos-index-call")
        self._index: OpenIndex | None = None
        self._former: list[OpenIndex] = []
        """Thrown away, with calls that still run."""
        self._path: Path | None = None
        self._files = IndexFiles()
        self._state = "idle"
        self._trouble = ""
        self._last_write = 0.0
        self._stopping = False
        self._renewals = Renewals()
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
        try:
            answer = index.start(lambda one: one.query(collection, vector, limit))
        except IndexClosed:
            return lambda: None

        def found() -> Found | None:
            try:
                return answer(self._policy.query_seconds)
            except Exception as error:  # noqa: BLE001 - a native library may raise anything
                self.suspect(f"a query failed: {error!r}")
                return None

        return found

    def doubt(self, key: int, vector: Vectors, claimed: float) -> None:
        """The index gave ``key`` another cosine than a snapshot: is it wrong, or only newer?"""
        changing, blob = self._records.entry(key)
        newer = blob is not None and abs(float(decode([blob])[0] @ vector) - claimed) < TOLERANCE
        if not changing and not newer:
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
        request = self._renewals.ask()
        self.notify()
        return self._renewals.wait(request, seconds)

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
            return index.call(300.0, lambda one: audit(one, self._database.path))
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
        self._renewals.stop()
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
        if not self._records.has_large():
            self._state = "idle"
            return
        if self._state in ("idle", "checking") and not self._renewals.wanted:
            self._adopt()
        if self._renewals.wanted:
            self._state = "rebuilding"
        if self._state == "rebuilding":
            self._rebuild()
        elif self._renewals.due:
            self._remove_former()
        self._files.check()
        started = time.monotonic()
        while not self._stopping and self._in_use() and self._drain():
            with self._caught_up:
                self._caught_up.notify_all()
            self._give_way(time.monotonic() - started)
            started = time.monotonic()
        if self._state == "ready" and self._records.worn(self._policy.exact_below):
            self._fail("more was changed than is in it", logging.INFO)
            self._wake.set()

    def _in_use(self) -> bool:
        return self._state == "ready" and not self._renewals.wanted

    def _give_way(self, worked: float) -> None:
        """While others write, take at most a fifth of the time: searches need not wait for us."""
        until = time.monotonic() + 4 * worked
        while time.monotonic() < min(until, self._last_write + BUSY) and not self._stopping:
            time.sleep(0.01)

    def _settled(self) -> bool:
        if not self._records.has_large():
            return True
        return (
            self._state == "ready"
            and not self._records.pending()
            and not self._records.worn(self._policy.exact_below)
        )

    # Opening an index that is there ----------------------------------------------------------

    def _adopt(self) -> None:
        """Open the index of last time if it is sound; else ask for a rebuild."""
        self._state = "checking"
        path = self._named_folder()
        if path is None:
            self._state = "rebuilding"
            return
        if not path.is_dir():
            raise IndexDamaged("its folder is gone")
        condition = seal.inspect(path, self._records.watermark(), lambda: self._stopping)
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
        if keys:
            log.info("vector index: %d entries of %s differ", len(keys), collection)
            self._records.enqueue(collection, keys)

    def _named_folder(self) -> Path | None:
        name = self._records.folder()
        return self._folder / name if name else None

    def _open(self, path: Path) -> None:
        index = self._workers.call(self._policy.write_seconds, self._opener, path)
        self._index = OpenIndex(index, self._workers)
        self._path = path
        self._files = IndexFiles()
        self._state = "ready"

    # Following -----------------------------------------------------------------------------

    def _drain(self) -> bool:
        """Apply one batch of the outbox; ``False`` when there is nothing left."""
        batch = self._records.batch(self._policy.batch)
        if batch is None:
            return False
        crashpoints.reach("index-batch-read")
        for collection, keys in batch.keys.items():
            self._apply(collection, keys, batch.vectors)
        crashpoints.reach("index-batch-applied")
        self._records.done(batch)
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
            index.call(seconds, lambda one: one.delete(collection, gone))
        if present:
            matrix = decode([vectors[key] for key in present])
            index.call(seconds, lambda one: one.upsert(collection, present, matrix))
            # Chroma adds to its graph at the next query: made here, so that no user waits for it.
            index.call(seconds, lambda one: one.query(collection, matrix[0], 1))

    # Rebuilding ----------------------------------------------------------------------------

    def _rebuild(self) -> None:
        """Start an empty index in a new folder and queue every vector for it."""
        self._renewals.begin()
        self._discard()
        path = self._folder / f"{uuid.uuid4().hex[:12]}"
        self._records.enqueue_all(path.name)
        crashpoints.reach("index-rebuild-begun")
        self._remove_former()
        crashpoints.reach("index-old-removed")
        self._open(path)

    def _discard(self) -> None:
        index, self._index, self._path = self._index, None, None
        if index is not None:
            self._former.append(index)

    def _remove_former(self) -> None:
        """Close former indexes and remove their files; tell who waits when nothing is left."""
        self._former = [one for one in self._former if not self._is_closed(one)]
        present, left = self._named_folder(), 0
        for old in self._folder.iterdir() if self._folder.is_dir() else ():
            if old != present:
                shutil.rmtree(old, ignore_errors=True)
                left += old.exists()
        if not self._former and not left:
            self._renewals.end()

    def _is_closed(self, index: OpenIndex) -> bool:
        try:
            return index.close(2.0)
        except Exception as error:  # noqa: BLE001 - it is thrown away, however it ends
            log.debug("closing a damaged index: %r", error)
            return True

    def _close_and_seal(self, seconds: float) -> None:
        index, path = self._index, self._path
        assert index is not None and path is not None
        self._index = None
        try:
            self._files.check()
            if not index.close(seconds):
                raise DeadlineExceeded(f"calls still run after {seconds:g} s")
            seal.write(path, self._records.watermark())
            crashpoints.reach("index-sealed")
        except (IndexDamaged, DeadlineExceeded, OSError, MemOSError) as error:
            log.warning("vector index not sealed (%r): it is checked at next use", error)
