"""Writing what a reader with a language model made of turns: in the transaction that marks them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from memos_integrations.cube import MemCube
from memos_integrations.infrastructure import quarantine, readings, records
from memos_integrations.infrastructure.driver import hot
from memos_integrations.infrastructure.lookups import NamespaceRow
from memos_integrations.infrastructure.records import Activity
from memos_integrations.protocols import Vectors

_HEADS = (
    "SELECT cubes.head_pk FROM json_each(?) AS asked CROSS JOIN cubes ON cubes.id = asked.value"
)


@dataclass(frozen=True)
class Made:
    """A memory that is to be written, and what it was made of."""

    cube: MemCube
    sources: tuple[MemCube, ...]


@dataclass(frozen=True)
class Reading:
    """What became of turns that were read, by ids."""

    written: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    """Turns that were changed or deleted while they were read."""


def fresh(
    tx: sa.Connection,
    namespace: NamespaceRow,
    reader: str,
    made: Sequence[Made],
    pks: Mapping[str, int],
) -> list[int]:
    """Which of these are to be written, by place.

    ``pks``: the versions of the turns that are as they were. Not what was made of others, nor of
    one that was read meanwhile, nor what was said of it before in the same words.
    """
    read = readings.among(tx, namespace.pk, reader, pks.values())
    said = readings.said_of(tx, pks.values())

    def is_fresh(one: Made) -> bool:
        words = one.cube.header.behaviour.context_fingerprint
        sources = [pks.get(source.id) for source in one.sources]
        return all(pk is not None and pk not in read and words not in said[pk] for pk in sources)

    return [place for place, one in enumerate(made) if is_fresh(one)]


def write(
    tx: sa.Connection,
    namespace: NamespaceRow,
    activity: Activity,
    made: Sequence[Made],
    vectors: Vectors,
    pks: Mapping[str, int],
) -> list[int]:
    """Write these, as one activity; return the keys of their versions.

    ``vectors``: float32, ``(len(made), dimension)``, unit length.
    """
    activity_pk = records.insert_activity(tx, namespace.pk, activity)
    cubes = [one.cube for one in made]
    records.insert_cubes(tx, namespace, activity_pk, cubes, vectors)
    for one in made:
        ids = [source.id for source in one.sources]
        records.derive(tx, one.cube.id, [pks[id] for id in ids])
        quarantine.inherit(tx, one.cube.id, ids)
    return [pk for (pk,) in hot(tx, _HEADS, json.dumps([cube.id for cube in cubes]))]
