"""Plain JSON Lines: one object a memory, with ``text`` and what else is known.

``{"text": "...", "id": "7", "created_at": "2026-05-01", "tags": ["a"], "metadata": {}, ...}``
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from memos_integrations.errors import InvalidInputError
from memos_integrations.interface.importing.arrivals import Arrival, Said, moment, word

_KNOWN = {"text", "memory", "content", "id", "created_at", "event_time", "said_at", "expires_at"}
_KNOWN |= {"role", "speaker", "semantic_type", "tags", "metadata", "namespace"}


def read(source: Any) -> list[Arrival]:
    """``source``: a path, or the objects themselves."""
    lines = _lines(Path(source)) if isinstance(source, str | Path) else _numbered(source)
    return [_arrival(where, one) for where, one in lines]


def _lines(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        with path.expanduser().open(encoding="utf-8-sig") as file:
            for n, line in enumerate(file, 1):
                if line.strip():
                    yield f"line {n}", json.loads(line)
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path} is not JSON Lines: {error}") from None


def _numbered(source: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    for n, one in enumerate(source, 1):
        yield f"item {n}", one


def _arrival(where: str, one: Any) -> Arrival:
    if not isinstance(one, Mapping):
        raise InvalidInputError(f"{where} is no object")
    text = next((one[k] for k in ("text", "memory", "content") if k in one), None)
    if not isinstance(text, str):
        raise InvalidInputError(f"{where} has no text")
    namespace = one.get("namespace") or ()
    further = {name: value for name, value in one.items() if name not in _KNOWN}
    times: dict[str, Any] = {
        n: moment(one.get(n), f"{where}, {n}") for n in ("event_time", "said_at", "expires_at")
    }
    made = moment(one.get("created_at"), f"{where}, created_at")
    return Arrival(
        str(one["id"]) if "id" in one else text,
        [Said(text, made)],
        born=made,
        namespace=(namespace,) if isinstance(namespace, str) else tuple(namespace),
        role=word(one.get("role")),
        speaker=one.get("speaker"),
        semantic_type=one.get("semantic_type") or "fact",
        tags=tuple(one.get("tags") or ()),
        metadata={**further, **(one.get("metadata") or {})},
        **times,
    )
