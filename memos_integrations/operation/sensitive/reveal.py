"""A memory with what was sealed put back into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memos_integrations.cube import MemCube
from memos_integrations.infrastructure.sealed import Seal, Sealer


def revealed(cube: MemCube, seals: Mapping[str, Seal], sealer: Sealer) -> MemCube:
    """The memory with these masks opened, in its text, speaker, tags and metadata."""
    raw = cube.model_dump()
    about = raw["header"]["descriptive"]
    parts = [raw["payload"].get("text"), about["speaker"], about["tags"], about["metadata"]]
    written = repr(parts)
    opened = {place: sealer.open(one) for place, one in seals.items() if place in written}
    if not opened:
        return cube
    if "text" in raw["payload"]:
        raw["payload"]["text"] = _put(raw["payload"]["text"], opened)
    for name in ("speaker", "tags", "metadata"):
        about[name] = _put(about[name], opened)
    return MemCube.model_validate(raw)


def _put(value: Any, opened: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for place, content in opened.items():
            value = value.replace(place, content)
        return value
    if isinstance(value, Mapping):
        return {name: _put(one, opened) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_put(one, opened) for one in value]
    return value
