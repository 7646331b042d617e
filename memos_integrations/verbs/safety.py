"""What a session can do with what is sealed, and with what is in quarantine."""

from __future__ import annotations

import builtins
from contextlib import AbstractContextManager

import sqlalchemy as sa

from memos_integrations.checks import Namespace, check_id
from memos_integrations.cube import MemCube, Principal
from memos_integrations.errors import CubeNotFoundError, InvalidInputError
from memos_integrations.infrastructure import lookups, quarantine, records, sealed
from memos_integrations.infrastructure.quarantine import Quarantined
from memos_integrations.infrastructure.sealed import Seal
from memos_integrations.infrastructure.snapshot import Snapshot
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.offload import offload
from memos_integrations.operation.operator import MemOperator
from memos_integrations.operation.sensitive.reveal import revealed
from memos_integrations.query import Hit


class SafetyVerbs:
    """Verbs of sensitive content and quarantine; see :mod:`memos_integrations.operation.door`."""

    principal: Principal
    namespace: Namespace
    _vault: MemVault
    _operator: MemOperator

    def _view(self) -> AbstractContextManager[Snapshot]:
        raise NotImplementedError  # the session says of which moment

    def reveal(self, memory: str | MemCube | Hit) -> MemCube:
        """A memory with what was sealed put back into it, as far as this principal may see that.

        Every other verb shows masks, to everyone: a prompt, a cache or a log that is made of them
        holds nothing that was sealed. An id means the memory as it stands; a cube or a hit, that
        version of it. Who may see a kind of content stands in :class:`SensitivePolicy`; what may
        not be seen stays masked. Show what comes back, and do not store it.

        Raises :class:`CubeNotFoundError`, and :class:`SealKeyError` where something may be seen and
        its key is not given, or is another one.
        """
        cube = memory.cube if isinstance(memory, Hit) else memory
        cube_id = cube.id if isinstance(cube, MemCube) else check_id(cube)
        guard = self._operator.door.guard
        if guard is None or guard.sealer is None:
            raise InvalidInputError(
                "this store was opened without keys: MemOS.open(path, sensitive=SensitivePolicy("
                "keys={...})) opens what is sealed"
            )
        with self._view() as view:
            stands = self._stands(view, cube_id, cube if isinstance(cube, MemCube) else None)
            found = sealed.behind(view.tx, cube_id, stands.version)

        def shown(one: Seal) -> bool:
            return guard.policy.may_see(self.principal, one.owner, one.label)

        seals = {place: one for place, one in found.items() if shown(one)}
        return revealed(stands, seals, guard.sealer)

    async def areveal(self, memory: str | MemCube | Hit) -> MemCube:
        """:meth:`reveal`, without blocking the event loop."""
        return await offload(self.reveal, memory)

    def quarantined(self) -> builtins.list[Quarantined]:
        """The memories of this namespace that wait in quarantine, and why; oldest first.

        They are in no search, cache or prompt. It takes the right to administer
        (:class:`AccessDeniedError`).
        """
        self._vault.require("administer", self.namespace, "see the quarantine of")
        with self._vault.snapshot(self.namespace) as view:
            return [] if view.namespace is None else quarantine.held(view.tx, view.namespace.pk)

    async def aquarantined(self) -> list[Quarantined]:
        """:meth:`quarantined`, without blocking the event loop."""
        return await offload(self.quarantined)

    def release(self, id: str) -> MemCube:
        """Let searches find a memory that was in quarantine: somebody has looked at it.

        Its :meth:`life` says who did that. It takes the right to administer. Raises
        :class:`AccessDeniedError`, :class:`CubeNotFoundError` if it is not in quarantine.
        """
        cube_id = check_id(id)
        self._vault.require("administer", self.namespace, "release from quarantine in")
        activity = self._operator.activity("release", self.principal)

        def work(tx: sa.Connection) -> tuple[MemCube, bool]:
            namespace = records.ensure_namespace(tx, self.namespace)
            head = lookups.head(tx, namespace.pk, cube_id)
            if head is None or not quarantine.is_held(tx, head.cube_pk):
                raise CubeNotFoundError(
                    f"no memory {cube_id} in the quarantine of {'/'.join(self.namespace)}"
                )
            activity_pk = records.insert_activity(tx, namespace.pk, activity)
            quarantine.release(tx, activity_pk, head)
            return head.cube, False

        released = self._vault.commit(work)
        self._vault.tell([cube_id])
        return released

    async def arelease(self, id: str) -> MemCube:
        """:meth:`release`, without blocking the event loop."""
        return await offload(self.release, id)

    def _stands(self, view: Snapshot, cube_id: str, wanted: MemCube | None) -> MemCube:
        """The version that is asked for, from the store and not from the caller."""
        head = view.head(cube_id)
        if head is not None and (wanted is None or wanted.version == head.cube.version):
            return head.cube
        for cube in [] if head is None else view.chain(head):
            if wanted is not None and cube.version == wanted.version:
                return cube
        raise CubeNotFoundError(f"no memory {cube_id} in namespace {'/'.join(self.namespace)}")
