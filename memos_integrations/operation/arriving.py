"""What is loaded, imported or pulled passes the door, too: each version as if it were written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from memos_integrations.cube import MemCube
from memos_integrations.infrastructure.market.watermark import unmarked
from memos_integrations.infrastructure.transfer.staging import Staged
from memos_integrations.operation.door import Door, Entry

Kept = list[tuple[str, int, Entry]]
_SAID = ("text", "tags", "metadata", "speaker")


def examine(staged: Staged, door: Door) -> Callable[[sa.Connection], None]:
    """Change staged versions as the door wants them; what it gives writes what stands beside them,
    once they are in the store. :class:`SensitiveContentError`: nothing may be loaded.
    """
    kept: Kept = []
    if door.guard is None and door.quarantine is None:
        return lambda tx: None
    for page in staged.pages("versions", "n, id, version, body"):
        changed: list[tuple[str, int]] = []
        for n, id, version, body in page:
            cube = MemCube.model_validate_json(body)
            if cube.memory_type != "plaintext":
                continue
            after, entry = _revised(cube, door)
            if entry.pieces or entry.why:
                kept.append((id, version, entry))
            if after is not cube:
                changed.append((after.model_dump_json(), n))
                _whole(staged, cube, after)
        staged.change("UPDATE versions SET body = ? WHERE n = ?", changed)
    return lambda tx: _keep(tx, staged, door, kept)


def _revised(cube: MemCube, door: Door) -> tuple[MemCube, Entry]:
    """A version as it may be written. A mark of a publisher hides nothing, and stays if it can."""
    bare = unmarked(cube.text)
    about = cube.header.descriptive
    said: dict[str, Any] = {
        "text": bare,
        "tags": about.tags,
        "metadata": dict(about.metadata),
        "speaker": about.speaker,
    }
    given = {name: said[name] for name in _SAID if said[name]}
    changed, entry = door.revise(cube, given)
    if changed["text"] == bare:
        changed["text"] = cube.text
    return _with(cube, changed), entry


def _with(cube: MemCube, changed: Mapping[str, Any]) -> MemCube:
    row = cube.model_dump(mode="json")
    before = cube.model_dump(mode="json")
    row["payload"]["text"] = changed["text"]
    for name in ("tags", "metadata"):
        if name in changed:
            row["header"]["descriptive"][name] = changed[name]
    if "sensitivity" in changed:
        row["header"]["governance"]["sensitivity"] = list(changed["sensitivity"])
    row["header"]["descriptive"]["tags"] = list(row["header"]["descriptive"]["tags"])
    return cube if row == before else MemCube.model_validate(row)


def _whole(staged: Staged, before: MemCube, after: MemCube) -> None:
    """Parts are places in the text, and vectors are of it: both are of another one now."""
    if before.text != after.text:
        staged.change("UPDATE memories SET parts = '[]' WHERE id = ?", [(before.id,)])
        staged.change("DELETE FROM vectors WHERE memory = ?", [(before.id,)])


def _keep(tx: sa.Connection, staged: Staged, door: Door, kept: Kept) -> None:
    query = "SELECT fate, seen, head FROM memories WHERE id = ?"
    for id, version, entry in kept:
        [(fate, seen, head)] = staged.rows(query, id)
        follows = fate == "next" and version == head
        if fate == "new" or follows or (fate == "onward" and version > seen):
            why = entry.why if version == head else None
            door.keep(tx, id, seen + 1 if follows else version, replace(entry, why=why))
