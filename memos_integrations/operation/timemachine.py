"""The time machine: any moment of a namespace can be read, named, compared and returned to.

Nothing is copied to make that possible, and no history is rewritten: versions, deletions and
changes of state are activities in one order, and a moment is a place in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Literal

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.cube import MemCube, Principal, State
from memos_integrations.errors import (
    CubeNotFoundError,
    FrozenCubeError,
    InvalidInputError,
    MomentNotFoundError,
)
from memos_integrations.infrastructure import moments, records
from memos_integrations.infrastructure.lookups import NamespaceRow, find_namespace
from memos_integrations.infrastructure.moments import Moment
from memos_integrations.infrastructure.past_writes import Return, write_returns
from memos_integrations.infrastructure.snapshot import Snapshot
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.memories.plaintext import embedding_text
from memos_integrations.models.checked import embed_checked
from memos_integrations.operation.operator import MemOperator
from memos_integrations.protocols import Clock

PAGE = 1_000
"""Memories compared at a time."""

When = datetime | str | Moment
"""A time, the name of a snapshot, or a moment."""

Kind = Literal["added", "changed", "deleted"]


@dataclass(frozen=True)
class Change:
    """What became of one memory between two moments."""

    kind: Kind
    before: MemCube | None
    after: MemCube | None

    @property
    def id(self) -> str:
        """The memory's."""
        cube = self.after or self.before
        assert cube is not None
        return cube.id


class TimeMachine:
    """Moments, and ways back. Thread-safe."""

    def __init__(self, vault: MemVault, operator: MemOperator, *, clock: Clock) -> None:
        self._vault, self._operator, self._clock = vault, operator, clock

    def view(self, path: Namespace, when: When) -> AbstractContextManager[Snapshot]:
        """A namespace as it was."""
        return self._vault.snapshot_at(path, partial(self.moment, when))

    def moment(self, when: When, tx: sa.Connection, namespace: NamespaceRow | None) -> Moment:
        """Which moment ``when`` is. :class:`MomentNotFoundError` for an unknown name."""
        if isinstance(when, Moment):
            return when
        if isinstance(when, datetime):
            return moments.at(tx, when)
        found = moments.named(tx, namespace.pk, when) if namespace is not None else None
        if found is None:
            raise MomentNotFoundError(f"no snapshot {when!r} here: see snapshots()")
        return found

    def resolve(self, path: Namespace, when: When) -> Moment:
        """The moment, so that it stays the same however long it is used."""
        with self._vault.snapshot(path) as view:
            return self.moment(when, view.tx, view.namespace)

    def name(self, path: Namespace, who: Principal, name: str) -> Moment:
        """Keep the present moment under a name."""
        activity = self._operator.activity("snapshot", who)

        def work(tx: sa.Connection) -> tuple[Moment, bool]:
            namespace = records.ensure_namespace(tx, path)
            if moments.named(tx, namespace.pk, name) is not None:
                raise InvalidInputError(f"there is a snapshot {name!r} already: take another name")
            pk = records.insert_activity(tx, namespace.pk, activity)
            moment = Moment(activity.at, pk, name)
            moments.name(tx, namespace.pk, moment)
            return moment, False

        return self._vault.commit(work)

    def forget(self, path: Namespace, name: str) -> None:
        """Forget a name; the history stays."""

        def work(tx: sa.Connection) -> tuple[bool, bool]:
            namespace = find_namespace(tx, path)
            return namespace is not None and moments.forget(tx, namespace.pk, name), False

        if not self._vault.commit(work):
            raise MomentNotFoundError(f"no snapshot {name!r} here: see snapshots()")

    def named(self, path: Namespace) -> list[Moment]:
        """Every snapshot, oldest first."""
        with self._vault.snapshot(path) as view:
            return [] if view.namespace is None else moments.all_named(view.tx, view.namespace.pk)

    def diff(self, path: Namespace, before: When, after: When | None = None) -> list[Change]:
        """What changed between two moments, in the order in which memories were made.

        A memory has changed when its words, its state or another field have.
        """
        with self.view(path, before) as old:
            then = _everything(old)
        with self._vault.snapshot(path) if after is None else self.view(path, after) as new:
            now = _everything(new)
        changes = []
        for id in sorted({*then, *now}):
            one, other = then.get(id), now.get(id)
            if one is None:
                changes.append(Change("added", None, other))
            elif other is None:
                changes.append(Change("deleted", one, None))
            elif _content(one) != _content(other):
                changes.append(Change("changed", one, other))
        return changes

    def rollback(
        self, path: Namespace, who: Principal, when: When, cube_ids: Sequence[str] | None = None
    ) -> list[Change]:
        """Make memories say what they said at a moment, by new versions that say so.

        Of the whole namespace if no ids are given: what was added since is deleted, what was
        deleted comes back. All or nothing. Returns what changed.
        """
        moment = self.resolve(path, when)
        changes = self.diff(path, moment)
        if cube_ids is not None:
            self._check_present(path, cube_ids)
            changes = [change for change in changes if change.id in set(cube_ids)]
        frozen = [one for one in changes if one.after and one.after.state is State.FROZEN]
        if frozen and cube_ids is not None:
            raise FrozenCubeError(f"memory {frozen[0].id} is frozen: unfreeze it first")
        back = [Change(_OPPOSITE[c.kind], c.after, c.before) for c in changes if c not in frozen]
        if not back:
            return []
        again = [one.after for one in back if one.after is not None]
        vectors = embed_checked(self._operator.embedder, [embedding_text(one) for one in again])
        by_id = {cube.id: vector for cube, vector in zip(again, vectors, strict=True)}
        activity = self._operator.activity("rollback", who)
        returns = [Return(one.id, one.before, one.after, by_id.get(one.id)) for one in back]
        self._vault.commit(partial(write_returns, path=path, activity=activity, returns=returns))
        self._vault.tell([one.id for one in back])
        return back

    def _check_present(self, path: Namespace, cube_ids: Sequence[str]) -> None:
        with self._vault.snapshot(path) as view:
            for one in cube_ids:
                if view.head(one, deleted=True) is None:
                    raise CubeNotFoundError(f"no memory {one} in namespace {'/'.join(path)}")


_OPPOSITE: dict[Kind, Kind] = {"added": "deleted", "deleted": "added", "changed": "changed"}


def _everything(view: Snapshot) -> dict[str, MemCube]:
    found: dict[str, MemCube] = {}
    after: str | None = None
    while page := view.page((), PAGE, after):
        found.update((cube.id, cube) for cube in page)
        after = page[-1].id
    return found


def _content(cube: MemCube) -> tuple[object, ...]:
    """What two versions are compared by: all but when they were written and how they are used."""
    state = State.ACTIVATED if cube.state is State.GENERATED else cube.state
    about = cube.header.descriptive.model_copy(update={"created_at": None})
    return state, cube.payload, about, cube.header.governance
