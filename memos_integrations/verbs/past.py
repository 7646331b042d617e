"""What a session can do with time: read a moment, name it, compare, go back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from memos_integrations.checks import Namespace, check_id, check_text, check_time
from memos_integrations.cube import Principal
from memos_integrations.errors import InvalidInputError
from memos_integrations.infrastructure.moments import Moment
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.offload import offload
from memos_integrations.operation.timemachine import Change, TimeMachine, When


class PastVerbs:
    """Verbs of the time machine; see :mod:`memos_integrations.operation.timemachine`."""

    principal: Principal
    namespace: Namespace
    _times: TimeMachine
    _vault: MemVault

    def snapshot(self, name: str) -> Moment:
        """Give the present moment a name, for :meth:`as_of`, :meth:`diff` and :meth:`rollback`.

        It copies nothing. A name can be used once (:class:`InvalidInputError`).
        """
        name = check_text(name, what="snapshot name", max_bytes=256)
        return self._times.name(self.namespace, self.principal, name)

    async def asnapshot(self, name: str) -> Moment:
        """:meth:`snapshot` in a worker thread."""
        return await offload(self.snapshot, name)

    def snapshots(self) -> list[Moment]:
        """The named moments of this namespace, oldest first."""
        self._vault.require("read", self.namespace, "list the snapshots of")
        return self._times.named(self.namespace)

    async def asnapshots(self) -> list[Moment]:
        """:meth:`snapshots` in a worker thread."""
        return await offload(self.snapshots)

    def forget_snapshot(self, name: str) -> None:
        """Forget a name; the history stays. Raises :class:`MomentNotFoundError`."""
        self._vault.require("write", self.namespace, "forget a snapshot of")
        self._times.forget(self.namespace, check_text(name, what="snapshot name"))

    async def aforget_snapshot(self, name: str) -> None:
        """:meth:`forget_snapshot` in a worker thread."""
        await offload(self.forget_snapshot, name)

    def diff(self, before: When, after: When | None = None) -> list[Change]:
        """What was added, changed and deleted between two moments; up to now if ``after`` is not
        given. In the order in which the memories were made.
        """
        return self._times.diff(
            self.namespace, read_when(before), None if after is None else read_when(after)
        )

    async def adiff(self, before: When, after: When | None = None) -> list[Change]:
        """:meth:`diff` in a worker thread."""
        return await offload(self.diff, before, after)

    def rollback(self, when: When, *, ids: Sequence[str] | None = None) -> list[Change]:
        """Make memories say again what they said at a moment; return what was changed by that.

        Of the whole namespace, or of ``ids``. Each gets a new version that says so (the activity
        is called ``rollback``, and its lineage names the old version): no history is rewritten,
        and a rollback can be rolled back. What was added since is deleted, what was deleted comes
        back. Frozen memories stay; asked for by id they raise :class:`FrozenCubeError`. All or
        nothing.
        """
        if ids is not None and (isinstance(ids, str) or not isinstance(ids, Sequence)):
            raise InvalidInputError(f"ids is {ids!r}: give a list of memory ids")
        wanted = None if ids is None else [check_id(one) for one in ids]
        return self._times.rollback(self.namespace, self.principal, read_when(when), wanted)

    async def arollback(self, when: When, **options: Any) -> list[Change]:
        """:meth:`rollback` in a worker thread."""
        return await offload(self.rollback, when, **options)


def read_when(when: object) -> When:
    """A time in UTC, a name or a moment; :class:`InvalidInputError` for anything else."""
    if isinstance(when, Moment):
        return when
    if isinstance(when, str):
        return check_text(when, what="snapshot name", max_bytes=256)
    if isinstance(when, datetime):
        return check_time(when, what="when")
    raise InvalidInputError(f"when is {when!r}: give a time, or the name of a snapshot")
