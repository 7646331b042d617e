"""What a search asks about its candidates besides vectors and words: who, when, next to what.

A few statements a search, whatever the size of the store; no table is needed for them. The
order of ids is the order of writing (they are UUIDv7), so the neighbours of a memory in its
namespace are read off the index ``cubes_by_namespace``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from memos_integrations.cube import TRUSTED
from memos_integrations.infrastructure.driver import hot

_BELIEVED = ", ".join(map(repr, TRUSTED))
_LOW = (
    "coalesce(json_extract(head.body, '$.header.governance.trust'), "
    f"CASE WHEN head.origin IN ({_BELIEVED}) THEN 'high' ELSE 'low' END) = 'low'"
)
_COLUMNS = (
    "SELECT cubes.pk, versions.role, versions.speaker, versions.event_time, versions.said_at, "
    f"versions.created_at, json_extract(versions.body, '$.payload.text'), {_LOW} "
    "FROM json_each(?) AS found CROSS JOIN cubes ON cubes.pk = found.value "
)
_ABOUT = f"{_COLUMNS} CROSS JOIN versions ON versions.pk = cubes.head_pk".replace(
    "head.", "versions."
)
_ABOUT_THEN = (
    f"{_COLUMNS} CROSS JOIN versions AS head ON head.pk = cubes.head_pk "
    "CROSS JOIN versions ON versions.pk = (SELECT each.pk FROM versions AS each "
    "WHERE each.cube_pk = cubes.pk AND each.activity_pk <= ? ORDER BY each.version DESC LIMIT 1)"
)


def _beside(sign: str, order: str, place: int) -> str:
    return (
        "(SELECT pk FROM cubes AS one WHERE one.namespace_pk = here.namespace_pk "
        f"AND one.id {sign} here.id ORDER BY one.id {order} LIMIT 1 OFFSET {place})"
    )


_AROUND = (
    f"SELECT {_beside('<', 'DESC', 1)}, {_beside('<', 'DESC', 0)}, here.pk, "
    f"{_beside('>', 'ASC', 0)}, {_beside('>', 'ASC', 1)} "
    "FROM json_each(?) AS found CROSS JOIN cubes AS here ON here.pk = found.value"
)
_REMARK = re.compile(r"\s*\[[^\]]*\]\s*$")


@dataclass(frozen=True, slots=True)
class About:
    """What scores are made of beside likeness; times in microseconds since 1970."""

    role: str | None
    speaker: str | None
    event_time: int | None
    said_at: int | None
    created_at: int
    text: str
    low: bool = False
    """Whether it is of low trust, as that stands today."""

    @property
    def is_turn(self) -> bool:
        """Whether it was said in a conversation (and is no fact or document)."""
        return self.role is not None

    @property
    def asks(self) -> bool:
        """Whether it is a turn that ends in a question; remarks in brackets do not count."""
        return self.is_turn and "?" in self.text and _REMARK.sub("", self.text).endswith("?")

    @property
    def moment(self) -> int:
        """When it was said, else written."""
        return self.created_at if self.said_at is None else self.said_at


def about(tx: sa.Connection, cube_pks: Collection[int]) -> dict[int, About]:
    """By key: the current version of each."""
    return _read(hot(tx, _ABOUT, json.dumps(list(cube_pks))))


def about_then(tx: sa.Connection, cube_pks: Collection[int], activity_pk: int) -> dict[int, About]:
    """The same of the versions that stood at an activity."""
    return _read(hot(tx, _ABOUT_THEN, json.dumps(list(cube_pks)), activity_pk))


def _read(rows: Sequence[tuple[Any, ...]]) -> dict[int, About]:
    found = {}
    for pk, role, speaker, event_time, said_at, created_at, text, low in rows:
        found[pk] = About(role, speaker, event_time, said_at, created_at, text or "", bool(low))
    return found


def around(tx: sa.Connection, cube_pks: Collection[int]) -> list[tuple[int | None, ...]]:
    """For each: the two written before it in its namespace, itself, and the two after it."""
    return hot(tx, _AROUND, json.dumps(list(cube_pks)))
