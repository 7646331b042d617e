"""What the memory tools of every framework do: search, save, update, forget; answers are JSON."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from memos_integrations.cube import MemCube
from memos_integrations.errors import CubeNotFoundError
from memos_integrations.memories.block import harmless
from memos_integrations.recall import clean, is_only
from memos_integrations.session import MemorySession
from memos_integrations.verbs.arguments import MAX_LIMIT

DESCRIPTIONS = {
    "search_memory": "Search what is remembered about the user and earlier conversations.",
    "save_memory": "Remember a lasting fact, preference or plan. Search first: if it is known and "
    "has changed, update that memory instead.",
    "update_memory": "Correct a memory that is no longer true. Its older versions are kept.",
    "forget_memory": "Forget a memory, when the user asks for it. It is not found any more.",
}
QUERY = "what to look for, in plain words"
LIMIT = "the most memories to return"
TEXT = "one fact in a full sentence that can be understood alone"
ID = "the id of a memory, as search_memory gave it"


def search_memory(session: MemorySession, query: str, limit: int) -> str:
    """Ids, texts and dates, best first; recorded questions are left out, as in a recall."""
    asked, want = clean(query), 4 * limit
    vector = session.embed(asked)
    while True:
        hits = session.search(asked, limit=want, vector=vector)
        told = [hit.cube for hit in hits if not is_only(hit.cube, ("question",))][:limit]
        if len(told) == limit or len(hits) < want or want >= MAX_LIMIT:
            break
        want = min(4 * want, MAX_LIMIT)
    return json.dumps([_shown(cube) for cube in told], ensure_ascii=False)


def save_memory(session: MemorySession, text: str, *, call: str | None = None) -> str:
    """The new memory's id. The same text from the same ``call`` is saved once."""
    words = clean(text)
    which = json.dumps([call, words]).encode()
    key = f"tool:{hashlib.sha256(which).hexdigest()}" if call else None
    added = session.add(words, origin="assistant", idempotency_key=key)
    return json.dumps({"saved": [cube.id for cube in added]})


def update_memory(session: MemorySession, id: str, text: str) -> str:
    """The memory's id and its new version, which is the assistant's word and not the user's."""
    try:
        cube = session.update(id, clean(text), origin="assistant")
    except CubeNotFoundError as error:
        raise _unknown(error) from error
    return json.dumps({"updated": cube.id, "version": cube.version})


def forget_memory(session: MemorySession, id: str) -> str:
    """The id that is gone."""
    try:
        session.delete(id)
    except CubeNotFoundError as error:
        raise _unknown(error) from error
    return json.dumps({"forgotten": id})


def _unknown(error: CubeNotFoundError) -> CubeNotFoundError:
    return CubeNotFoundError(f"{error}. Call search_memory to learn the ids")


def _shown(cube: MemCube) -> dict[str, Any]:
    about = cube.header.descriptive
    day = (about.event_time or about.said_at or about.created_at).date().isoformat()
    facts = {
        "id": cube.id,
        "text": harmless(cube.text),
        "date": day,
        "said_by": about.speaker or about.role,
    }
    return {name: value for name, value in facts.items() if value is not None}
