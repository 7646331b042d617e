"""MemVault: one unit of work over records, vectors and blobs, and one gate for every read.

Writes go to SQL in one transaction; the vector index follows. Reads take a snapshot: whatever
an index answers is checked there again before it is used.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Self, TypeVar

import sqlalchemy as sa

from memos_integrations.cube import MemCube, Namespace, State
from memos_integrations.errors import (
    CubeNotFoundError,
    EmbedderMismatchError,
    FrozenCubeError,
    IdempotencyConflictError,
    InvalidInputError,
    MemOSError,
    NotAStoreError,
    StoreNotWritableError,
    VersionConflictError,
)
from memos_integrations.infrastructure import (
    audit,
    crashpoints,
    derivations,
    governance,
    lookups,
    quarantine,
    readings,
    records,
    retention,
    subscribed,
    transitions,
)
from memos_integrations.infrastructure.access import (
    Asker,
)
from memos_integrations.infrastructure.blobs import FsspecBlobs
from memos_integrations.infrastructure.database import Database
from memos_integrations.infrastructure.derivations import Made, Reading
from memos_integrations.infrastructure.former_vectors import FormerVectors
from memos_integrations.infrastructure.index_keeper import IndexKeeper, IndexPolicy
from memos_integrations.infrastructure.lookups import Head, NamespaceRow
from memos_integrations.infrastructure.ownership import Ownership
from memos_integrations.infrastructure.placements import Placements
from memos_integrations.infrastructure.readable import DATABASE, Readable
from memos_integrations.infrastructure.records import Activity
from memos_integrations.infrastructure.schema import namespaces, settings
from memos_integrations.infrastructure.spaces import read_spaces
from memos_integrations.infrastructure.units import Shared, Writer
from memos_integrations.infrastructure.usage import UsageCounters
from memos_integrations.infrastructure.vectors import ChromaIndex
from memos_integrations.protocols import Clock, EmbedderFingerprint, VectorIndex, Vectors

log = logging.getLogger(__name__)

T = TypeVar("T")

Also = Callable[[sa.Connection], object]
"""What is done in the same transaction."""

_OURS = {"lock", "owner.json", "index", "blobs"}


FLUSH_EVERY = 1.0
"""Seconds between commits that also write what is counted in memory."""


class MemVault(Readable):
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

    @property
    def embedder(self) -> EmbedderFingerprint | None:
        """The embedder that the stored vectors come from; ``None`` while there are none."""
        return self._shared.fingerprint

    def embedder_is(self, fingerprint: EmbedderFingerprint) -> None:
        """Vectors of this embedder have been committed."""
        self._shared.fingerprint = self._shared.fingerprint or fingerprint

    def bind_embedder(self, fingerprint: EmbedderFingerprint) -> None:
        """Check that vectors of this embedder fit the store."""
        stored = self._shared.fingerprint
        if stored is None or stored == fingerprint:
            return
        mend = f"run `memcube reindex --path {self.folder}` to rebuild the vectors"
        if stored == replace(fingerprint, form=stored.form):
            raise EmbedderMismatchError(
                f"the memories of {self.folder} were embedded in the form {stored.form} of another "
                f"version; this one embeds them in the form {fingerprint.form}: {mend}"
            )
        raise EmbedderMismatchError(
            f"{self.folder} was written with the embedder {stored}, and was opened with "
            f"{fingerprint}: their vectors cannot be compared. Open it with the first one, or "
            f"{mend}"
        )

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

    # Writing ------------------------------------------------------------------------------

    def add(
        self,
        path: Namespace,
        activity: Activity,
        new: Sequence[MemCube],
        vectors: Vectors,
        fingerprint: EmbedderFingerprint,
        *,
        also: Also | None = None,
    ) -> list[MemCube]:
        """Write new cubes; with a used idempotency key, return what that call wrote.

        ``vectors``: float32, ``(len(new), dimension)``, unit length.
        """

        def work(tx: sa.Connection) -> tuple[list[MemCube], bool]:
            namespace = records.ensure_namespace(tx, path)
            if activity.idempotency_key is not None:
                keyed = lookups.find_keyed(tx, namespace.pk, activity.idempotency_key)
                if keyed is not None:
                    return _same(activity, keyed[1], lookups.generated_by(tx, keyed[0])), False
            self.remember_embedder(tx, fingerprint)
            activity_pk = records.insert_activity(tx, namespace.pk, activity)
            records.insert_cubes(tx, namespace, activity_pk, new, vectors)
            if also is not None:
                also(tx)
            return list(new), self.index_if_large(tx, path)

        written = self.commit(work)
        self.embedder_is(fingerprint)
        return written

    def replay(self, path: Namespace, activity: Activity) -> list[MemCube] | None:
        """What an earlier call with this idempotency key wrote, if there was one."""
        with self.snapshot(path) as view:
            if view.namespace is None or activity.idempotency_key is None:
                return None
            keyed = lookups.find_keyed(view.tx, view.namespace.pk, activity.idempotency_key)
            if keyed is None:
                return None
            return _same(activity, keyed[1], lookups.generated_by(view.tx, keyed[0]))

    def revise(
        self,
        path: Namespace,
        activity: Activity,
        before: MemCube,
        after: MemCube,
        vector: Vectors | None,
        *,
        also: Also | None = None,
    ) -> MemCube:
        """Write ``after`` as the version that follows ``before``.

        :class:`VersionConflictError` if another version came between.
        """

        def work(tx: sa.Connection) -> tuple[MemCube, bool]:
            namespace, head = self._as_read(tx, path, before)
            _thawed(head.cube)
            activity_pk = records.insert_activity(tx, namespace.pk, activity)
            records.insert_revision(tx, namespace, activity_pk, head, after, vector)
            if also is not None:
                also(tx)
            return after, namespace.collection is not None

        revised = self.commit(work)
        self.tell([after.id])
        return revised

    def derive(
        self,
        path: Namespace,
        activity: Activity,
        cube: MemCube,
        vectors: Vectors,
        fingerprint: EmbedderFingerprint,
        sources: Sequence[MemCube],
        after: Callable[[MemCube], State] | None,
        *,
        also: Also | None = None,
    ) -> MemCube:
        """Write a new cube that comes from others, as they were read; all or nothing.

        ``vectors``: float32, ``(1, dimension)``. ``after``: the states that the sources take on.
        :class:`VersionConflictError` if one of them has changed since.
        """

        def work(tx: sa.Connection) -> tuple[None, bool]:
            self._flush(tx)
            heads = [self._as_read(tx, path, source)[1] for source in sources]
            namespace = records.ensure_namespace(tx, path)
            self.remember_embedder(tx, fingerprint)
            activity_pk = records.insert_activity(tx, namespace.pk, activity)
            records.insert_cubes(tx, namespace, activity_pk, [cube], vectors)
            records.derive(tx, cube.id, [head.version_pk for head in heads])
            quarantine.inherit(tx, cube.id, [source.id for source in sources])
            if also is not None:
                also(tx)
            if after is not None:
                moves = [(head.cube_pk, head.cube.state, after(head.cube)) for head in heads]
                transitions.move(tx, activity_pk, moves, f"merged into {cube.id}")
            return None, self.index_if_large(tx, path)

        self.commit(work)
        self.embedder_is(fingerprint)
        self.tell([source.id for source in sources] if after is not None else [])
        return cube

    def derive_read(
        self,
        path: Namespace,
        activity: Activity,
        made: Sequence[Made],
        vectors: Vectors,
        fingerprint: EmbedderFingerprint,
        *,
        turns: Sequence[MemCube],
        reader: str,
        beside: Callable[[Collection[str]], Also | None],
    ) -> Reading:
        """Write what a reader made of turns, and that it has read them; in one transaction.

        ``vectors``: float32, ``(len(made), dimension)``. Left out is what was made of a turn that
        has changed meanwhile, or is known already. ``beside``: what stands beside new memories.
        """

        def work(tx: sa.Connection) -> tuple[Reading, bool]:
            namespace = records.ensure_namespace(tx, path)
            pks = self._unchanged(tx, path, turns)
            places = derivations.fresh(tx, namespace, reader, made, pks)
            kept, marked = [made[place] for place in places], set(pks.values())
            ids = tuple(one.cube.id for one in kept)
            if kept:
                self.remember_embedder(tx, fingerprint)
                marked |= {*derivations.write(tx, namespace, activity, kept, vectors[places], pks)}
                also = beside(ids)
                if also is not None:
                    also(tx)
            readings.mark(tx, namespace.pk, reader, marked)
            changed = tuple(turn.id for turn in turns if turn.id not in pks)
            return Reading(ids, changed), self.index_if_large(tx, path)

        reading = self.commit(work)
        if reading.written:
            self.embedder_is(fingerprint)
        return reading

    def _unchanged(
        self, tx: sa.Connection, path: Namespace, seen: Sequence[MemCube]
    ) -> dict[str, int]:
        """By id: the keys of those versions that are still the current ones."""
        found: dict[str, int] = {}
        for one in seen:
            with contextlib.suppress(CubeNotFoundError, VersionConflictError):
                found[one.id] = self._as_read(tx, path, one)[1].version_pk
        return found

    def delete(self, path: Namespace, activity: Activity, cube_id: str) -> None:
        """Take a cube out of every read but its history."""

        def work(tx: sa.Connection) -> tuple[None, bool]:
            namespace, head = self._present(tx, path, cube_id)
            _thawed(head.cube)
            activity_pk = records.insert_activity(tx, namespace.pk, activity)
            records.mark_deleted(tx, namespace, activity_pk, head)
            return None, namespace.collection is not None

        self.commit(work)
        self.tell([cube_id])

    def transition(
        self,
        path: Namespace,
        activity: Activity,
        cube_ids: Sequence[str],
        after: Callable[[MemCube], State],
        reason: str,
        lifespan: datetime | None = None,
        also: Also | None = None,
    ) -> list[MemCube]:
        """Change the states of cubes, all or none; ``after`` says to which, or raises.

        ``lifespan``: the new end of their lives. ``also`` is done in the same transaction.
        """

        def work(tx: sa.Connection) -> tuple[list[str], bool]:
            self._flush(tx)  # a use that was counted in memory may have activated it
            heads = [self._present(tx, path, one) for one in cube_ids]
            found = {head.cube_pk: head.cube for _, head in heads}
            subscribed.refuse_change(tx, found)
            activity_pk = records.insert_activity(tx, heads[0][0].pk, activity)
            moves = [(pk, cube.state, after(cube)) for pk, cube in found.items()]
            transitions.move(tx, activity_pk, [m for m in moves if m[1] != m[2]], reason)
            if lifespan is not None:
                records.prolong(tx, list(found), lifespan)
            if also is not None:
                also(tx)
            return [cube.id for cube in found.values()], False

        changed = self.commit(work)
        self.tell(changed)
        with self.snapshot(path) as view:
            return [head.cube for one in changed if (head := view.head(one)) is not None]

    def commit(self, work: Callable[[sa.Connection], tuple[T, bool]]) -> T:
        """Do ``work`` in one transaction; it returns its result and whether the index follows."""
        self._owner.check()
        told = False

        def with_counters(tx: sa.Connection) -> tuple[T, bool]:
            nonlocal told
            governance.begin(tx)
            outcome = work(tx)
            governance.check(tx, self.rules, self._clock.now(), self.spaces)
            retention.check(tx, self.retention, self.rules, self._clock.now())
            told = bool(audit.noted(tx))
            if time.monotonic() >= self._shared.flush_due:
                self._flush(tx)
            return outcome

        result, index_follows = self._writer.write(self._database, with_counters)
        if told and (call := audit.CALL.get()) is not None:
            call.wrote = True
        if index_follows:
            self._keeper.notify()
        return result

    def _present(
        self, tx: sa.Connection, path: Namespace, cube_id: str
    ) -> tuple[NamespaceRow, Head]:
        """A cube that is there, and may be read by who looks."""
        namespace = lookups.find_namespace(tx, path)
        head = lookups.head(tx, namespace.pk, cube_id) if namespace else None
        if namespace is None or head is None or self.sight().of(path).why(head.cube) is None:
            raise CubeNotFoundError(f"no memory {cube_id} in namespace {'/'.join(path)}")
        return namespace, head

    def _as_read(
        self, tx: sa.Connection, path: Namespace, seen: MemCube
    ) -> tuple[NamespaceRow, Head]:
        """The current version, if it is the one that was seen."""
        namespace, head = self._present(tx, path, seen.id)
        if head.cube.version != seen.version:
            raise VersionConflictError(seen.id, expected=seen.version, actual=head.cube.version)
        return namespace, head

    def watch(self, changed: Callable[[Collection[str]], object]) -> None:
        """Call ``changed`` with the ids of memories right after each commit that changed them."""
        self._watchers.append(changed)

    def watch_erasures(self, erased: Callable[[Collection[str]], object]) -> None:
        """Call ``erased`` with the ids of memories right after each commit that erased them."""
        self._mourners.append(erased)

    def watch_cleaning(self, clean: Callable[[Collection[str]], object]) -> None:
        """Call ``clean`` with the ids of erased memories when their bytes are taken out of files.

        It raises a :class:`MemOSError` if it cannot: then the erasure is not finished.
        """
        self._cleaners.append(clean)

    def clean_elsewhere(self, cube_ids: Collection[str]) -> None:
        """Take what was made of erased memories out of what lies outside of this folder."""
        for clean in self._cleaners:
            clean(cube_ids)

    def tell_erased(self, cube_ids: Collection[str]) -> None:
        """These memories were erased: what is kept of them in memory goes, too."""
        self._former.clear()
        for erased in self._mourners if cube_ids else ():
            erased(cube_ids)
        self.tell(cube_ids)

    def tell(self, cube_ids: Collection[str]) -> None:
        """These memories have changed."""
        for changed in self._watchers if cube_ids else ():
            changed(cube_ids)

    def remember_embedder(self, tx: sa.Connection, fingerprint: EmbedderFingerprint) -> None:
        """Write down whose vectors these are, with the first of them."""
        if self._shared.fingerprint is None:
            stored = tx.execute(
                sa.select(settings.c.value).where(settings.c.key == "embedder")
            ).scalar()
            if stored is None:
                tx.execute(
                    sa.insert(settings).values(key="embedder", value=fingerprint_json(fingerprint))
                )

    def index_if_large(self, tx: sa.Connection, path: Namespace) -> bool:
        """Give a namespace that has grown a vector index; whether it has one."""
        namespace = lookups.find_namespace(tx, path)
        assert namespace is not None
        if namespace.collection is None and namespace.live >= self._policy.exact_below:
            records.index_namespace(tx, namespace)
            return True
        return namespace.collection is not None

    def record_uses(self, cube_pks: Sequence[int]) -> None:
        """Count a recall of each; written with a later commit, or when there are many."""
        if self.usage.record(cube_pks, self._clock.now()):
            self._flush_alone()

    def record_placements(self, shown: Sequence[MemCube], prompt: str) -> None:
        """Note which memories stood in a prompt; written with a later commit, or when many."""
        sight = self.sight()
        shown = [cube for cube in shown if sight.of(cube.namespace).why(cube) is not None]
        if self.placements.note(shown, prompt, self._clock.now()):
            self._flush_alone()

    def _flush(self, tx: sa.Connection) -> None:
        self._writer.counters(tx)
        self._shared.flush_due = time.monotonic() + FLUSH_EVERY

    def flush_counters(self) -> None:
        """Write what was counted in memory, and what was read into the audit log."""
        self._writer.write(self._database, self._flush)

    def _flush_alone(self) -> None:
        try:
            self.flush_counters()
        except MemOSError as error:  # a search does not fail because its count cannot be written
            log.warning("counters of use are kept in memory: %s", error)

    def wait_for_index(self, seconds: float = 60.0) -> bool:
        """Wait until the vector index holds all that is committed; searches need not wait."""
        return self._keeper.wait(seconds)

    @property
    def index_state(self) -> str:
        """See :attr:`IndexKeeper.state`."""
        return self._keeper.state

    @property
    def index_trouble(self) -> str:
        """Why the index was rebuilt since this store was opened; empty if it was not."""
        return self._keeper.trouble

    def audit_index(self) -> str:
        """Compare the index with the records, ids and vectors; empty if they are equal."""
        return self._keeper.audit()

    def rebuild_index(self, seconds: float) -> bool:
        """Throw the index away and make it anew; ``False`` if it took longer than ``seconds``."""
        self._keeper.suspect("a rebuild was asked for")
        return self._keeper.wait(seconds)

    def renew_index(self, seconds: float) -> bool:
        """Let go of every file of the index and make it anew; ``True`` once they are gone."""
        return self._keeper.renew(seconds)

    @property
    def database(self) -> Database:
        """The records, for maintenance: reindexing and examination."""
        return self._database


def fingerprint_json(fingerprint: EmbedderFingerprint) -> str:
    """A fingerprint as the store keeps it."""
    return json.dumps(asdict(fingerprint))


def _close(writer: Writer, keeper: IndexKeeper, database: Database, owner: Ownership) -> None:
    if not owner.is_here:
        return  # a fork ends; its parent still uses the store
    with contextlib.suppress(MemOSError):  # counters may be lost, closing must go on
        writer.write(database, writer.counters)
    keeper.close()
    database.close()
    owner.release()


def _thawed(cube: MemCube) -> None:
    if cube.state is State.FROZEN:
        raise FrozenCubeError(f"memory {cube.id} is frozen: it can be read, not changed")


def _same(activity: Activity, digest: str | None, cubes: list[MemCube]) -> list[MemCube]:
    if digest not in (activity.digest, None):  # None: a part of what it wrote was erased
        raise IdempotencyConflictError(
            f"the idempotency key {activity.idempotency_key!r} was used before with other content: "
            "use a new key for new content"
        )
    return cubes


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
