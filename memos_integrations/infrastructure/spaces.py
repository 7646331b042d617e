"""Spaces: namespaces with a purpose of their own (the paper's MemVault), and what holds in them.

A space says what is so where nothing else is said: who may see what is added, how sensitive it is,
whether it is curated, and how long it lives. The closest one above a namespace counts.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Literal, get_args

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.cube import Access
from memos_integrations.infrastructure.schema import settings

SpaceKind = Literal["user", "expert", "shared", "context", "cache"]
KINDS: tuple[SpaceKind, ...] = get_args(SpaceKind)
_KEY = "spaces"


@dataclass(frozen=True)
class Space:
    """What holds at and below a namespace."""

    namespace: Namespace
    kind: SpaceKind
    access: Access = "private"
    """Of what is added without an ``access`` of its own."""
    curated: bool = False
    """Only who administers it adds and changes memories, where access is governed."""
    sensitivity: tuple[str, ...] = ()
    """Labels that everything added gets."""

    def __str__(self) -> str:
        parts = [self.kind, self.access, *(["curated"] if self.curated else []), *self.sensitivity]
        return f"{'/'.join(self.namespace)}: {', '.join(parts)}"


PRESETS: dict[SpaceKind, Space] = {
    "user": Space((), "user"),
    "expert": Space((), "expert", access="shared", curated=True),
    "shared": Space((), "shared", access="shared"),
    "context": Space((), "context"),
    "cache": Space((), "cache"),
}
"""What a kind means, where nothing else is said."""
LIVES: dict[SpaceKind, tuple[timedelta | None, timedelta | None]] = {
    "context": (None, timedelta(days=30)),
    "cache": (timedelta(days=1), None),
}
"""How long memories of a kind live after they were written, and after they were used."""


@dataclass(frozen=True)
class Spaces:
    """All of a store."""

    known: tuple[Space, ...] = ()

    def of(self, path: Namespace) -> Space | None:
        """The closest at or above a namespace."""
        there = [one for one in self.known if path[: len(one.namespace)] == one.namespace]
        return max(there, key=lambda one: len(one.namespace), default=None)

    def access(self, path: Namespace) -> Access:
        """Of what is added there."""
        space = self.of(path)
        return "private" if space is None else space.access

    def labels(self, path: Namespace) -> tuple[str, ...]:
        """How sensitive what is added there is."""
        space = self.of(path)
        return () if space is None else space.sensitivity

    def curated(self, path: Namespace) -> bool:
        """Whether only who administers it changes it; said of a space, it holds in all below."""
        there = [one for one in self.known if path[: len(one.namespace)] == one.namespace]
        return any(one.curated for one in there)

    def with_(self, space: Space) -> Spaces:
        """With one more, in place of what its namespace was before."""
        others = [one for one in self.known if one.namespace != space.namespace]
        return replace(self, known=(*others, space))


def read_spaces(tx: sa.Connection) -> Spaces:
    """Those of a store."""
    written = tx.execute(sa.select(settings.c.value).where(settings.c.key == _KEY)).scalar()
    return Spaces(tuple(map(_space, json.loads(written))) if written else ())


def write_spaces(tx: sa.Connection, spaces: Spaces) -> None:
    """Keep them."""
    tx.execute(sa.delete(settings).where(settings.c.key == _KEY))
    value = json.dumps([asdict(one) for one in spaces.known])
    tx.execute(sa.insert(settings).values(key=_KEY, value=value))


def _space(plain: dict[str, object]) -> Space:
    return Space(**{key: tuple(v) if isinstance(v, list) else v for key, v in plain.items()})  # type: ignore[arg-type]
