"""Branches: a what-if below a namespace, which is merged into it or dropped.

A branch begins as a copy of the memories (not of conversations and stores). Merging compares three
things, as version control does: a memory as it was copied, as it is in the branch, as it is above.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.cube import Behaviour, MemCube, Principal, State
from memos_integrations.errors import BranchConflictError, BranchNotFoundError
from memos_integrations.infrastructure import branching, moments, records, transitions
from memos_integrations.infrastructure.branching import Twin
from memos_integrations.infrastructure.lookups import Head, NamespaceRow, find_namespace
from memos_integrations.infrastructure.moments import Moment
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.operation.operator import MemOperator
from memos_integrations.operation.timemachine import Change

Prefer = Literal["branch", "main"]
"""Whose words stay where both sides have changed a memory."""

_LIVING = (State.GENERATED, State.ACTIVATED)


@dataclass(frozen=True)
class Branch:
    """A branch that is neither merged nor dropped."""

    name: str
    namespace: Namespace
    began: datetime


@dataclass(frozen=True)
class Conflict:
    """A memory that both sides have changed. Sides that deleted it have ``None``."""

    id: str
    was: MemCube
    main: MemCube | None
    branch: MemCube | None

    def __str__(self) -> str:
        return f"{self.id}: {_said(self.was)} became {_said(self.main)} and {_said(self.branch)}"


def path_of(main: Namespace, name: str) -> Namespace:
    """Where a branch is."""
    return (*main, f"branch:{name}")


class Branches:
    """The branches of namespaces. Thread-safe."""

    def __init__(self, vault: MemVault, operator: MemOperator) -> None:
        self._vault, self._operator = vault, operator

    def begin(self, main: Namespace, who: Principal, name: str) -> Namespace:
        """Copy what is there, if there is no such branch yet; return where."""
        path = path_of(main, name)
        activity = self._operator.activity("branch", who)

        def work(tx: sa.Connection) -> tuple[None, bool]:
            source, target = records.ensure_namespace(tx, main), records.ensure_namespace(tx, path)
            if moments.named(tx, target.pk, moments.BRANCH) is not None:
                return None, False
            pk = records.insert_activity(tx, target.pk, activity)
            kept = self._vault.kept(main)
            branching.copy_all(tx, source, path, target, pk, self._operator.new_id, kept)
            moments.name(tx, target.pk, Moment(activity.at, pk, moments.BRANCH))
            return None, self._vault.index_if_large(tx, path)

        self._vault.commit(work)
        return path

    def find(self, main: Namespace, name: str) -> Branch:
        """One branch. :class:`BranchNotFoundError`."""
        with self._vault.snapshot(path_of(main, name)) as view:
            namespace = view.namespace
            mark = moments.named(view.tx, namespace.pk, moments.BRANCH) if namespace else None
        if mark is None:
            raise _missing(name)
        return Branch(name, path_of(main, name), mark.at)

    def all(self, main: Namespace) -> list[Branch]:
        """Every branch, in the order of their beginnings."""
        prefix = path_of(main, "")
        with self._vault.snapshot(main) as view:
            marked = moments.with_name(view.tx, moments.BRANCH)
        return [
            Branch(path[-1].removeprefix(prefix[-1]), path, mark.at)
            for path, mark in marked
            if len(path) == len(prefix) and path[:-1] == main and path[-1].startswith(prefix[-1])
        ]

    def drop(self, main: Namespace, who: Principal, name: str) -> int:
        """Delete what is in a branch; return how many memories that were."""
        activity = self._operator.activity("drop_branch", who)

        def work(tx: sa.Connection) -> tuple[int, bool]:
            branch, _ = self._present(tx, main, name)
            return self._close(tx, branch, activity), branch.collection is not None

        return self._vault.commit(work)

    def merge(
        self, main: Namespace, who: Principal, name: str, prefer: Prefer | None
    ) -> list[Change]:
        """Bring what changed in a branch into the namespace, and end the branch; all or nothing."""
        activity = self._operator.activity("merge_branch", who)
        end = self._operator.activity("drop_branch", who)

        def work(tx: sa.Connection) -> tuple[list[Change], bool]:
            branch, began = self._present(tx, main, name)
            above = records.ensure_namespace(tx, main)
            twins = list(branching.twins(tx, branch, above, began.activity_pk))
            conflicts = [one for twin in twins if (one := _conflict(twin)) is not None]
            if conflicts and prefer is None:
                raise BranchConflictError(name, conflicts)
            kept = {one.id for one in conflicts if prefer == "main"}
            pk = records.insert_activity(tx, above.pk, activity)
            merger = _Merger(tx, main, above, pk, activity, self._operator)
            changes = [
                merger.bring(twin) for twin in twins if not (twin.was and twin.was.id in kept)
            ]
            self._close(tx, branch, end)
            self._vault.index_if_large(tx, main)
            return [one for one in changes if one is not None], True

        changes = self._vault.commit(work)
        self._vault.tell([change.id for change in changes])
        return changes

    def _present(
        self, tx: sa.Connection, main: Namespace, name: str
    ) -> tuple[NamespaceRow, Moment]:
        branch = find_namespace(tx, path_of(main, name))
        mark = moments.named(tx, branch.pk, moments.BRANCH) if branch else None
        if branch is None or mark is None:
            raise _missing(name)
        return branch, mark

    def _close(self, tx: sa.Connection, branch: NamespaceRow, activity: records.Activity) -> int:
        """End a branch, in an activity of its own: what a merge used, it does not end."""
        moments.forget(tx, branch.pk, moments.BRANCH)
        return branching.empty(tx, branch, records.insert_activity(tx, branch.pk, activity))


class _Merger:
    """Brings memories of a branch into the namespace above, in one activity."""

    def __init__(
        self,
        tx: sa.Connection,
        path: Namespace,
        above: NamespaceRow,
        activity_pk: int,
        activity: records.Activity,
        operator: MemOperator,
    ) -> None:
        self._tx, self._path, self._above = tx, path, above
        self._activity_pk, self._activity, self._operator = activity_pk, activity, operator

    def bring(self, twin: Twin) -> Change | None:
        """What became of the memory above; ``None`` if nothing did."""
        if twin.was is None:
            return self._added(twin)
        if not _changed_in_branch(twin):
            return None
        if twin.copy is None:
            return self._deleted(twin)
        return self._written(twin, twin.copy)

    def _added(self, twin: Twin) -> Change:
        assert twin.copy is not None
        behaviour = Behaviour(
            context_fingerprint=twin.copy.cube.header.behaviour.context_fingerprint
        )
        made = twin.copy.cube.model_copy(
            update={
                "id": self._operator.new_id(),
                "version": 1,
                "namespace": self._path,
                "header": twin.copy.cube.header.model_copy(update={"behaviour": behaviour}),
            }
        )
        [pk] = records.insert_rows(self._tx, self._above, self._activity_pk, [made])
        records.derive(self._tx, made.id, [twin.copy.version_pk])
        branching.copy_searchable(self._tx, twin.copy.cube_pk, self._above, pk, made)
        records.changed(self._tx, self._above, [pk], live=1, churn=0)
        return Change("added", None, made)

    def _deleted(self, twin: Twin) -> Change | None:
        if twin.origin is None:
            return None
        records.mark_deleted(self._tx, self._above, self._activity_pk, twin.origin)
        return Change("deleted", twin.origin.cube, None)

    def _written(self, twin: Twin, copy: Head) -> Change | None:
        head = twin.origin
        if head is None:  # deleted above, changed here, and the branch is preferred: it comes anew
            return self._added(Twin(copy, twin.first, None, None))
        before, after = head.cube, head.cube
        if _words(copy.cube) != _words(head.cube):
            after = _next(copy.cube, before, self._activity)
            records.insert_version(self._tx, self._activity_pk, head, after)
            branching.note_source(self._tx, head.cube_pk, copy.version_pk)
            fresh = Head(head.cube_pk, head.version_pk, after)
            branching.replace_searchable(
                self._tx, copy.cube_pk, self._above, [fresh], self._activity_pk
            )
        state = copy.cube.state
        if _fold(state) != _fold(before.state) and _fold(state) != _fold(twin.first.state):
            move = [(head.cube_pk, before.state, state)]
            transitions.move(self._tx, self._activity_pk, move, "merged from a branch")
            after = after.model_copy(update={"state": state})
        return None if after is before else Change("changed", before, after)


def _conflict(twin: Twin) -> Conflict | None:
    if twin.was is None or not _changed_in_branch(twin) or not _changed_above(twin):
        return None
    main = twin.origin.cube if twin.origin else None
    branch = twin.copy.cube if twin.copy else None
    same = main is None and branch is None
    if main is not None and branch is not None:
        same = _content(main) == _content(branch)
    return None if same else Conflict(twin.was.id, twin.was, main, branch)


def _changed_in_branch(twin: Twin) -> bool:
    return twin.copy is None or _content(twin.copy.cube) != _content(twin.first)


def _changed_above(twin: Twin) -> bool:
    # The first version in the branch has the state that the memory had when it was copied.
    return twin.origin is None or _content(twin.origin.cube) != _content(twin.first)


def _content(cube: MemCube) -> tuple[object, ...]:
    return (_fold(cube.state), *_words(cube))


def _words(cube: MemCube) -> tuple[object, ...]:
    """All but where it stands, when it was written and how it is used."""
    about = cube.header.descriptive.model_copy(update={"created_at": None})
    return cube.payload, about, cube.header.governance


def _fold(state: State) -> State:
    """The first use is no change."""
    return State.ACTIVATED if state in _LIVING else state


def _next(branch: MemCube, main: MemCube, activity: records.Activity) -> MemCube:
    """The words of the branch as the next version above."""
    fingerprint = branch.header.behaviour.context_fingerprint
    header = branch.header.model_copy(
        update={
            "descriptive": branch.header.descriptive.model_copy(update={"created_at": activity.at}),
            "behaviour": Behaviour(previous_version=main.version, context_fingerprint=fingerprint),
        }
    )
    return main.model_copy(
        update={"version": main.version + 1, "header": header, "payload": branch.payload}
    )


def _said(cube: MemCube | None) -> str:
    return "nothing (deleted)" if cube is None else repr(cube.text[:80])


def _missing(name: str) -> BranchNotFoundError:
    return BranchNotFoundError(f"no branch {name!r} here: see branches()")
