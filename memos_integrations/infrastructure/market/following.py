"""Subscriptions in SQL: what a namespace follows, which memories came of it, and its end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.cube import Behaviour, State
from memos_integrations.infrastructure import erasing, lookups, records, transitions
from memos_integrations.infrastructure.driver import hot
from memos_integrations.infrastructure.erasure import Guard
from memos_integrations.infrastructure.market.packages import Package
from memos_integrations.infrastructure.receipts import Receipt
from memos_integrations.infrastructure.records import Activity
from memos_integrations.infrastructure.schema import (
    cubes,
    from_micros,
    namespaces,
    subscribed,
    subscriptions,
    to_micros,
)


@dataclass(frozen=True)
class Subscription:
    """A package that a namespace follows."""

    id: str
    package: str
    version: str
    publisher: str
    source: str
    licence: str
    expires_at: datetime | None
    memories: dict[str, str]
    """As they stand in the package: id and hash."""


def following(tx: sa.Connection, path: Namespace) -> list[Subscription]:
    """What a namespace follows, oldest first."""
    query = (
        sa.select(subscriptions)
        .join(namespaces, namespaces.c.pk == subscriptions.c.namespace_pk)
        .where(namespaces.c.path == json.dumps(path))
        .order_by(subscriptions.c.pk)
    )
    return [_subscription(row) for row in tx.execute(query)]


def note(
    tx: sa.Connection, path: Namespace, subscription: Subscription, cube_ids: Iterable[str]
) -> None:
    """Write down what is followed, and which memories came of it; they end with the package."""
    space = records.ensure_namespace(tx, path)
    end = None if subscription.expires_at is None else to_micros(subscription.expires_at)
    values = {
        "namespace_pk": space.pk,
        "package": subscription.package,
        "version": subscription.version,
        "source": subscription.source,
        "expires_at": end,
        "body": _body(subscription),
    }
    known = subscriptions.c.id == subscription.id
    if not tx.execute(sa.update(subscriptions).where(known).values(**values)).rowcount:
        tx.execute(sa.insert(subscriptions).values(id=subscription.id, **values))
    pk = tx.execute(sa.select(subscriptions.c.pk).where(known)).scalar_one()
    tx.exec_driver_sql(
        "INSERT OR IGNORE INTO subscribed (cube_pk, subscription_pk) "
        "SELECT cubes.pk, ? FROM json_each(?) AS asked JOIN cubes ON cubes.id = asked.value "
        "WHERE cubes.pk NOT IN (SELECT cube_pk FROM tombstones)",
        (pk, json.dumps(list(cube_ids))),
    )
    mine = sa.select(subscribed.c.cube_pk).where(subscribed.c.subscription_pk == pk)
    tx.execute(sa.update(cubes).where(cubes.c.pk.in_(mine)).values(expires_at=end))


def cubes_of(tx: sa.Connection, subscription_id: str) -> dict[int, str]:
    """Key and id of the memories that came with a subscription."""
    query = (
        sa.select(cubes.c.pk, cubes.c.id)
        .join(subscribed, subscribed.c.cube_pk == cubes.c.pk)
        .join(subscriptions, subscriptions.c.pk == subscribed.c.subscription_pk)
        .where(subscriptions.c.id == subscription_id)
    )
    return {row.pk: row.id for row in tx.execute(query)}


def all_subscribed(tx: sa.Connection) -> set[int]:
    """The keys of all memories that came with a package."""
    return set(tx.execute(sa.select(subscribed.c.cube_pk)).scalars())


def end(
    tx: sa.Connection,
    pks: Sequence[int],
    receipt: Receipt,
    activity: Callable[[], Activity],
    tag: str,
    guard: Guard,
) -> Receipt:
    """Erase memories of a package, and the adapters and KV caches that were made of them.

    What else was derived from them gets a tag that says so.
    """
    first = activity()
    for space, mine in _by_namespace(tx, pks).items():
        activity_pk = records.insert_activity(tx, space, first)
        moves = [(pk, State.FROZEN, State.GENERATED) for pk in mine]
        transitions.move(tx, activity_pk, moves, "the package ends")
        first = activity()
    tx.execute(sa.delete(subscribed).where(subscribed.c.cube_pk.in_(list(pks))))
    receipt, doomed = erasing.survey(tx, pks, cascade=False, receipt=receipt)
    guard(tx, doomed)
    if doomed:
        erasing.erase(tx, receipt, doomed, activity)
    for cube_id in receipt.kept_derived:
        _tag(tx, cube_id, activity(), tag)
    return receipt


def drop(tx: sa.Connection, subscription_id: str) -> None:
    """Follow no longer."""
    tx.execute(sa.delete(subscriptions).where(subscriptions.c.id == subscription_id))


def as_subscription(id: str, package: Package, source: str) -> Subscription:
    """A package, followed from a source."""
    return Subscription(
        id,
        package.name,
        package.version,
        package.publisher,
        source,
        package.licence,
        package.expires_at,
        package.memories,
    )


def _tag(tx: sa.Connection, cube_id: str, activity: Activity, tag: str) -> None:
    """The same words, as a version that says what they came from is gone."""
    query = (
        sa.select(namespaces.c.pk, namespaces.c.path)
        .join(cubes, cubes.c.namespace_pk == namespaces.c.pk)
        .where(cubes.c.id == cube_id)
    )
    space, _ = tx.execute(query).one()
    head = lookups.head(tx, space, cube_id, deleted=True)
    if head is None or tag in head.cube.tags:
        return
    about = head.cube.header.descriptive
    header = head.cube.header.model_copy(
        update={
            "descriptive": about.model_copy(
                update={"tags": (*about.tags, tag), "created_at": activity.at}
            ),
            "behaviour": Behaviour(
                previous_version=head.cube.version,
                context_fingerprint=head.cube.header.behaviour.context_fingerprint,
            ),
        }
    )
    after = head.cube.model_copy(update={"version": head.cube.version + 1, "header": header})
    activity_pk = records.insert_activity(tx, space, activity)
    records.insert_version(tx, activity_pk, head, after)


def _by_namespace(tx: sa.Connection, pks: Sequence[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    asked = "SELECT namespace_pk, pk FROM cubes WHERE pk IN (SELECT value FROM json_each(?))"
    for space, pk in hot(tx, asked, json.dumps(list(pks))):
        found.setdefault(space, []).append(pk)
    return found


def _body(subscription: Subscription) -> str:
    said = asdict(subscription)
    return json.dumps({name: said[name] for name in ("publisher", "licence", "memories")})


def _subscription(row: sa.Row[Any]) -> Subscription:
    about = json.loads(row.body)
    return Subscription(
        row.id,
        row.package,
        row.version,
        about["publisher"],
        row.source,
        about["licence"],
        None if row.expires_at is None else from_micros(row.expires_at),
        about["memories"],
    )
