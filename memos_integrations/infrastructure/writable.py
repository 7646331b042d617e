"""Writing to a store: a verb is one transaction, checked against the rules before it commits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.cube import MemCube, State
from memos_integrations.errors import (
    CubeNotFoundError,
    FrozenCubeError,
    IdempotencyConflictError,
    VersionConflictError,
)
from memos_integrations.infrastructure import (
    audit,
    governance,
    lookups,
    records,
    retention,
    subscribed,
    transitions,
)
from memos_integrations.infrastructure.embedded import Embedded
from memos_integrations.infrastructure.lookups import Head, NamespaceRow
from memos_integrations.infrastructure.records import Activity
from memos_integrations.infrastructure.upkept import Upkept
from memos_integrations.infrastructure.watched import Watched
from memos_integrations.protocols import EmbedderFingerprint, Vectors

T = TypeVar("T")

Also = Callable[[sa.Connection], object]
"""What is done in the same transaction."""


class Writable(Upkept, Embedded, Watched):
    """What is written to a store; a part of :class:`MemVault`."""

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
            thawed(head)
            activity_pk = records.insert_activity(tx, namespace.pk, activity)
            records.insert_revision(tx, namespace, activity_pk, head, after, vector)
            if also is not None:
                also(tx)
            return after, namespace.collection is not None

        revised = self.commit(work)
        self.tell([after.id])
        return revised

    def delete(self, path: Namespace, activity: Activity, cube_id: str) -> None:
        """Take a cube out of every read but its history."""

        def work(tx: sa.Connection) -> tuple[None, bool]:
            namespace, head = self._present(tx, path, cube_id)
            thawed(head)
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


def thawed(head: Head) -> Head:
    """The same, unless it is frozen (:class:`FrozenCubeError`)."""
    if head.cube.state is State.FROZEN:
        raise FrozenCubeError(f"memory {head.cube.id} is frozen: it can be read, not changed")
    return head


def _same(activity: Activity, digest: str | None, cubes: list[MemCube]) -> list[MemCube]:
    if digest not in (activity.digest, None):  # None: a part of what it wrote was erased
        raise IdempotencyConflictError(
            f"the idempotency key {activity.idempotency_key!r} was used before with other content: "
            "use a new key for new content"
        )
    return cubes
