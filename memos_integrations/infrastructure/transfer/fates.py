"""What is to become of each staged memory: it is new, goes on, is the same, or is left out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.cube import Behaviour, MemCube, State
from memos_integrations.errors import ArchiveError, VersionConflictError
from memos_integrations.infrastructure.driver import hot
from memos_integrations.infrastructure.transfer.staging import Staged

Conflicts = Literal["keep", "version", "replace"]
"""What happens to a memory that is here already, with other words. ``keep``: nothing. ``version``:
the words that are loaded become its next version. ``replace``: and its state and the end of its
life become those that are loaded. History is never rewritten."""
CONFLICTS: tuple[Conflicts, ...] = ("keep", "version", "replace")

_HERE = (
    "SELECT cubes.pk, namespaces.path, cubes.state, cubes.expires_at, cubes.deleted_by, "
    "versions.version, versions.body, cubes.pk IN (SELECT cube_pk FROM tombstones) FROM cubes "
    "JOIN namespaces ON namespaces.pk = cubes.namespace_pk "
    "JOIN versions ON versions.pk = cubes.head_pk WHERE cubes.id = ?"
)
_SAME_ACTIVITY = (
    "SELECT activities.pk, namespaces.path, verb, at FROM activities "
    "JOIN namespaces ON namespaces.pk = activities.namespace_pk WHERE activities.id = ?"
)


@dataclass(frozen=True)
class Fate:
    """Of one memory. ``new``, ``onward`` (the versions that are missing here follow), ``next``
    (its words follow), ``restated`` (its state follows), ``same``, ``kept``, ``erased``."""

    what: str
    cube_pk: int | None = None
    seen: int = 0
    """The version here."""


def decide(
    tx: sa.Connection, staged: Staged, conflicts: Conflicts, *, thawing: bool = False
) -> dict[str, int]:
    """Write down the fate of each staged memory; return how many there are of each.

    ``thawing``: frozen memories are changed, too.
    """
    counts: dict[str, int] = {}
    columns = "n, id, path, head, state, expires_at"
    for page in staged.pages("memories", columns):
        fates = [(_fate(tx, staged, _Coming(*row[1:]), conflicts, thawing), row[0]) for row in page]
        for fate, _ in fates:
            counts[fate.what] = counts.get(fate.what, 0) + 1
        staged.change(
            "UPDATE memories SET fate = ?, cube_pk = ?, seen = ? WHERE n = ?",
            [(fate.what, fate.cube_pk, fate.seen, n) for fate, n in fates],
        )
    return counts


def confirm(tx: sa.Connection, staged: Staged) -> None:
    """Raise if a memory has changed since its fate was decided."""
    for cube_id, fate, seen in staged.rows("SELECT id, fate, seen FROM memories"):
        here = hot(tx, _HERE, cube_id)
        now = here[0][5] if here else 0
        if now != seen or (here and here[0][7] and fate != "erased"):
            raise VersionConflictError(cube_id, expected=seen, actual=now)


def know_activities(tx: sa.Connection, staged: Staged) -> None:
    """Find the activities that are here already; one that means something else is refused."""
    for page in staged.pages("activities", "n, id, path, verb, at"):
        found = []
        for n, id, path, verb, at in page:
            for pk, *here in hot(tx, _SAME_ACTIVITY, id):
                if here != [path, verb, at]:
                    raise ArchiveError(f"activity {id} is another one in this store")
                found.append((pk, n))
        staged.change("UPDATE activities SET known = ? WHERE n = ?", found)


@dataclass(frozen=True)
class _Coming:
    """A staged memory."""

    id: str
    path: str
    head: int
    state: str
    expires_at: int | None


def _fate(
    tx: sa.Connection, staged: Staged, coming: _Coming, conflicts: Conflicts, thawing: bool
) -> Fate:
    here = hot(tx, _HERE, coming.id)
    if not here:
        return Fate("new")
    pk, where, state, end, deleted_by, version, body, erased = here[0]
    if where != coming.path:
        raise ArchiveError(
            f"memory {coming.id} stands elsewhere in this store: load the archive where it came "
            "from, or into another store"
        )
    if erased:
        return Fate("erased", pk, version)
    frozen = state == State.FROZEN and not thawing
    fixed = conflicts == "keep" or deleted_by is not None or frozen
    now = _words(MemCube.model_validate_json(body))
    if _staged_words(staged, coming.id, coming.head) == now:
        moved = (coming.state, coming.expires_at) != (state, end)
        restated = moved and conflicts == "replace" and not fixed
        return Fate("restated" if restated else "same", pk, version)
    if fixed:
        return Fate("kept", pk, version)
    if version < coming.head and _staged_words(staged, coming.id, version) == now:
        return Fate("onward", pk, version)
    return Fate("next", pk, version)


def _staged_words(staged: Staged, cube_id: str, version: int) -> object:
    query = "SELECT body FROM versions WHERE id = ? AND version = ?"
    return _words(MemCube.model_validate_json(staged.one(query, cube_id, version)))


def _words(cube: MemCube) -> object:
    """What two versions must have in common to be the same, whoever loaded them and when."""
    about = cube.header.descriptive.model_copy(update={"created_at": None})
    rules = cube.header.governance.model_copy(update={"expires_at": None, "owner": ""})
    header = cube.header.model_copy(
        update={"descriptive": about, "governance": rules, "behaviour": Behaviour()}
    )
    return cube.payload, header


def namespaces_of(staged: Staged) -> list[Namespace]:
    """Where the staged memories are to go."""
    paths = staged.rows("SELECT DISTINCT path FROM memories ORDER BY path")
    return [tuple(json.loads(path)) for (path,) in paths]
