"""Which memories came with a package that others published: they are read, not changed."""

from __future__ import annotations

import json
from collections.abc import Iterable

import sqlalchemy as sa

from memos_integrations.errors import FrozenCubeError
from memos_integrations.infrastructure.driver import hot

_PACKAGE = (
    "SELECT cubes.id, subscriptions.package FROM json_each(?) AS asked "
    "CROSS JOIN subscribed ON subscribed.cube_pk = asked.value "
    "JOIN subscriptions ON subscriptions.pk = subscribed.subscription_pk "
    "JOIN cubes ON cubes.pk = subscribed.cube_pk LIMIT 1"
)


def refuse_change(tx: sa.Connection, cube_pks: Iterable[int]) -> None:
    """Raise :class:`FrozenCubeError` if one of these belongs to a package."""
    for cube_id, package in hot(tx, _PACKAGE, json.dumps(list(cube_pks))):
        raise FrozenCubeError(
            f"memory {cube_id} came with the package {package!r}: it can be read, not changed; "
            "unsubscribe() takes it away"
        )
