"""mem0 2.x: what ``Memory.get_all`` returns, as dicts or as JSON; and its history (SQLite).

``{"results": [{"id", "memory", "hash", "created_at", "updated_at", "user_id", "metadata", ...}]}``;
the table ``history`` has ``memory_id, old_memory, new_memory, event, created_at, updated_at``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memos_integrations.errors import InvalidInputError
from memos_integrations.interface.importing.arrivals import Arrival, Said, moment, parsed, word

_OWN = ("user_id", "agent_id", "run_id", "actor_id", "attributed_to", "hash")


def read(source: Any, history: Any = None) -> list[Arrival]:
    """``source``: a path to JSON, the dict of ``get_all``, or its list of memories."""
    found = parsed(source, "what get_all returns")
    if isinstance(found, Mapping):
        found = found.get("results", found.get("memories"))
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        raise InvalidInputError('a mem0 export is {"results": [{"id": ..., "memory": ...}, ...]}')
    former = {} if history is None else _history(Path(history))
    return [_arrival(one, former.get(str(one.get("id")), [])) for one in found]


def _arrival(one: Mapping[str, Any], former: list[Said]) -> Arrival:
    text, cube_id = one.get("memory", one.get("data")), one.get("id")
    if not isinstance(text, str) or not cube_id:
        raise InvalidInputError(f"a mem0 memory has no id or no words: {one!r:.100}")
    made = moment(one.get("created_at"), "created_at")
    changed = moment(one.get("updated_at"), "updated_at") or made
    versions = list(former)
    if not versions:
        versions = [Said(text, made)]
    elif versions[-1].text != text:
        versions.append(Said(text, changed))
    about = {name: one[name] for name in _OWN if one.get(name) is not None}
    return Arrival(
        str(cube_id),
        versions,
        born=made,
        role=word(one.get("role")),
        speaker=one.get("actor_id") or None,
        said_at=made,
        expires_at=moment(one.get("expiration_date"), "expiration_date"),
        metadata={**(one.get("metadata") or {}), "mem0": about},
    )


def _history(path: Path) -> dict[str, list[Said]]:
    """The versions of each memory, oldest first."""
    if not path.expanduser().is_file():
        raise InvalidInputError(f"{path} cannot be read: there is no such file")
    query = (
        "SELECT memory_id, new_memory, coalesce(updated_at, created_at) FROM history "
        "WHERE new_memory IS NOT NULL AND event IN ('ADD', 'UPDATE') ORDER BY rowid"
    )
    found: dict[str, list[Said]] = {}
    bare = sqlite3.connect(f"{path.expanduser().absolute().as_uri()}?mode=ro", uri=True)
    try:
        for memory_id, text, at in bare.execute(query):
            said = found.setdefault(str(memory_id), [])
            if not said or said[-1].text != text:
                said.append(Said(text, moment(at, "a time in the history")))
    except sqlite3.Error as error:
        raise InvalidInputError(f"{path} is no history of mem0: {error}") from None
    finally:
        bare.close()
    return found
