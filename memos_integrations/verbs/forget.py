"""What a session can do to make the store forget for good."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import Any

import sqlalchemy as sa

from memos_integrations.checks import Namespace, check_id, check_text
from memos_integrations.cube import MemCube, Principal
from memos_integrations.errors import CubeNotFoundError, InvalidInputError
from memos_integrations.infrastructure import erasing, lookups, receipts
from memos_integrations.infrastructure.access import at_or_below
from memos_integrations.infrastructure.erasure import Wish
from memos_integrations.infrastructure.receipts import Receipt
from memos_integrations.infrastructure.schema import cubes, namespaces, versions
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.interface.reader import MemReader
from memos_integrations.offload import offload
from memos_integrations.operation.operator import MemOperator
from memos_integrations.query import Hit
from memos_integrations.verbs.erasing import Erasing

Asked = str | MemCube | Hit
"""A memory, by its id or as it was read."""

MOST = 10_000
"""The most hits of a search that go at once."""


class ForgetVerbs(Erasing):
    """Verbs of erasure; see :mod:`memos_integrations.infrastructure.erasure`."""

    principal: Principal
    namespace: Namespace
    _vault: MemVault
    _operator: MemOperator
    _reader: MemReader

    def forget(
        self,
        what: Asked | Iterable[Asked] | None = None,
        *,
        query: str | None = None,
        limit: int | None = None,
        filters: Mapping[str, Any] | None = None,
        principal: str | None = None,
        cascade: bool = True,
        dry_run: bool = False,
        reason: str = "asked for",
    ) -> Receipt:
        """Erase memories: the content of every version goes from the store and all its files.

        ``what``: a memory or several. Or ``query``: the ``limit`` best hits of a search. Or
        ``filters`` alone: all memories of this namespace that fit, also archived and deleted ones.
        Or ``principal``: all memories that this principal owns, here and in all namespaces below.
        ``filters`` narrows the last two.

        With ``cascade`` every memory that was derived from them (merged, summarised, copied into a
        branch) is erased, too; without it, an adapter or KV cache that was made of one of them
        still is: it cannot unlearn one memory. What they were derived from stays, and the receipt
        names it. With ``dry_run`` nothing is changed, and the receipt says what would be.
        ``reason`` is kept.

        A tombstone stays: :meth:`history` shows as many versions, without content. Raises
        :class:`CubeNotFoundError`, :class:`FrozenCubeError`, :class:`LegalHoldError`; all or none.
        """
        why = check_text(reason, what="reason", max_bytes=1024)
        given = [name for name, value in _given(what, query, principal).items() if value]
        if len(given) > 1 or not (given or filters is not None):
            raise InvalidInputError(
                "forget() takes memories, or one of query=, filters= and principal="
            )
        if (query is None) != (limit is None):
            raise InvalidInputError(
                "query= and limit= go together: how many of the best hits are to be erased? See "
                "which with dry_run=True"
            )
        if what is not None and filters is not None:
            raise InvalidInputError("filters= says nothing about memories that are given: leave it")
        ids = self._chosen(what, query, limit, filters, principal)
        receipt = Receipt(
            id=self._operator.new_id(),
            at=self._operator.now(),
            principal=self.principal.id,
            namespace=self.namespace,
            reason=why,
            memories=(),
        )
        wish = Wish(partial(_keys, ids), receipt, cascade=cascade, guard=self._guard())
        return self._erase(wish, dry_run=dry_run)

    async def aforget(self, what: Asked | Iterable[Asked] | None = None, **options: Any) -> Receipt:
        """:meth:`forget`, without blocking the event loop."""
        return await offload(self.forget, what, **options)

    def receipts(self) -> list[Receipt]:
        """The erasures that were asked for in this namespace, oldest first."""
        with self._vault.snapshot(self.namespace) as view:
            return receipts.asked_in(view.tx, self.namespace)

    async def areceipts(self) -> list[Receipt]:
        """:meth:`receipts`, without blocking the event loop."""
        return await offload(self.receipts)

    # Within -------------------------------------------------------------------------------

    def _chosen(
        self,
        what: Asked | Iterable[Asked] | None,
        query: str | None,
        limit: int | None,
        filters: Mapping[str, Any] | None,
        principal: str | None,
    ) -> list[str]:
        if what is not None:
            return self._named(what)
        if query is not None:
            return self._found(query, limit, filters)
        return self._fitting(filters, principal)

    def _named(self, what: Asked | Iterable[Asked]) -> list[str]:
        several = [what] if isinstance(what, str | MemCube | Hit) else list(what)
        ids = list(dict.fromkeys(map(_id, several)))
        with self._vault.snapshot(self.namespace) as view:
            for one in ids:
                head = view.head(one, deleted=True)
                if head is None or head.cube.memory_type == "erased":
                    raise CubeNotFoundError(
                        f"no memory {one} in namespace {'/'.join(self.namespace)}"
                    )
        return ids

    def _found(self, query: str, limit: int | None, filters: Mapping[str, Any] | None) -> list[str]:
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST:
            raise InvalidInputError(f"limit is {limit!r}: give a number from 1 to {MOST:,}")
        call = self._reader.ask(query, now=self._operator.now())
        hits = self._operator.search(
            self.namespace, call, limit=limit, filters=filters, counted=False
        )
        return [hit.cube.id for hit in hits]

    def _fitting(self, filters: Mapping[str, Any] | None, principal: str | None) -> list[str]:
        where = [cubes.c.pk.not_in(lookups.ERASED), *self._vault.clauses(filters)]
        heads = lookups.HEADS.join(namespaces, namespaces.c.pk == cubes.c.namespace_pk)
        if principal is None:
            where.append(namespaces.c.path == json.dumps(self.namespace))
        else:
            who = check_text(principal, what="principal", max_bytes=256)
            where += [*at_or_below(self.namespace), versions.c.owner == who]
        wanted = sa.select(cubes.c.id).select_from(heads).where(*where).order_by(cubes.c.pk)
        with self._vault.snapshot(self.namespace) as view:
            return list(view.tx.execute(wanted).scalars())


def _given(what: object, query: object, principal: object) -> dict[str, bool]:
    named = {"what": what, "query": query, "principal": principal}
    return {name: value is not None for name, value in named.items()}


def _id(memory: Asked) -> str:
    cube = memory.cube if isinstance(memory, Hit) else memory
    return cube.id if isinstance(cube, MemCube) else check_id(cube)


def _keys(ids: Collection[str], tx: sa.Connection) -> Collection[int]:
    """Of these memories, those that are not erased yet."""
    each = sa.func.json_each(json.dumps(list(ids))).table_valued("value")
    asked = cubes.c.id.in_(sa.select(each.c.value))
    found = list(tx.execute(sa.select(cubes.c.pk).where(asked)).scalars())
    return set(found) - erasing.erased_among(tx, found)
