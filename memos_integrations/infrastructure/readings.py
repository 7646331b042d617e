"""Which versions a reader with a language model has read, and what was made of them.

A mark is a number among others of its namespace and reader, kept as ranges: a conversation that was
read in order is one range, however long. It says nothing of what was read.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable

import sqlalchemy as sa

from memos_integrations.infrastructure.driver import hot
from memos_integrations.infrastructure.schema import settings

_SAID = (
    "SELECT edges.object_pk, later.context_fingerprint FROM json_each(?) AS asked "
    "CROSS JOIN edges ON edges.object_pk = asked.value AND edges.relation = 'wasDerivedFrom' "
    "CROSS JOIN versions AS later ON later.pk = edges.subject_pk "
    "WHERE later.context_fingerprint IS NOT NULL"
)


def among(tx: sa.Connection, namespace_pk: int, reader: str, pks: Collection[int]) -> set[int]:
    """Those of these versions that this reader has read."""
    ranges = _ranges(tx, namespace_pk, reader)
    return {pk for pk in pks if any(first <= pk <= last for first, last in ranges)}


def mark(tx: sa.Connection, namespace_pk: int, reader: str, pks: Iterable[int]) -> None:
    """This reader has read these versions."""
    joined: list[list[int]] = []
    for first, last in sorted([*_ranges(tx, namespace_pk, reader), *((pk, pk) for pk in pks)]):
        if joined and first <= joined[-1][1] + 1:
            joined[-1][1] = max(joined[-1][1], last)
        else:
            joined.append([first, last])
    key = _key(namespace_pk, reader)
    tx.execute(sa.delete(settings).where(settings.c.key == key))
    tx.execute(sa.insert(settings).values(key=key, value=json.dumps(joined)))


def said_of(tx: sa.Connection, pks: Collection[int]) -> dict[int, set[str]]:
    """By version: the fingerprints of the words of all that was derived from it, deleted or not."""
    said: dict[int, set[str]] = {pk: set() for pk in pks}
    for pk, fingerprint in hot(tx, _SAID, json.dumps(list(pks))):
        said[pk].add(fingerprint)
    return said


def _ranges(tx: sa.Connection, namespace_pk: int, reader: str) -> list[tuple[int, int]]:
    query = sa.select(settings.c.value).where(settings.c.key == _key(namespace_pk, reader))
    return [(first, last) for first, last in json.loads(tx.execute(query).scalar() or "[]")]


def _key(namespace_pk: int, reader: str) -> str:
    return f"read:{namespace_pk}:{reader}"
