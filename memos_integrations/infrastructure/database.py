"""The SQLite database: pragmas, snapshots for readers, group commit for writers, typed errors."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from memos_integrations.errors import (
    MemOSError,
    NotAStoreError,
    StoreClosedError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreLockedError,
    StoreNotWritableError,
    StoreSchemaError,
)
from memos_integrations.infrastructure import crashpoints, schema

T = TypeVar("T")

_PRAGMAS = (
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA busy_timeout=10000",
    "PRAGMA cache_size=-32768",
    "PRAGMA temp_store=MEMORY",
)


class _Job(Generic[T]):
    """One unit of work that waits for its commit."""

    def __init__(self, work: Callable[[sa.Connection], T]) -> None:
        self.work = work
        self.done = False
        self.result: T
        self.error: BaseException | None = None


class _JobFailed(Exception):
    """Rolls back the transaction of a job that had it to itself."""


class Database:
    """One SQLite file in WAL mode. Thread-safe.

    :meth:`read` gives a snapshot. :meth:`write` runs a unit of work and returns once it is on
    disk (``synchronous=FULL``). Units that arrive while another commits share the next commit,
    each in a savepoint of its own: one that fails takes nothing with it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._queue: deque[_Job[Any]] = deque()
        self._writer = threading.Lock()
        self._closed = False
        self._engine = sa.create_engine(
            sa.URL.create("sqlite+pysqlite", database=str(path)),
            connect_args={"check_same_thread": False, "timeout": 10},
            pool_size=8,
            max_overflow=56,
        )
        sa.event.listen(self._engine, "connect", _prepare)
        sa.event.listen(self._engine, "begin", _begin)
        self._writing = self._engine.execution_options(memos_begin="BEGIN IMMEDIATE")
        self._open()

    def _open(self) -> None:
        new = not self.path.exists() or self.path.stat().st_size == 0
        if new:
            self._create_file()
        with translated(self.path):
            with self._engine.connect() as tx:
                revision = self._revision(tx)
                pragma = tx.exec_driver_sql("PRAGMA journal_mode").scalar()
            if pragma != "wal":
                self._create_file()
            if revision != schema.HEAD_REVISION:
                self._migrate(revision)

    def _create_file(self) -> None:
        """Set what must be set outside of a transaction: page size and WAL."""
        with translated(self.path):
            bare = sqlite3.connect(self.path)
            try:
                bare.execute("PRAGMA page_size=8192")
                bare.execute("PRAGMA journal_mode=WAL")
            finally:
                bare.close()

    def _revision(self, tx: sa.Connection) -> str | None:
        tables = set(tx.exec_driver_sql("SELECT name FROM sqlite_master").scalars())
        if not tables:
            return None  # a new file, or one whose maker died before its first commit
        if tx.exec_driver_sql("PRAGMA application_id").scalar() != schema.APPLICATION_ID:
            raise NotAStoreError(
                f"{self.path} is a database of another program: choose a new folder"
            )
        return str(tx.exec_driver_sql("SELECT version_num FROM alembic_version").scalar())

    def _migrate(self, revision: str | None) -> None:
        from alembic.config import Config
        from alembic.runtime.environment import EnvironmentContext
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        script = ScriptDirectory.from_config(config)
        if revision is not None and revision not in {r.revision for r in script.walk_revisions()}:
            raise StoreSchemaError(
                f"{self.path} has schema {revision}, this release knows up to "
                f"{schema.HEAD_REVISION}: upgrade memos-integrations to open it"
            )

        def upgrade(current: Any, _: object) -> Any:
            return script._upgrade_revs(schema.HEAD_REVISION, current)

        with self._writing.begin() as tx, EnvironmentContext(config, script, fn=upgrade):
            config.attributes["connection"] = tx
            script.run_env()
            tx.exec_driver_sql(f"PRAGMA application_id={schema.APPLICATION_ID}")
        crashpoints.reach("schema-created")

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection that sees one moment of the database."""
        self._check_open()
        with translated(self.path), self._engine.connect() as tx:
            # Begun here, not at SQLAlchemy's first statement: all that follows, also what goes
            # to the driver directly, sees this one moment.
            driver: Any = tx.connection.driver_connection
            driver.execute("BEGIN")
            yield tx

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Run ``work`` in a transaction and return its result once that is durable.

        Whatever ``work`` raises rolls its own changes back and is raised here. ``work`` may
        run in another thread that waits for the same commit, so it must not rely on
        thread-local state.
        """
        self._check_open()
        job = _Job(work)
        self._queue.append(job)
        with self._writer:
            if not job.done:  # otherwise the thread before us committed it along with its own
                self._commit_queue()
        if job.error is not None:
            raise job.error
        return job.result

    def _commit_queue(self) -> None:
        jobs = [self._queue.popleft() for _ in range(len(self._queue))]
        try:
            with translated(self.path), self._writing.begin() as tx:
                crashpoints.reach("write-begun")
                for job in jobs:
                    self._run(tx, job, alone=len(jobs) == 1)
                crashpoints.reach("before-commit")
            crashpoints.reach("after-commit")
        except _JobFailed:
            pass  # rolled back; its error is in the job
        except BaseException as error:  # whatever it was, each job must hear of it
            # The commit failed, so no job of it happened, whatever each thought.
            for job in jobs:
                job.error = job.error or _commit_failed(self.path, error)
            if not isinstance(error, MemOSError):
                raise
        finally:
            for job in jobs:
                job.done = True

    def _run(self, tx: sa.Connection, job: _Job[Any], *, alone: bool) -> None:
        if self._closed:
            job.error = _closed(self.path)
            return
        try:
            with translated(self.path), nullcontext() if alone else tx.begin_nested():
                job.result = job.work(tx)
        except (StoreFullError, StoreCorruptError) as error:
            job.error = error
            raise  # SQLite may have rolled the whole transaction back
        except BaseException as error:  # noqa: BLE001 - handed to the thread that asked
            job.error = error
            if alone:
                raise _JobFailed from None

    def compact(self, seconds: float = 10.0) -> None:
        """Rewrite the file without free pages and empty the log: what was deleted is nowhere.

        Takes the time of writing the whole file, and room for a second one. Writers wait
        meanwhile; readers that hold an older moment are waited for up to ``seconds``
        (:class:`StoreLockedError`).
        """
        with self._writer, translated(self.path):
            self._check_open()
            bare = sqlite3.connect(self.path, timeout=seconds, isolation_level=None)
            try:
                bare.execute("VACUUM")
                busy, *_ = bare.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                bare.close()
        if busy:
            raise StoreLockedError(f"{self.path}: a reader kept the log from being emptied")

    def _check_open(self) -> None:
        if self._closed:
            raise _closed(self.path)

    def close(self) -> None:
        """Finish the commit under way, fold the log into the file, close every connection."""
        with self._writer:
            if self._closed:
                return
            self._closed = True
            self._engine.dispose()
            try:
                with translated(self.path):
                    bare = sqlite3.connect(self.path, timeout=1)
                    try:
                        bare.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                    finally:
                        bare.close()
            except (StoreFullError, StoreLockedError):
                pass  # the log is folded in at the next opening


def _closed(path: Path) -> StoreClosedError:
    return StoreClosedError(f"{path.parent} was closed: open it again with MemOS.open()")


def _commit_failed(path: Path, error: BaseException) -> MemOSError:
    if isinstance(error, MemOSError):
        return error
    return StoreError(f"{path}: the commit was interrupted by {error!r}: nothing was written")


def _prepare(connection: Any, _: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see _begin
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _begin(connection: sa.Connection) -> None:
    driver: Any = connection.connection.driver_connection
    if driver.in_transaction:
        return  # begun by Database.read
    connection.exec_driver_sql(connection.get_execution_options().get("memos_begin", "BEGIN"))


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into the errors of this package."""
    try:
        yield
    except sa.exc.TimeoutError as error:
        raise StoreLockedError(
            f"{path}: no free connection: too many threads read at once"
        ) from error
    except sa.exc.DBAPIError as error:
        if not isinstance(error.orig, sqlite3.Error):
            raise
        raise _typed(path, error.orig) from error
    except sqlite3.Error as error:
        raise _typed(path, error) from error


def _typed(path: Path, error: sqlite3.Error) -> StoreError:
    name = getattr(error, "sqlite_errorname", None) or ""
    if name == "SQLITE_FULL" or name in _NO_SPACE:
        return StoreFullError(
            f"{path}: no space left, or a file size limit was reached. Nothing of this call was "
            "written; what was stored before can be read. Free some space and try again"
        )
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return StoreCorruptError(f"{path} is damaged ({error}): restore it from a copy")
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return StoreNotWritableError(f"{path} cannot be written by user {os.geteuid()} ({error})")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreLockedError(f"{path} is locked by another program ({error})")
    return StoreError(f"{path}: {name or type(error).__name__}: {error}")


_NO_SPACE = frozenset(
    f"SQLITE_IOERR_{part}"
    for part in ("WRITE", "FSYNC", "TRUNCATE", "SHMSIZE", "SHMOPEN", "SHMMAP")
)
