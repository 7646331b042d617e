"""Any LangGraph ``BaseStore``: by what it answers to ``search``, so nothing is imported.

Items keep their namespaces and keys, on the shelf of ``MemOSStore``: it finds them there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from memos_integrations.errors import InvalidInputError
from memos_integrations.interface.importing.arrivals import Arrival, Said, moment

SHELF = "langgraph"
_PAGE = 500


def read(source: Any) -> list[Arrival]:
    """``source``: a store, or the items that it gave."""
    return [_arrival(item) for item in (_items(source) if hasattr(source, "search") else source)]


def _items(store: Any) -> list[Any]:
    found: list[Any] = []
    while page := store.search((), limit=_PAGE, offset=len(found)):
        found += page
    return found


def _arrival(item: Any) -> Arrival:
    namespace, key, value = (getattr(item, name, None) for name in ("namespace", "key", "value"))
    if not isinstance(key, str) or not isinstance(value, Mapping) or not namespace:
        raise InvalidInputError(f"this is no item of a LangGraph store: {item!r:.100}")
    said = [Said(words(value), moment(getattr(item, "updated_at", None), "updated_at"))]
    return Arrival(
        json.dumps([*namespace, key], ensure_ascii=False),
        said,
        namespace=tuple(namespace),
        metadata=value,
        key={"shelf": SHELF, "key": key, "ttl": None},
    )


def words(value: Mapping[str, Any]) -> str:
    """A value to read: one line a field; a value of one text is that text."""
    if len(value) == 1 and isinstance(only := next(iter(value.values())), str) and only.strip():
        return only
    lines = (
        f"{name}: {one if isinstance(one, str) else json.dumps(one, ensure_ascii=False)}"
        for name, one in value.items()
    )
    return "\n".join(lines) or "{}"
