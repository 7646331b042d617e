"""What a session can do about how long memories live, and which must not go."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa

from memos_integrations.checks import Namespace, check_id, check_text
from memos_integrations.cube import Principal, State
from memos_integrations.errors import CubeNotFoundError, InvalidInputError
from memos_integrations.infrastructure import governance, retention, sweeping
from memos_integrations.infrastructure.erasure import Wish
from memos_integrations.infrastructure.receipts import Receipt
from memos_integrations.infrastructure.retention import Kind, Rule
from memos_integrations.infrastructure.sweeping import Due
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.offload import offload
from memos_integrations.operation.operator import MemOperator
from memos_integrations.verbs.erasing import Erasing

_ERASABLE = (
    State.GENERATED,
    State.ACTIVATED,
    State.ARCHIVED,
    State.MERGED,
    State.EXPIRED,
)


@dataclass(frozen=True)
class Swept:
    """What a sweep put away, or would; as a string, lines to read."""

    due: tuple[Due, ...]
    """Each with the rule that it has outlived."""
    dry_run: bool
    receipt: Receipt | None = None
    """Of the erasure, where one was asked for."""

    def __str__(self) -> str:
        what = "would be " if self.dry_run else ""
        done = "erased" if self.receipt is not None else "expired"
        head = f"{len(self.due)} memories {what}{done}"
        return "\n".join([head, *(f"  {one}" for one in self.due)])


class RetainVerbs(Erasing):
    """Verbs of retention; see :mod:`memos_integrations.infrastructure.retention`.

    They take the right to administer the session's namespace.
    """

    principal: Principal
    namespace: Namespace
    purpose: str | None
    _vault: MemVault
    _operator: MemOperator

    def retain(
        self,
        *,
        ttl: timedelta | None = None,
        unused: timedelta | None = None,
        semantic_type: str | None = None,
        id: str | None = None,
        reason: str = "asked for",
    ) -> Rule:
        """Let memories of this namespace and those below it end: so long after they were last
        written (``ttl``), or last used (``unused``).

        ``semantic_type``, ``id``: only those. The closest rule of a kind counts: for a memory,
        then of a deeper namespace, then for a type, then the newest; ``timedelta.max`` is without
        end, where a wider rule says otherwise. What has ended is out of every search at that
        second, and put away by :meth:`sweep`. ``reason`` is kept: put no content in it. Raises
        :class:`AccessDeniedError`, :class:`CubeNotFoundError`.
        """
        if (ttl is None) == (unused is None):
            raise InvalidInputError("retain() takes ttl= or unused=: give one of them")
        if ttl is not None:
            return self._rule("ttl", seconds(ttl, "ttl"), semantic_type, id, reason)
        return self._rule("decay", seconds(unused, "unused"), semantic_type, id, reason)

    async def aretain(self, **options: Any) -> Rule:
        """:meth:`retain`, without blocking the event loop."""
        return await offload(self.retain, **options)

    def hold(
        self,
        *,
        semantic_type: str | None = None,
        id: str | None = None,
        reason: str = "legal hold",
    ) -> Rule:
        """Keep memories of this namespace and those below it, whatever else is said, until
        :meth:`lift`.

        No rule of retention ends them, and nothing deletes or erases them
        (:class:`LegalHoldError`); they may be changed, and every version stays.
        """
        return self._rule("hold", None, semantic_type, id, reason)

    async def ahold(self, **options: Any) -> Rule:
        """:meth:`hold`, without blocking the event loop."""
        return await offload(self.hold, **options)

    def lift(self, rule: Rule | str) -> None:
        """End a rule or a hold; in force when this returns.

        It takes to be who set it, or to administer the store. Lifting what is lifted already does
        nothing. Raises :class:`AccessDeniedError`, also for a rule that does not exist.
        """
        rule_id = rule.id if isinstance(rule, Rule) else check_id(rule)
        activity = replace(self._operator.activity("lift", self.principal), about=rule_id)
        may_all = self._vault.sight().everywhere("administer").everything

        def change(tx: sa.Connection) -> None:
            every = retention.read_rules(tx, lifted=True).rules
            known = next((one for one in every if one.id == rule_id), None)
            if known is None or not (may_all or known.set_by == self.principal.id):
                raise self._denied("lift that in")
            retention.lift_rule(tx, rule_id, self.principal.id, activity.at)

        self._vault.change_retention(self.namespace, activity, change)

    async def alift(self, rule: Rule | str) -> None:
        """:meth:`lift`, without blocking the event loop."""
        await offload(self.lift, rule)

    def retention(self, *, lifted: bool = False) -> list[Rule]:
        """The rules and holds that speak of this namespace, or of one below it; oldest first.

        ``lifted``: also those that are not in force any more.
        """
        self._administers("see the retention of")
        mine = self.namespace
        with self._vault.database.read() as tx:
            found = retention.read_rules(tx, lifted=lifted).rules
        return [
            one
            for one in found
            if one.namespace[: len(mine)] == mine or mine[: len(one.namespace)] == one.namespace
        ]

    async def aretention(self, **options: Any) -> list[Rule]:
        """:meth:`retention`, without blocking the event loop."""
        return await offload(self.retention, **options)

    def sweep(self, *, dry_run: bool = False, erase: bool = False) -> Swept:
        """Put away what has outlived its retention, here and below; a scheduler does it, too.

        It takes the state ``expired``: no search finds it, it can still be read and restored once
        the rule allows it. With ``erase`` its content goes for good, as by :meth:`forget`, also
        of what was expired, merged or deleted before; adapters and KV caches that were made of it
        go with it, and what else was derived from it stays until its own time. Frozen memories
        stay, unfound; a frozen adapter or KV cache that would have to go raises
        :class:`FrozenCubeError`, and nothing goes. With ``dry_run`` nothing is changed.
        """
        self._administers("sweep")
        if erase:
            return self._sweep_away(dry_run)
        if not dry_run:
            activity = partial(self._operator.activity, "expire", self.principal)
            return Swept(tuple(sweeping.sweep(self._vault, self.namespace, activity)), False)
        with self._vault.database.read() as tx:
            return Swept(tuple(sweeping.due(tx, self._vault, self.namespace)), True)

    async def asweep(self, **options: Any) -> Swept:
        """:meth:`sweep`, without blocking the event loop."""
        return await offload(self.sweep, **options)

    # Within -------------------------------------------------------------------------------

    def _rule(
        self,
        kind: Kind,
        seconds: int | None,
        semantic_type: str | None,
        memory_id: str | None,
        reason: str,
    ) -> Rule:
        self._administers("set the retention of")
        rule_id = self._operator.new_id()
        verb = "hold" if kind == "hold" else "retain"
        activity = replace(self._operator.activity(verb, self.principal), about=rule_id)
        rule = Rule(
            id=rule_id,
            kind=kind,
            namespace=self.namespace,
            reason=check_text(reason, what="reason", max_bytes=1024),
            set_by=self.principal.id,
            at=activity.at,
            seconds=seconds,
            semantic_type=(
                None
                if semantic_type is None
                else check_text(semantic_type, what="semantic_type", max_bytes=256)
            ),
            memory_id=None if memory_id is None else check_id(memory_id),
        )

        def change(tx: sa.Connection) -> None:
            self._administers("set the retention of")
            if rule.memory_id is not None:
                self._there(rule.memory_id)
            retention.insert_rule(tx, rule)

        self._vault.change_retention(self.namespace, activity, change)
        return rule

    def _sweep_away(self, dry_run: bool) -> Swept:
        vault = self._vault
        found: list[Due] = []

        def choose(tx: sa.Connection) -> list[int]:
            found[:] = sweeping.due(tx, vault, self.namespace, states=_ERASABLE, deleted=True)
            return [one.pk for one in found]

        receipt = Receipt(
            id=self._operator.new_id(),
            at=self._operator.now(),
            principal=self.principal.id,
            namespace=self.namespace,
            reason="retention",
            memories=(),
        )
        receipt = self._erase(
            Wish(choose, receipt, cascade=False, guard=self._guard()), dry_run=dry_run
        )
        return Swept(tuple(found), dry_run, receipt)

    def _there(self, memory_id: str) -> None:
        with self._vault.snapshot(self.namespace) as view:
            if view.head(memory_id) is None:
                raise CubeNotFoundError(
                    f"no memory {memory_id} in namespace {'/'.join(self.namespace)}"
                )

    def _administers(self, verb: str) -> None:
        self._vault.require("administer", self.namespace, verb, full=True)

    def _denied(self, verb: str) -> Exception:
        assert self._vault.asker is not None
        return governance.denied(self._vault.asker, verb, self.namespace)


def seconds(given: timedelta | None, what: str) -> int | None:
    """Whole seconds; ``None``: without end."""
    if not isinstance(given, timedelta) or given < timedelta(seconds=1):
        raise InvalidInputError(f"{what} is {given!r}: give a timedelta of a second or more")
    return None if given == timedelta.max else int(given.total_seconds())
