"""Who may do what: rules in memory, and the condition that they put into SQL.

A decision is over principal, memory and context (the paper's ternary model). Nothing is allowed
that no rule allows. What a principal may see of a namespace is a condition inside the query that
looks for candidates, so that a search finds as much as if the rest did not exist.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, get_args

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.cube import MemCube, Principal
from memos_integrations.infrastructure.filters import Clause
from memos_integrations.infrastructure.schema import cubes, namespaces, versions

Right = Literal["read", "write", "share", "administer"]
RIGHTS: tuple[Right, ...] = get_args(Right)
"""``read``; ``write``: add, change, delete; ``share``: pass on one's own rights; ``administer``:
all of these, whatever a memory's ``access`` says, and retention, erasure and the audit log."""

ANYONE = "{principal}"
"""Stands for the principal's id in the pattern of a home."""


@dataclass(frozen=True)
class Asker:
    """Who asks, and what for."""

    principal: Principal
    purpose: str | None = None


@dataclass(frozen=True)
class Grant:
    """Rights of a principal or a role, over a namespace and all below it, or a part of that."""

    id: str
    rights: frozenset[Right]
    namespace: Namespace
    granted_by: str
    at: datetime
    principal: str | None = None
    role: str | None = None
    tag: str | None = None
    semantic_type: str | None = None
    memory_id: str | None = None
    purpose: str | None = None
    expires_at: datetime | None = None
    via: str | None = None
    """The grant that allowed its giver to give it: it ends with that."""
    revoked_by: str | None = None
    revoked_at: datetime | None = None

    def speaks_for(self, asker: Asker) -> bool:
        """Whether it is for who asks, and for this purpose."""
        who = asker.principal
        named = who.id == self.principal if self.role is None else self.role in who.roles
        return named and (self.purpose is None or self.purpose == asker.purpose)

    def covers(self, other: Grant, memory: MemCube | None) -> bool:
        """Whether who holds it may give the other one; ``memory``: what that one is about."""
        wanted = {"share", *other.rights}
        narrow = self.memory_id is not None and self.memory_id != other.memory_id
        return (
            ("administer" in self.rights or wanted <= self.rights)
            and other.namespace[: len(self.namespace)] == self.namespace
            and not narrow
            and self._takes_in(other, memory)
        )

    def _takes_in(self, other: Grant, memory: MemCube | None) -> bool:
        about = None if memory is None else memory.header.descriptive
        tags = {other.tag, *(about.tags if about else ())}
        types = {other.semantic_type, *([about.semantic_type] if about else ())}
        return (self.tag is None or self.tag in tags) and (
            self.semantic_type is None or self.semantic_type in types
        )


@dataclass(frozen=True)
class Reason:
    """Why something is allowed: at and below a namespace, to all memories there or to some."""

    below: Namespace
    because: str
    full: bool = False
    """Also what is read-only: the right to administer."""
    tag: str | None = None
    semantic_type: str | None = None
    memory_id: str | None = None
    shared: bool = False
    """Only memories that are shared with everyone under the same root."""

    @property
    def whole(self) -> bool:
        """Whether it is about all memories."""
        narrow = self.tag, self.semantic_type, self.memory_id
        return not self.shared and not any(narrow)

    def fits(self, cube: MemCube) -> bool:
        """Whether it is about this memory."""
        about, rules = cube.header.descriptive, cube.header.governance
        return (
            cube.namespace[: len(self.below)] == self.below
            and (self.tag is None or self.tag in about.tags)
            and (self.semantic_type is None or self.semantic_type == about.semantic_type)
            and (self.memory_id is None or self.memory_id == cube.id)
            and (not self.shared or rules.access == "shared")
        )


@dataclass(frozen=True)
class Scope:
    """What somebody may do with the memories of a namespace, or of all below one."""

    who: str
    right: Right
    reasons: tuple[Reason, ...]
    everything: bool = False
    because: str = ""
    """Why everything is allowed."""

    @property
    def whole(self) -> bool:
        """Whether it takes in all memories, read-only ones apart."""
        return self.everything or any(reason.whole for reason in self.reasons)

    @property
    def full(self) -> bool:
        """Whether it takes in all memories without exception."""
        return self.everything or any(reason.whole and reason.full for reason in self.reasons)

    @property
    def empty(self) -> bool:
        """Whether nothing is allowed."""
        return not self.everything and not self.reasons

    def why(self, cube: MemCube) -> str | None:
        """What allows it for this memory; ``None``: nothing does."""
        if self.everything:
            return self.because
        for reason in self.reasons:
            if reason.fits(cube) and (reason.full or self._free(cube)):
                return reason.because
        return None

    def _free(self, cube: MemCube) -> bool:
        """Read-only memories are changed and passed on by their owner alone."""
        rules = cube.header.governance
        return self.right == "read" or rules.access != "read_only" or rules.owner == self.who

    def clauses(self) -> list[Clause]:
        """The condition on a query over ``cubes`` of one namespace; none if all is allowed.

        It looks at what a memory says now, also where the query is about its past.
        """
        if self.full or (self.right == "read" and self.whole):
            return []
        return [self._among([self._narrow(reason) for reason in self.reasons])]

    def clauses_below(self) -> list[Clause]:
        """The same for a query over ``cubes`` and ``namespaces``."""
        if self.everything:
            return []
        return [
            self._among(
                [sa.and_(*at_or_below(one.below), self._narrow(one)) for one in self.reasons]
            )
        ]

    def _among(self, conditions: Sequence[Clause]) -> Clause:
        if not conditions:
            return sa.false()
        if self.right == "read" and all(one.whole for one in self.reasons):
            return sa.or_(*conditions)
        there = sa.select(sa.literal(1)).where(_NOW.c.pk == cubes.c.head_pk, sa.or_(*conditions))
        return sa.exists(there.correlate(cubes, namespaces))

    def _narrow(self, reason: Reason) -> Clause:
        conditions: list[Clause] = [sa.true()]
        if reason.memory_id is not None:
            conditions.append(cubes.c.id == reason.memory_id)
        if reason.semantic_type is not None:
            conditions.append(_NOW.c.semantic_type == reason.semantic_type)
        if reason.tag is not None:
            tags = sa.func.json_each(_NOW.c.body, "$.header.descriptive.tags").table_valued("value")
            held = sa.select(sa.literal(1)).where(tags.c.value == reason.tag)
            conditions.append(sa.exists(held.correlate(_NOW)))
        if reason.shared:
            conditions.append(_NOW.c.access == "shared")
        if self.right != "read" and not reason.full:
            conditions.append(sa.or_(_NOW.c.access != "read_only", _NOW.c.owner == self.who))
        return sa.and_(*conditions)


@dataclass(frozen=True)
class AccessRules:
    """The rules of a store; without ``enforced`` they are written down and not asked."""

    enforced: bool = False
    administrators: frozenset[str] = frozenset()
    """Principals who may do everything."""
    homes: tuple[Namespace, ...] = ((ANYONE,),)
    """Namespaces that belong to the principal whose id stands in place of ``{principal}``."""
    grants: tuple[Grant, ...] = ()

    def scope(self, asker: Asker, right: Right, path: Namespace, now: datetime) -> Scope:
        """What somebody may do with the memories of one namespace."""
        everywhere = self.scope_everywhere(asker, right, now)
        there = [one for one in everywhere.reasons if path[: len(one.below)] == one.below]
        return replace(everywhere, reasons=tuple(there))

    def scope_everywhere(self, asker: Asker, right: Right, now: datetime) -> Scope:
        """What somebody may do with the memories of the store."""
        who = asker.principal.id
        if not self.enforced:
            return Scope(who, right, (), True, "access is not governed in this store")
        if who in self.administrators:
            return Scope(who, right, (), True, "administers the store")
        return Scope(who, right, tuple(self._reasons(asker, right, now)))

    def _reasons(self, asker: Asker, right: Right, now: datetime) -> Iterable[Reason]:
        homes = list(self._homes(asker.principal.id))
        held = self._held(asker, now)
        for home in homes:
            yield Reason(home, "at home", full=True)
        for grant in held:
            full = "administer" in grant.rights
            if full or right in grant.rights:
                yield Reason(
                    grant.namespace,
                    f"grant {grant.id} by {grant.granted_by}",
                    full=full,
                    tag=grant.tag,
                    semantic_type=grant.semantic_type,
                    memory_id=grant.memory_id,
                )
        if right == "read":
            places = [*homes, *(grant.namespace for grant in held)]
            for root in dict.fromkeys(place[0] for place in places):
                yield Reason((root,), f"shared under {root}", shared=True)

    def active(self, now: datetime) -> list[Grant]:
        """The grants that are in force: not revoked, not over, and given by who still may."""
        found: dict[str, Grant] = {}
        for grant in self.grants:  # a grant stands behind the one that allowed it
            over = grant.expires_at is not None and grant.expires_at <= now
            if not over and (grant.via is None or grant.via in found):
                found[grant.id] = grant
        return list(found.values())

    def support(
        self, asker: Asker, wanted: Grant, memory: MemCube | None, now: datetime
    ) -> tuple[bool, str | None]:
        """Whether somebody may give or take back a grant, and the grant that allows it, if any."""
        who = asker.principal.id
        if who in self.administrators:
            return True, None
        if any(wanted.namespace[: len(home)] == home for home in self._homes(who)):
            return True, None
        for grant in self._held(asker, now):
            if grant.covers(wanted, memory):
                return True, grant.id
        return False, None

    def _held(self, asker: Asker, now: datetime) -> list[Grant]:
        return [grant for grant in self.active(now) if grant.speaks_for(asker)]

    def _homes(self, who: str) -> Iterable[Namespace]:
        for pattern in self.homes:
            yield tuple(who if part == ANYONE else part for part in pattern)


@dataclass(frozen=True)
class Sight:
    """What may be done by who asks, at one moment; ``asker=None``: the store itself."""

    rules: AccessRules
    asker: Asker | None
    now: datetime

    def of(self, path: Namespace, right: Right = "read") -> Scope:
        """In one namespace."""
        if self.asker is None:
            return _ALL
        return self.rules.scope(self.asker, right, path, self.now)

    def everywhere(self, right: Right = "read") -> Scope:
        """In the store."""
        if self.asker is None:
            return _ALL
        return self.rules.scope_everywhere(self.asker, right, self.now)


_ALL = Scope("", "administer", (), True, "the store itself")

_NOW = versions.alias("stands")
"""A cube's current version."""


def at_or_below(prefix: Namespace) -> list[Clause]:
    """Namespaces that are ``prefix`` or begin with all of its parts.

    A path is JSON, so after ``["a", "b"`` stands either ``]`` or ``,``: a range of the index.
    """
    if not prefix:
        return []
    begin = json.dumps(prefix)[:-1]
    return [namespaces.c.path >= f"{begin},", namespaces.c.path < f"{begin}^"]


def permitted(tx: sa.Connection, cube_ids: Collection[str], scope: Scope) -> set[str]:
    """Those of these cubes, of any namespace, that a scope of the whole store takes in."""
    each = sa.func.json_each(json.dumps(sorted(cube_ids))).table_valued("value")
    query: sa.Select[Any] = (
        sa.select(cubes.c.id)
        .join(namespaces, namespaces.c.pk == cubes.c.namespace_pk)
        .where(cubes.c.id.in_(sa.select(each.c.value)), *scope.clauses_below())
    )
    return set(tx.execute(query).scalars())
