"""Memories under keys in SQL: found by name, listed by namespace prefix, searched across them.

The namespaces of one view are those at and below its root. A key belongs to a *shelf*, so that
the names of a store and those of a chat history do not meet.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.infrastructure import lookups
from memos_integrations.infrastructure.access import Scope, at_or_below
from memos_integrations.infrastructure.driver import hot
from memos_integrations.infrastructure.filters import Clause
from memos_integrations.infrastructure.lookups import Head, NamespaceRow, listed
from memos_integrations.infrastructure.schema import (
    cubes,
    embeddings,
    from_micros,
    keys,
    namespaces,
    to_micros,
    versions,
)
from memos_integrations.infrastructure.snapshot import Snapshot
from memos_integrations.infrastructure.vectors import best_of, scan_among, scan_facets_among
from memos_integrations.keyed import KeyedMemory
from memos_integrations.protocols import Vectors

Keep = Callable[[Mapping[str, Any]], bool]
"""Whether a memory with this metadata is wanted."""

_VALUE = sa.func.json_extract(versions.c.body, "$.header.descriptive.metadata")
_FIRST = versions.alias("first")
_KEYED = (
    keys.join(cubes, cubes.c.pk == keys.c.cube_pk)
    .join(versions, versions.c.pk == cubes.c.head_pk)
    .join(namespaces, namespaces.c.pk == keys.c.namespace_pk)
)
_NEWEST_FIRST = versions.c.created_at.desc(), cubes.c.pk.desc()


class KeyedView:
    """What one shelf looked like at one moment, from ``root`` downwards."""

    def __init__(
        self,
        tx: sa.Connection,
        root: Namespace,
        shelf: str,
        now: datetime,
        snapshot: Callable[[NamespaceRow], Snapshot],
        scope: Scope,
        kept: Sequence[Clause] = (),
    ) -> None:
        self._tx, self._root, self._shelf, self._now = tx, root, shelf, now
        self._snapshot, self._scope, self._retained = snapshot, scope, kept

    def get(self, path: Namespace, key: str) -> KeyedMemory | None:
        """What stands under a key, if it is alive."""
        where = [namespaces.c.path == json.dumps(path), keys.c.key == key]
        found = self._load(self._alive(where))
        return found[0] if found else None

    def cube_id(self, path: Namespace, key: str) -> str | None:
        """The memory that has the key, or had it last: also a deleted or expired one."""
        found = find_any(self._tx, path, self._shelf, key)
        seen = found is not None and self._scope.why(found[1].cube) is not None
        return found[1].cube.id if found and seen else None

    def namespaces(self) -> list[Namespace]:
        """The namespaces, root included, that hold something alive; sorted."""
        query = sa.select(namespaces.c.path).select_from(_KEYED).where(*self._alive([]))
        return sorted(
            tuple(json.loads(path)) for path in self._tx.execute(query.distinct()).scalars()
        )

    def in_order(self, path: Namespace) -> list[KeyedMemory]:
        """All that one namespace holds, by key."""
        where = [namespaces.c.path == json.dumps(path)]
        return self._load(self._alive(where), (keys.c.key,))

    def newest(
        self, prefix: Namespace, *, limit: int, offset: int = 0, keep: Keep | None = None
    ) -> list[KeyedMemory]:
        """What lies at or below ``prefix``, last written first."""
        where = self._alive([*at_or_below(prefix), cubes.c.quarantined.is_(None)])
        if keep is None:
            return self._load(where, _NEWEST_FIRST, limit, offset)
        return self._by_pk(self._kept(where, keep)[offset : offset + limit])

    def nearest(
        self,
        prefix: Namespace,
        vector: Vectors,
        *,
        limit: int,
        offset: int = 0,
        keep: Keep | None = None,
    ) -> list[KeyedMemory]:
        """What lies at or below ``prefix``, nearest first; then what is not searched.

        ``vector``: the question, float32 ``(dimension,)``, unit length.
        """
        where = self._alive([*at_or_below(prefix), cubes.c.quarantined.is_(None)])
        wanted = None if keep is None else self._kept(where, keep)
        if wanted is not None:
            where = [*where, cubes.c.pk.in_(listed(wanted))]
        ranked = dict(self._ranked(prefix, where, vector, offset + limit))
        order = list(ranked)[offset:]
        if len(ranked) < offset + limit:
            searched = sa.select(embeddings.c.cube_pk)
            rest = self._pks([*where, cubes.c.pk.not_in(searched)], offset + limit - len(ranked))
            order = [*ranked, *rest][offset:]
        return [replace(found, score=ranked.get(found.pk)) for found in self._by_pk(order)]

    def _ranked(
        self, prefix: Namespace, where: Sequence[Clause], vector: Vectors, limit: int
    ) -> list[tuple[int, float]]:
        among = sa.select(cubes.c.pk).select_from(_KEYED).where(*where)
        spaces = [
            NamespaceRow(pk, live, collection, tuple(json.loads(path)))
            for pk, live, collection, path in self._tx.execute(
                sa.select(
                    namespaces.c.pk,
                    namespaces.c.live,
                    namespaces.c.collection,
                    namespaces.c.path,
                )
                .where(*at_or_below(prefix), namespaces.c.live > 0)
                .limit(2)
            )
        ]
        if not spaces:
            return []
        if len(spaces) == 1:  # where a vector index may stand
            return self._snapshot(spaces[0]).nearest(vector, limit, [cubes.c.pk.in_(among)])
        return best_of(
            scan_among(self._tx, among, vector, limit),
            scan_facets_among(self._tx, among, vector).items(),
            limit,
        )

    def _alive(self, where: Sequence[Clause]) -> list[Clause]:
        here = [*at_or_below(self._root), *self._scope.clauses_below(), *self._retained]
        return [*here, keys.c.shelf == self._shelf, *alive(self._now), *where]

    def _pks(self, where: Sequence[Clause], limit: int) -> list[int]:
        query = sa.select(cubes.c.pk).select_from(_KEYED).where(*where)
        return list(self._tx.execute(query.order_by(*_NEWEST_FIRST).limit(limit)).scalars())

    def _kept(self, where: Sequence[Clause], keep: Keep) -> list[int]:
        query = sa.select(cubes.c.pk, _VALUE).select_from(_KEYED).where(*where)
        rows = self._tx.execute(query.order_by(*_NEWEST_FIRST))
        return [pk for pk, value in rows if keep(json.loads(value))]

    def _by_pk(self, order: Sequence[int]) -> list[KeyedMemory]:
        found = {one.pk: one for one in self._load([cubes.c.pk.in_(listed(order))])}
        return [found[pk] for pk in order]

    def _load(
        self,
        where: Sequence[Clause],
        order: Sequence[sa.ColumnElement[Any]] = (),
        limit: int | None = None,
        offset: int = 0,
    ) -> list[KeyedMemory]:
        first = sa.and_(_FIRST.c.cube_pk == cubes.c.pk, _FIRST.c.version == 1)
        query = (
            sa.select(
                cubes.c.pk,
                namespaces.c.path,
                keys.c.key,
                keys.c.ttl,
                versions.c.body,
                cubes.c.expires_at,
                cubes.c.state,
                _FIRST.c.created_at,
            )
            .select_from(_KEYED.join(_FIRST, first))
            .where(*where)
            .order_by(*order)
            .limit(limit)
            .offset(offset if limit is not None else None)
        )
        return [
            KeyedMemory(
                namespace=tuple(json.loads(path)),
                key=key,
                cube=lookups.read_cube(body, expires_at, state),
                created_at=from_micros(created_at),
                ttl=None if ttl is None else timedelta(microseconds=ttl),
                pk=pk,
            )
            for pk, path, key, ttl, body, expires_at, state, created_at in self._tx.execute(query)
        ]


def alive(now: datetime) -> list[Clause]:
    """Not deleted, not put away, not expired. By its key one is found in quarantine, too."""
    return [cubes.c.deleted_by.is_(None), *lookups.living(now)]


def shelves(tx: sa.Connection, path: Namespace, now: datetime, scope: Scope) -> list[str]:
    """The shelves of a namespace that hold something alive, sorted."""
    where = [namespaces.c.path == json.dumps(path), *scope.clauses_below(), *alive(now)]
    query = sa.select(keys.c.shelf).select_from(_KEYED).where(*where).distinct()
    return sorted(tx.execute(query).scalars())


def find_any(
    tx: sa.Connection, path: Namespace, shelf: str, key: str
) -> tuple[NamespaceRow, Head] | None:
    """Whatever a key was last given to, also if that was deleted or has expired."""
    namespace = lookups.find_namespace(tx, path)
    if namespace is None:
        return None
    query = (
        sa.select(cubes.c.id)
        .join(keys, keys.c.cube_pk == cubes.c.pk)
        .where(keys.c.namespace_pk == namespace.pk, keys.c.shelf == shelf, keys.c.key == key)
    )
    cube_id = tx.execute(query).scalar()
    head = lookups.head(tx, namespace.pk, cube_id, deleted=True) if cube_id else None
    return (namespace, head) if head else None


_BIND = (
    "INSERT OR REPLACE INTO keys (cube_pk, namespace_pk, shelf, key, ttl) VALUES (?, ?, ?, ?, ?)"
)


def bind(
    tx: sa.Connection,
    namespace_pk: int,
    shelf: str,
    key: str,
    cube_pk: int,
    ttl: timedelta | None,
) -> None:
    """Give a key to a cube, whoever had it before."""
    micros = None if ttl is None else ttl // timedelta(microseconds=1)
    hot(tx, _BIND, cube_pk, namespace_pk, shelf, key, micros)


def unbind(tx: sa.Connection, cube_pk: int) -> None:
    """Take its key from a cube, which stays."""
    tx.execute(sa.delete(keys).where(keys.c.cube_pk == cube_pk))


def prolong(tx: sa.Connection, cube_pks: Sequence[int], now: datetime) -> None:
    """Let memories live for their time to live from ``now`` on; not those that are gone."""
    ttl = sa.select(keys.c.ttl).where(keys.c.cube_pk == cubes.c.pk).scalar_subquery()
    tx.execute(
        sa.update(cubes)
        .where(cubes.c.pk.in_(listed(cube_pks)), *alive(now), ttl.is_not(None))
        .values(expires_at=to_micros(now) + ttl)
    )


def expired(
    tx: sa.Connection, root: Namespace, shelf: str, now: datetime, limit: int
) -> list[tuple[NamespaceRow, str]]:
    """Some of the memories whose time is over: their namespace and id."""
    query = (
        sa.select(
            namespaces.c.pk,
            namespaces.c.live,
            namespaces.c.collection,
            namespaces.c.path,
            cubes.c.id,
        )
        .select_from(_KEYED)
        .where(
            *at_or_below(root),
            keys.c.shelf == shelf,
            cubes.c.deleted_by.is_(None),
            cubes.c.expires_at <= to_micros(now),
        )
        .order_by(namespaces.c.pk)
        .limit(limit)
    )
    return [
        (NamespaceRow(pk, live, collection, tuple(json.loads(path))), cube_id)
        for pk, live, collection, path, cube_id in tx.execute(query)
    ]
