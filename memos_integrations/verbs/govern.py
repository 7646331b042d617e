"""What a session can do about who may read and change its memories."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from memos_integrations.checks import Namespace, check_id, check_text, check_time
from memos_integrations.cube import MemCube, Principal
from memos_integrations.errors import CubeNotFoundError, InvalidInputError
from memos_integrations.infrastructure import governance
from memos_integrations.infrastructure.access import RIGHTS, Asker, Grant, Right
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.offload import offload
from memos_integrations.operation.operator import MemOperator


@dataclass(frozen=True)
class Decision:
    """Whether something is allowed, and which rule says so. True or false as a condition."""

    allowed: bool
    because: str

    def __bool__(self) -> bool:
        return self.allowed


class GovernVerbs:
    """Verbs of governance; see :mod:`memos_integrations.infrastructure.access` for the rules.

    They need a store whose rules are enforced; see :meth:`MemOS.govern`.
    """

    principal: Principal
    namespace: Namespace
    purpose: str | None
    _vault: MemVault
    _operator: MemOperator

    def grant(
        self,
        principal: str | None = None,
        rights: Right | Iterable[Right] = "read",
        *,
        role: str | None = None,
        id: str | None = None,
        tag: str | None = None,
        semantic_type: str | None = None,
        purpose: str | None = None,
        expires_at: datetime | None = None,
    ) -> Grant:
        """Let a principal, or all with a ``role``, do something with the memories of this namespace
        and of those below it.

        ``rights``: ``read``, ``write`` (add, change, delete), ``share`` (pass on these rights),
        ``administer`` (everything, whatever a memory's ``access`` says). ``id``, ``tag``,
        ``semantic_type``: only for that memory, or memories of that kind. ``purpose``: only in
        sessions that were opened for it. ``expires_at``: until then.

        It takes a home here, or a grant with ``share`` and what is given; a grant that was given by
        virtue of another one ends with that. Raises :class:`AccessDeniedError`,
        :class:`CubeNotFoundError` for an ``id`` that is not here, :class:`InvalidInputError`.
        """
        if (principal is None) == (role is None):
            raise InvalidInputError("grant() takes a principal or a role: give one of them")
        grant_id = self._operator.new_id()
        activity = replace(self._operator.activity("grant", self.principal), about=grant_id)
        wanted = Grant(
            id=grant_id,
            rights=_rights(rights),
            namespace=self.namespace,
            granted_by=self.principal.id,
            at=activity.at,
            principal=_named(principal, "principal"),
            role=_named(role, "role"),
            tag=_named(tag, "tag"),
            semantic_type=_named(semantic_type, "semantic_type"),
            memory_id=None if id is None else check_id(id),
            purpose=_named(purpose, "purpose"),
            expires_at=None if expires_at is None else check_time(expires_at, what="expires_at"),
        )
        memory = None if id is None else self._readable(wanted.memory_id or "")
        given = []

        def change(tx: sa.Connection) -> None:
            allowed, via = self._support(wanted, memory)
            if not allowed:
                raise governance.denied(self._asker, "grant that in", self.namespace)
            given.append(replace(wanted, via=via))
            governance.insert_grant(tx, given[0])

        self._vault.change_rules(self.namespace, activity, change)
        return given[0]

    async def agrant(self, *who: Any, **what: Any) -> Grant:
        """:meth:`grant`, without blocking the event loop."""
        return await offload(self.grant, *who, **what)

    def revoke(self, grant: Grant | str) -> None:
        """Take back a grant, and what was given by virtue of it; in force when this returns.

        It takes what giving it would take, or to be who gave it. Revoking what is revoked already
        does nothing. Raises :class:`AccessDeniedError`, also for a grant that does not exist.
        """
        grant_id = grant.id if isinstance(grant, Grant) else check_id(grant)
        activity = replace(self._operator.activity("revoke", self.principal), about=grant_id)

        def change(tx: sa.Connection) -> None:
            known = {one.id: one for one in governance.read_grants(tx)}.get(grant_id)
            mine = known is not None and known.granted_by == self.principal.id
            if known is None or not (mine or self._support(known, None)[0]):
                raise governance.denied(self._asker, "revoke that in", self.namespace)
            governance.end_grant(tx, grant_id, self.principal.id, activity.at)

        self._vault.change_rules(self.namespace, activity, change)

    async def arevoke(self, grant: Grant | str) -> None:
        """:meth:`revoke`, without blocking the event loop."""
        await offload(self.revoke, grant)

    def grants(self) -> list[Grant]:
        """The grants in force here, oldest first: those for namespaces above or below this one.

        Who may not share this namespace sees those that speak for or were given by themselves.
        """
        now, mine = self._operator.now(), self.namespace
        found = [
            one
            for one in self._vault.rules.active(now)
            if one.namespace[: len(mine)] == mine or mine[: len(one.namespace)] == one.namespace
        ]
        if self._vault.sight().of(mine, "share").whole:
            return found
        asker = self._asker
        return [
            one for one in found if one.speaks_for(asker) or one.granted_by == self.principal.id
        ]

    async def agrants(self) -> list[Grant]:
        """:meth:`grants`, without blocking the event loop."""
        return await offload(self.grants)

    def may(self, right: Right, id: str | None = None) -> Decision:
        """Whether this session has a right: on a memory, or on all of this namespace."""
        if right not in RIGHTS:
            raise InvalidInputError(f"right {right!r}: use one of {', '.join(RIGHTS)}")
        scope = self._vault.sight().of(self.namespace, right)
        if right == "write" and self._vault.spaces.curated(self.namespace):
            scope = self._vault.sight().of(self.namespace, "administer")
        if id is None:
            rules = (one.because for one in scope.reasons if one.whole)
            because = scope.because or next(rules, "")
            return Decision(scope.whole, because or "no rule allows it")
        try:
            because = scope.why(self._readable(check_id(id))) or ""
        except CubeNotFoundError:
            because = ""
        return Decision(bool(because), because or "no rule allows it, or there is no such memory")

    async def amay(self, right: Right, id: str | None = None) -> Decision:
        """:meth:`may`, without blocking the event loop."""
        return await offload(self.may, right, id)

    # Within -------------------------------------------------------------------------------

    @property
    def _asker(self) -> Asker:
        return Asker(self.principal, self.purpose)

    def _readable(self, cube_id: str) -> MemCube:
        with self._vault.snapshot(self.namespace) as view:
            head = view.head(cube_id)
        if head is None:
            raise CubeNotFoundError(f"no memory {cube_id} in namespace {'/'.join(self.namespace)}")
        return head.cube

    def _support(self, wanted: Grant, memory: MemCube | None) -> tuple[bool, str | None]:
        rules = self._vault.rules
        if not rules.enforced:
            raise InvalidInputError(
                "nobody is asked for a grant in this store: call MemOS.govern() first"
            )
        return rules.support(self._asker, wanted, memory, self._operator.now())


def _rights(given: Right | Iterable[Right]) -> frozenset[Right]:
    rights = (given,) if isinstance(given, str) else tuple(given)
    if not rights or not set(rights) <= set(RIGHTS):
        raise InvalidInputError(f"rights is {given!r}: give one or more of {', '.join(RIGHTS)}")
    return frozenset(rights)


def _named(given: str | None, what: str) -> str | None:
    return None if given is None else check_text(given, what=what, max_bytes=256)
