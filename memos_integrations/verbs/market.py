"""What a session can do in the market: publish memories, find packages, follow, trace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa

from memos_integrations.checks import Namespace, check_text, check_time
from memos_integrations.cube import MemCube, Principal
from memos_integrations.errors import AccessDeniedError, InvalidInputError, PackageError
from memos_integrations.infrastructure import erasure, retention
from memos_integrations.infrastructure.market import following
from memos_integrations.infrastructure.market.contents import content, here, stage
from memos_integrations.infrastructure.market.following import Subscription
from memos_integrations.infrastructure.market.packages import (
    MAX_MEMORIES,
    Package,
    check_name,
    check_publisher,
    mark_of,
    order,
    public_hex,
)
from memos_integrations.infrastructure.market.shop import Shop
from memos_integrations.infrastructure.market.watermark import marks
from memos_integrations.infrastructure.receipts import Receipt
from memos_integrations.infrastructure.records import ensure_namespace, insert_activity
from memos_integrations.infrastructure.transfer.dumping import note_exports
from memos_integrations.infrastructure.transfer.manner import Manner
from memos_integrations.infrastructure.transfer.staging import Staged
from memos_integrations.models.checked import embed_checked
from memos_integrations.offload import offload
from memos_integrations.verbs.transfer import TransferVerbs


@dataclass(frozen=True)
class Offer:
    """A package in a shop: its newest version."""

    name: str
    version: str
    publisher: str
    licence: str
    description: str
    tags: tuple[str, ...]
    memories: int
    expires_at: datetime | None
    score: float = 0.0
    """Nearness of its description to the question, from -1 to 1."""


@dataclass(frozen=True)
class Pulled:
    """What a pull changed here."""

    package: str
    version: str
    added: int
    updated: int
    removed: int
    fetched: int
    """Memories that were read from the shop: those that are new or changed."""


@dataclass(frozen=True)
class Trace:
    """A mark in a text."""

    mark: str
    package: str | None = None
    """``None``: of no package that is known here."""
    publisher: str | None = None
    known_from: str = ""


class MarketVerbs(TransferVerbs):
    """Verbs of the market; see :mod:`memos_integrations.infrastructure.market`."""

    principal: Principal
    namespace: Namespace

    def publish(
        self,
        place: object,
        name: str,
        *,
        version: str,
        key: Any,
        licence: str,
        description: str = "",
        tags: Iterable[str] = (),
        filters: Mapping[str, Any] | None = None,
        expires_at: datetime | None = None,
        watermark: bool = True,
    ) -> Package:
        """Publish memories of this namespace, as they stand, as a signed package.

        ``place``: a folder, an fsspec URL, or a :class:`MemOS` (or its folder) as a peer. ``key``:
        a private Ed25519 key. ``version``: higher than the last one. What leaves: the words (marked
        with ``watermark``), event time, kind and tags; no metadata, no speaker, no earlier version.
        It takes the right to share each of them. Memories that came with a package stay out. What
        leaves is written down, and :meth:`forget` names it.

        Raises :class:`AccessDeniedError`, :class:`InvalidInputError`, :class:`PackageError`.
        """
        now, publisher, shop = self._operator.now(), public_hex(key), Shop(place)
        package = Package(
            check_name(name),
            version,
            publisher,
            check_text(licence, what="licence", max_bytes=4096),
            description,
            tuple(check_text(tag, what="tag", max_bytes=256) for tag in tags),
            now,
            None if expires_at is None else check_time(expires_at, what="expires_at"),
            {},
        )
        order(version)
        package.check_time(now)
        before = shop.versions(name, publisher)
        if before and not package.newer_than(before[-1]):
            raise PackageError(f"{name}@{before[-1]} is published already: take a higher version")
        chosen = self._shareable(filters)
        mark = mark_of(publisher, name) if watermark else None
        memories = {cube.id: shop.put(content(cube, mark)) for cube in chosen.values()}
        package = replace(package, memories=memories)
        self._note_published(chosen, package)
        shop.offer(package, key)
        return package

    async def apublish(self, place: object, name: str, **options: Any) -> Package:
        """:meth:`publish`, without blocking the event loop."""
        return await offload(self.publish, place, name, **options)

    def packages(
        self, place: object, query: str | None = None, *, tags: Iterable[str] = ()
    ) -> list[Offer]:
        """What a shop offers: those with all of these ``tags``, nearest to ``query`` first.

        Looked for in names, descriptions and tags, before anything is pulled. Left out: what is
        over, and what is not properly signed. A signature says that a publisher signed it, and not
        that the publisher can be trusted.
        """
        wanted, now = set(tags), self._operator.now()
        found = [one for one in Shop(place).all() if wanted <= set(one.tags)]
        found = [one for one in found if one.expires_at is None or one.expires_at > now]
        offers = [_offer(one) for one in found]
        if query is None or not offers:
            return offers
        question = self._operator.question(check_text(query, what="query"))
        texts = [" ".join([one.name, one.description, *one.tags]) for one in offers]
        scores = embed_checked(self._operator.embedder, texts) @ question
        ranked = [replace(o, score=float(s)) for o, s in zip(offers, scores, strict=True)]
        return sorted(ranked, key=lambda one: (-one.score, one.name))

    async def apackages(
        self, place: object, query: str | None = None, **options: Any
    ) -> list[Offer]:
        """:meth:`packages`, without blocking the event loop."""
        return await offload(self.packages, place, query, **options)

    def subscribe(self, place: object, name: str, *, publisher: str) -> Pulled:
        """Follow a package: its memories come into this namespace, to be read and not changed.

        ``publisher``: the public key in hex, which you know from elsewhere; only what is signed
        with it is ever taken. The memories have the origin ``subscribed`` and end when the package
        does, at that second. Takes the right to write all of this namespace.
        """
        check_publisher(publisher)
        if any(one.package == check_name(name) for one in self.subscriptions()):
            raise InvalidInputError(f"{name!r} is followed already: pull() brings what is new")
        package = Shop(place).latest(name, publisher)
        new = following.as_subscription(self._operator.new_id(), package, Shop(place).url)
        return self._pull(replace(new, version="0", memories={}), package)

    async def asubscribe(self, place: object, name: str, *, publisher: str) -> Pulled:
        """:meth:`subscribe`, without blocking the event loop."""
        return await offload(self.subscribe, place, name, publisher=publisher)

    def pull(self, name: str, *, place: object | None = None) -> Pulled:
        """Bring what is new in a package; only what changed is fetched.

        ``place``: where it lies now, if it moved. :class:`PackageError`, and nothing changed, if
        the shop offers an older version than was pulled before, or another one of the same number,
        or one that is badly signed, altered or over.
        """
        known = self._followed(name)
        source = known.source if place is None else Shop(place).url
        package = Shop(source).latest(known.package, known.publisher)
        return self._pull(replace(known, source=source), package)

    async def apull(self, name: str, **options: Any) -> Pulled:
        """:meth:`pull`, without blocking the event loop."""
        return await offload(self.pull, name, **options)

    def unsubscribe(self, name: str) -> Receipt:
        """Follow a package no longer: its memories are erased here, and what
        adapters and KV caches were made of them.

        What else was derived from them stays, and gets the tag ``unsubscribed:NAME``; the receipt
        names it in ``kept_derived``.
        """
        self._vault.require("write", self.namespace, "unsubscribe in", full=True)
        known = self._followed(name)
        return self._end(known, lambda tx: list(following.cubes_of(tx, known.id)), drop=True)

    async def aunsubscribe(self, name: str) -> Receipt:
        """:meth:`unsubscribe`, without blocking the event loop."""
        return await offload(self.unsubscribe, name)

    def subscriptions(self) -> list[Subscription]:
        """The packages that this namespace follows."""
        self._vault.require("read", self.namespace, "list the subscriptions of")
        with self._vault.snapshot(self.namespace) as view:
            return following.following(view.tx, self.namespace)

    async def asubscriptions(self) -> list[Subscription]:
        """:meth:`subscriptions`, without blocking the event loop."""
        return await offload(self.subscriptions)

    def trace(self, text: str, *, place: object | None = None) -> list[Trace]:
        """Which packages the words of a text came from, as far as they are still marked.

        Known are the packages that this namespace follows, and those of a shop.
        """
        known = {
            mark_of(one.publisher, one.package): (one.package, one.publisher, "a subscription")
            for one in self.subscriptions()
        }
        for offer in () if place is None else Shop(place).all():
            found = offer.name, offer.publisher, Shop(place).url
            known.setdefault(mark_of(offer.publisher, offer.name), found)
        return [Trace(mark.hex(), *known.get(mark, ())) for mark in marks(text)]

    async def atrace(self, text: str, **options: Any) -> list[Trace]:
        """:meth:`trace`, without blocking the event loop."""
        return await offload(self.trace, text, **options)

    # Within -------------------------------------------------------------------------------

    def _shareable(self, filters: Mapping[str, Any] | None) -> dict[int, MemCube]:
        clauses = self._vault.clauses(filters)
        scope = self._vault.sight().of(self.namespace, "share")
        found: dict[int, MemCube] = {}
        after: str | None = None
        with self._vault.snapshot(self.namespace) as view:
            foreign = following.all_subscribed(view.tx)
            while page := view.page(clauses, 500, after):
                after = page[-1].id
                alive = {cube.id for cube in view.searchable([cube.id for cube in page])}
                for cube in page:
                    head = view.head(cube.id)
                    if head is None or head.cube_pk in foreign or cube.id not in alive:
                        continue
                    if scope.why(cube) is None:
                        raise AccessDeniedError(
                            f"{self.principal.id!r} may not share all of that: ask for a grant"
                        )
                    if cube.memory_type == "plaintext":
                        found[head.cube_pk] = cube
        if not 0 < len(found) <= MAX_MEMORIES:
            raise InvalidInputError(f"{len(found):,} memories fit: a package has 1 to 100,000")
        return found

    def _note_published(self, chosen: Mapping[int, MemCube], package: Package) -> None:
        activity = replace(self._operator.activity("publish", self.principal), asker=None)

        def work(tx: sa.Connection) -> tuple[None, bool]:
            for pk, cube in chosen.items():
                self._unchanged(tx, pk, cube)
            insert_activity(tx, ensure_namespace(tx, self.namespace).pk, activity)
            left = ((pk, cube.version) for pk, cube in chosen.items())
            note_exports(tx, left, package.label, activity)
            return None, False

        self._vault.commit(work)

    def _unchanged(self, tx: sa.Connection, pk: int, cube: MemCube) -> None:
        gone = "SELECT 1 FROM tombstones WHERE cube_pk = ?"
        if tx.exec_driver_sql(gone, (pk,)).first() is not None:
            raise PackageError(f"memory {cube.id} was erased while it was published: publish again")

    def _followed(self, name: str) -> Subscription:
        for one in self.subscriptions():
            if one.package == name:
                return one
        raise InvalidInputError(f"{name!r:.80} is not followed in {'/'.join(self.namespace)}")

    def _pull(self, known: Subscription, package: Package) -> Pulled:
        self._vault.require("write", self.namespace, "pull into", full=True)
        now = self._operator.now()
        package.check_time(now)
        if order(package.version) < order(known.version):
            raise PackageError(
                f"the shop offers {package.label}, but {known.version} was pulled before: an older "
                "version is refused"
            )
        same = package.version == known.version
        if same and package.memories != known.memories:
            raise PackageError(f"{package.label} is not what it was: it was signed again")
        shop, ids = Shop(known.source), partial(here, known.id)
        changed = {one: h for one, h in package.memories.items() if known.memories.get(one) != h}
        with Staged(self.namespace) as staged:
            for cube_id, digest in changed.items():
                memory = shop.memory(cube_id, digest)
                stage(staged, memory, package, ids(cube_id), now, digest)
            staged.check()
            subscription = following.as_subscription(known.id, package, known.source)
            every = [ids(one) for one in package.memories]

            def note(tx: sa.Connection, _: int) -> None:
                following.note(tx, self.namespace, subscription, every)

            manner = Manner(package.label, "version", thawing=True, always=not same, also=note)
            loaded = self._take(staged, manner, "pull")
        removed = self._remove(subscription, set(every))
        return Pulled(
            package.name, package.version, loaded.added, loaded.updated, removed, len(changed)
        )

    def _remove(self, known: Subscription, kept: set[str]) -> int:
        """Erase what is no longer in the package."""
        with self._vault.snapshot(self.namespace) as view:
            here = following.cubes_of(view.tx, known.id)
        gone = [pk for pk, cube_id in here.items() if cube_id not in kept]
        if gone:
            self._end(known, lambda tx: gone, drop=False)
        return len(gone)

    def _end(self, known: Subscription, choose: Any, *, drop: bool) -> Receipt:
        def activity() -> Any:
            return replace(self._operator.activity("unsubscribe", self.principal), asker=None)

        asked = Receipt(
            id=self._operator.new_id(),
            at=self._operator.now(),
            principal=self.principal.id,
            namespace=self.namespace,
            reason=f"the package {known.package} ends here",
            memories=(),
        )
        tag, vault = f"unsubscribed:{known.package}", self._vault
        guard = retention.guard(lambda: vault.retention, vault.rules, vault.asker, vault.now())
        self._vault.flush_counters()

        def work(tx: sa.Connection) -> tuple[Receipt, bool]:
            receipt = following.end(tx, choose(tx), asked, activity, tag, guard)
            if drop:
                following.drop(tx, known.id)
            return receipt, True

        receipt = self._vault.commit(work)
        self._vault.tell_erased(receipt.ids)
        return erasure.finish(self._vault, receipt, self._operator.now)


def _offer(package: Package) -> Offer:
    return Offer(
        package.name,
        package.version,
        package.publisher,
        package.licence,
        package.description,
        package.tags,
        len(package.memories),
        package.expires_at,
    )
