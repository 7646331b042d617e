"""Writing memories under keys. Every function takes the transaction it works in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.cube import MemCube
from memos_integrations.infrastructure import keyed, lookups, records, retention
from memos_integrations.infrastructure.lookups import Head, NamespaceRow
from memos_integrations.infrastructure.records import Activity, Parts
from memos_integrations.infrastructure.retention import RetentionRules
from memos_integrations.infrastructure.schema import cubes, embeddings
from memos_integrations.keyed import KeyedDraft

NewActivity = Callable[[str], Activity]
"""A verb of the principal who writes."""
Build = Callable[[KeyedDraft, MemCube | None, Activity], MemCube]
"""The next version of what stands under a key, or its first."""


class Shelving:
    """The writes of one call, in one transaction: one activity a verb and namespace."""

    def __init__(
        self,
        tx: sa.Connection,
        shelf: str,
        now: datetime,
        activity: NewActivity,
        build: Build,
        rules: RetentionRules,
    ) -> None:
        self._rules = rules
        self._tx, self._shelf, self._now = tx, shelf, now
        self._new_activity, self._build = activity, build
        self._activities: dict[tuple[int, str], tuple[int, Activity]] = {}
        self.changed: list[str] = []
        """Ids of memories that are not any more what they were."""

    def put(self, wanted: KeyedDraft, parts: Parts) -> None:
        """Write what is to stand under a key: its next version, or a first one."""
        head = None if wanted.new else self._before(wanted)
        namespace = records.ensure_namespace(self._tx, wanted.namespace)
        activity_pk, activity = self._activity(namespace, "put")
        cube = self._build(wanted, head.cube if head else None, activity)
        if head is None:
            cube_pk = records.insert_rows(self._tx, namespace, activity_pk, [cube])[0]
        else:
            cube_pk = head.cube_pk
            self.changed.append(head.cube.id)
            records.insert_version(self._tx, activity_pk, head, cube)
            records.remove_searchable(self._tx, cube_pk, activity_pk)
        if len(parts.spans):
            records.set_searchable(self._tx, namespace, [(cube_pk, cube)], parts.vectors[:1])
            records.set_parts(self._tx, namespace, cube_pk, parts)
        first = head is None
        records.changed(self._tx, namespace, [cube_pk], live=int(first), churn=int(not first))
        keyed.bind(self._tx, namespace.pk, self._shelf, wanted.key, cube_pk, wanted.ttl)

    def remove(self, wanted: KeyedDraft) -> None:
        """Take away what stands under a key; nothing there is no error."""
        head = self._before(wanted)
        if head is not None and wanted.release and self._is_searched(head):
            keyed.unbind(self._tx, head.cube_pk)
        elif head is not None:
            self._delete(records.ensure_namespace(self._tx, wanted.namespace), head, "delete")

    def _is_searched(self, head: Head) -> bool:
        query = sa.select(embeddings.c.cube_pk).where(embeddings.c.cube_pk == head.cube_pk)
        return self._tx.execute(query).first() is not None

    def expire(self, namespace: NamespaceRow, head: Head) -> None:
        """Take away what has outlived its time; what is under a legal hold loses its key alone."""
        if retention.held_among(self._tx, self._rules, [head.cube_pk]):
            keyed.unbind(self._tx, head.cube_pk)
            return
        self._delete(namespace, head, "expire")

    def _before(self, wanted: KeyedDraft) -> Head | None:
        """What stands under the key; what has expired there is taken away first."""
        found = keyed.find_any(self._tx, wanted.namespace, self._shelf, wanted.key)
        if found is None:
            return None
        namespace, head = found
        alive = sa.select(cubes.c.pk).where(cubes.c.pk == head.cube_pk, *keyed.alive(self._now))
        if self._tx.execute(alive).first() is not None:
            return head
        present = sa.select(cubes.c.pk).where(
            cubes.c.pk == head.cube_pk, cubes.c.deleted_by.is_(None)
        )
        if self._tx.execute(present).first() is not None:
            self.expire(namespace, head)
        return None

    def _delete(self, namespace: NamespaceRow, head: Head, verb: str) -> None:
        activity_pk, _ = self._activity(namespace, verb)
        self.changed.append(head.cube.id)
        records.mark_deleted(self._tx, namespace, activity_pk, head)

    def _activity(self, namespace: NamespaceRow, verb: str) -> tuple[int, Activity]:
        known = self._activities.get((namespace.pk, verb))
        if known is None:
            activity = self._new_activity(verb)
            known = records.insert_activity(self._tx, namespace.pk, activity), activity
            self._activities[namespace.pk, verb] = known
        return known


def sweep(
    tx: sa.Connection,
    root: Namespace,
    shelf: str,
    now: datetime,
    activity: NewActivity,
    limit: int,
    rules: RetentionRules,
) -> list[str]:
    """Take away up to ``limit`` memories whose time is over; return their ids."""
    over = keyed.expired(tx, root, shelf, now, limit)
    shelving = Shelving(tx, shelf, now, activity, _no_build, rules)
    for namespace, cube_id in over:
        head = lookups.head(tx, namespace.pk, cube_id)
        if head is not None:
            shelving.expire(namespace, head)
    return [cube_id for _, cube_id in over]


def _no_build(wanted: KeyedDraft, before: MemCube | None, activity: Activity) -> MemCube:
    raise AssertionError("a sweep writes no memory")


def write(shelving: Shelving, wanted: Sequence[tuple[KeyedDraft, Parts]]) -> None:
    """All of a call's writes, in order."""
    for one, parts in wanted:
        if one.draft is None:
            shelving.remove(one)
        else:
            shelving.put(one, parts)
