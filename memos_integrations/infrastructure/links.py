"""Links between memories in SQL: from the later version to the earlier one, each with its reason.

A link holds for the two versions that it was found between. When one of them is revised, or may
not be shown any more, the link is silent.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from memos_integrations.cube import MemCube
from memos_integrations.infrastructure import lookups
from memos_integrations.infrastructure.driver import hot
from memos_integrations.infrastructure.lookups import HEADS, NamespaceRow
from memos_integrations.infrastructure.schema import cubes, settings, versions

SUPERSEDES, SUPERSEDED_BY = "supersedes", "superseded_by"
WHOLLY = 0.7
"""The score from which on the newer memory stands for all that the older one says."""

_HEADS = (
    "SELECT cubes.pk, cubes.head_pk FROM json_each(?) AS asked "
    "CROSS JOIN cubes ON cubes.pk = asked.value"
)
_WRITABLE = f"{_HEADS} WHERE cubes.pk NOT IN (SELECT cube_pk FROM tombstones)"
_ENDS = (
    "JOIN versions AS later ON later.pk = links.subject_pk "
    "JOIN versions AS earlier ON earlier.pk = links.object_pk "
    "JOIN cubes AS one ON one.pk = later.cube_pk AND one.head_pk = later.pk "
    "JOIN cubes AS other ON other.pk = earlier.cube_pk AND other.head_pk = earlier.pk "
)
_COLUMNS = (
    "SELECT one.pk, other.pk, one.id, other.id, links.relation, links.score, links.because "
    f"FROM links {_ENDS}"
)
_ORDER = "ORDER BY links.subject_pk, links.object_pk, links.relation"
_ALL = f"{_COLUMNS} WHERE one.namespace_pk = ? {_ORDER}"
_OF_ONE = (
    f"{_COLUMNS} WHERE links.subject_pk = (SELECT head_pk FROM cubes WHERE pk = ?) "
    f"OR links.object_pk = (SELECT head_pk FROM cubes WHERE pk = ?) {_ORDER}"
)
# Few memories first, each with its few links: SQLite joins a CROSS JOIN in the order written.
_FROM_ASKED = (
    "FROM json_each(?) AS asked CROSS JOIN cubes ON cubes.pk = asked.value CROSS JOIN links "
)
_TO_OBJECT = (
    f"{_FROM_ASKED} ON links.subject_pk = cubes.head_pk "
    "JOIN versions ON versions.pk = links.object_pk "
    "JOIN cubes AS far ON far.pk = versions.cube_pk AND far.head_pk = versions.pk"
)
_TO_SUBJECT = (
    f"{_FROM_ASKED} ON links.object_pk = cubes.head_pk "
    "JOIN versions ON versions.pk = links.subject_pk "
    "JOIN cubes AS far ON far.pk = versions.cube_pk AND far.head_pk = versions.pk"
)
_ORIGINS = (
    "SELECT versions.cube_pk FROM edges CROSS JOIN versions ON versions.pk = edges.object_pk "
    "WHERE edges.subject_pk = ? AND edges.relation = 'wasDerivedFrom'"
)
_FAR = "SELECT cubes.pk, far.pk"
_WHOLLY = f"links.score >= {WHOLLY}"
_SUCCESSORS = (
    f"{_FAR}, versions.pk {_TO_SUBJECT} WHERE links.relation = '{SUPERSEDES}' AND {_WHOLLY} UNION "
    f"{_FAR}, versions.pk {_TO_OBJECT} WHERE links.relation = '{SUPERSEDED_BY}' AND {_WHOLLY} "
    "ORDER BY 3"
)
_NEIGHBOURS = (
    f"{_FAR}, links.score {_TO_SUBJECT} UNION ALL {_FAR}, links.score {_TO_OBJECT} ORDER BY 3 DESC"
)


@dataclass(frozen=True)
class NewLink:
    """A link to be written, by the keys of cubes."""

    subject_pk: int
    object_pk: int
    relation: str
    score: float
    because: str


@dataclass(frozen=True)
class Link:
    """What two memories have to do with each other; as a string, a line to read."""

    subject: str
    """The id of the memory that was written later."""
    object: str
    relation: str
    """What the subject is to the object, such as ``duplicate`` or ``supersedes``."""
    score: float
    """How sure, 0 to 1."""
    because: str

    def __str__(self) -> str:
        return f"{self.subject} {self.relation} {self.object}: {self.because}"


@dataclass(frozen=True)
class Fresh:
    """A memory that was not compared with the others yet."""

    cube_pk: int
    version_pk: int
    activity_pk: int
    cube: MemCube


def write(tx: sa.Connection, activity_pk: int, new: Sequence[NewLink]) -> None:
    """Write links between the present versions of cubes; what is known stays as it is.

    None to a memory that was erased since it was read: the reason may quote it.
    """
    ends = {pk for one in new for pk in (one.subject_pk, one.object_pk)}
    head = dict(hot(tx, _WRITABLE, json.dumps(list(ends))))
    rows = [
        (
            head[one.subject_pk],
            head[one.object_pk],
            one.relation,
            one.score,
            one.because,
            activity_pk,
        )
        for one in new
        if one.object_pk in head
        and one.subject_pk in head
        and head[one.object_pk] < head[one.subject_pk]
    ]
    if rows:
        tx.exec_driver_sql("INSERT OR IGNORE INTO links VALUES (?, ?, ?, ?, ?, ?)", rows)


def head_pks(tx: sa.Connection, cube_pks: Collection[int]) -> dict[int, int]:
    """The present versions of cubes, by key."""
    return dict(hot(tx, _HEADS, json.dumps(list(cube_pks))))


def origins(tx: sa.Connection, version_pk: int) -> set[int]:
    """The keys of the memories that a version was derived from."""
    return {pk for (pk,) in hot(tx, _ORIGINS, version_pk)}


def of(tx: sa.Connection, namespace_pk: int, now: datetime, cube_pk: int | None) -> list[Link]:
    """The links of one memory, or all of a namespace, between memories that may be shown."""
    rows = hot(tx, _ALL, namespace_pk) if cube_pk is None else hot(tx, _OF_ONE, cube_pk, cube_pk)
    ends = {pk for row in rows for pk in row[:2]}
    shown = lookups.passing(tx, namespace_pk, ends, now)
    return [Link(*row[2:]) for row in rows if row[0] in shown and row[1] in shown]


def neighbours(tx: sa.Connection, cube_pks: Sequence[int]) -> dict[int, list[int]]:
    """By key: what is linked to it, the surest first, whatever may be shown."""
    found: dict[int, list[int]] = {pk: [] for pk in cube_pks}
    asked = json.dumps(list(cube_pks))
    for pk, other, _ in hot(tx, _NEIGHBOURS, asked, asked):
        found[pk].append(other)
    return found


def successors(tx: sa.Connection, cube_pks: Collection[int]) -> dict[int, list[int]]:
    """By key: what has superseded it, whatever may be shown; the newest last."""
    found: dict[int, list[int]] = {}
    asked = json.dumps(list(cube_pks))
    for pk, newer, _ in hot(tx, _SUCCESSORS, asked, asked):
        found.setdefault(pk, []).append(newer)
    return found


def fresh(tx: sa.Connection, namespace: NamespaceRow, now: datetime, limit: int) -> list[Fresh]:
    """Memories that were written since the last :func:`mark`, oldest first."""
    since = tx.execute(
        sa.select(settings.c.value).where(settings.c.key == _key(namespace.pk))
    ).scalar()
    columns = (
        cubes.c.pk, cubes.c.head_pk, versions.c.activity_pk, versions.c.body, cubes.c.expires_at,
        cubes.c.state,
    )  # fmt: skip
    query = (
        sa.select(*columns)
        .select_from(HEADS)
        .where(
            *lookups.searchable(namespace.pk, now),
            versions.c.memory_type == "plaintext",
            versions.c.pk > int(since or 0),
        )
        .order_by(versions.c.pk)
        .limit(limit)
    )
    return [
        Fresh(
            row.pk,
            row.head_pk,
            row.activity_pk,
            lookups.read_cube(row.body, row.expires_at, row.state),
        )
        for row in tx.execute(query)
    ]


def mark(tx: sa.Connection, namespace_pk: int, version_pk: int) -> None:
    """Everything up to this version is compared."""
    tx.execute(sa.delete(settings).where(settings.c.key == _key(namespace_pk)))
    tx.execute(sa.insert(settings).values(key=_key(namespace_pk), value=str(version_pk)))


def _key(namespace_pk: int) -> str:
    return f"organised:{namespace_pk}"
