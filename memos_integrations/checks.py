"""What may stand in a memory: its namespace, its id, words, times, and metadata as JSON.

Every check returns what it was given, in one spelling, or raises :class:`InvalidInputError`.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn
from uuid import UUID

from memos_integrations.errors import InvalidInputError

Namespace = tuple[str, ...]
"""Root first, for example ``("acme", "alice")``. The unit of isolation."""

MAX_TEXT_BYTES = 1_048_576
"""The longest text of one message or document, in UTF-8 bytes (1 MiB)."""

MAX_BITS = 1024
"""The largest whole number in metadata: as large as a float may be."""

MAX_DEPTH = 64
"""How deep metadata may be nested: JSON readers give up somewhere beyond 100."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


class FrozenDict(dict[str, Any]):
    """A dict that cannot be changed; copies and JSON work as for a plain one."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("a MemCube is immutable: use session.update() to write a new version")

    __setitem__ = __delitem__ = __ior__ = _refuse
    update = setdefault = pop = popitem = clear = _refuse

    def __deepcopy__(self, _: dict[int, Any]) -> FrozenDict:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (dict(self),)


def check_text(text: object, *, what: str = "text", max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Return ``text`` if it can be stored exactly, else raise :class:`InvalidInputError`."""
    if not isinstance(text, str):
        raise InvalidInputError(f"{what} must be a string, not {type(text).__name__}")
    if not text.strip():
        raise InvalidInputError(f"{what} is empty: give at least one word")
    found = _CONTROL.search(text)
    if found:
        raise InvalidInputError(
            f"{what} holds the control character U+{ord(found.group()):04X} at position "
            f"{found.start()}: remove it first"
        )
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"{what} holds a lone surrogate at position {error.start}: it is not valid Unicode, "
            "decode the source with errors='replace'"
        ) from None
    if size > max_bytes:
        raise InvalidInputError(
            f"{what} has {size:,} bytes, the limit is {max_bytes:,}: "
            "split it into several documents"
        )
    return text


def check_time(moment: object, *, what: str = "time") -> datetime:
    """Return an aware datetime in UTC, else raise :class:`InvalidInputError`."""
    if not isinstance(moment, datetime):
        raise InvalidInputError(f"{what} must be a datetime, not {type(moment).__name__}")
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise InvalidInputError(
            f"{what} {moment.isoformat()} has no time zone: "
            "pass an aware one, such as datetime(2026, 5, 1, tzinfo=timezone.utc)"
        )
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InvalidInputError(
            f"{what} {moment.isoformat()} is outside of years 1 to 9999"
        ) from None


def check_namespace(value: object) -> Namespace:
    """Return a namespace as a tuple; a single string is a namespace of one part."""
    parts: Sequence[object] = (
        (value,)
        if isinstance(value, str)
        else tuple(value)
        if isinstance(value, list | tuple)
        else ()
    )
    if not parts:
        raise InvalidInputError(
            f"a namespace is a non-empty tuple of strings such as ('acme', 'alice'), not {value!r}"
        )
    for part in parts:
        if not isinstance(part, str):
            raise InvalidInputError(f"namespace {parts!r}: {part!r} is not a string")
        check_text(part, what=f"namespace part {part!r}", max_bytes=256)
    return tuple(str(part) for part in parts)


def check_id(value: object) -> str:
    """Return a cube id in its canonical spelling, else raise :class:`InvalidInputError`."""
    try:
        return str(UUID(value)) if isinstance(value, str) else _no_id(value)
    except ValueError:
        _no_id(value)


def _no_id(value: object) -> NoReturn:
    raise InvalidInputError(
        f"{value!r} is not a memory id: ids look like 01890a5d-ac96-774b-bcce-b302099a8057"
    ) from None


def check_version(version: object, what: str) -> None:
    """Refuse what is no number of a version; ``None`` is none."""
    if version is not None and (isinstance(version, bool) or not isinstance(version, int)):
        raise InvalidInputError(f"{what} is {version!r}: give the number of a version")


def freeze_json(value: Any, where: str = "metadata", *, depth: int = 0) -> Any:
    """Deep-freeze JSON-like data (dict → :class:`FrozenDict`, list → tuple).

    Raises :class:`InvalidInputError` for what JSON cannot hold, or could not be read back.
    """
    if depth > MAX_DEPTH:
        raise InvalidInputError(f"{where:.40}... is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InvalidInputError(f"{where} has the key {key!r}: keys must be strings")
            _check_json_text(key, where)
        return FrozenDict(
            {
                key: freeze_json(item, f"{where}.{key}", depth=depth + 1)
                for key, item in value.items()
            }
        )
    if isinstance(value, list | tuple):
        return tuple(
            freeze_json(item, f"{where}[{i}]", depth=depth + 1) for i, item in enumerate(value)
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInputError(f"{where} is {value}: JSON holds finite numbers only")
    if isinstance(value, str):
        _check_json_text(value, where)
        return str(value)
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise InvalidInputError(f"{where} is a number of more than {MAX_BITS} bits: give a string")
    if value is None or isinstance(value, bool | int | float):
        return value
    raise InvalidInputError(f"{where} is a {type(value).__name__}: use JSON values only")


def thaw_json(value: Any) -> Any:
    """The inverse of :func:`freeze_json`: plain dicts and lists that the caller may change."""
    if isinstance(value, Mapping):
        return {name: thaw_json(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [thaw_json(item) for item in value]
    return value


def _check_json_text(text: str, where: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInputError(
            f"{where} holds a lone surrogate: it is not valid Unicode"
        ) from None


def fingerprint(text: str) -> str:
    """Sixteen hex digits, equal for texts with the same words, whatever their case and spacing."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    # Not \w: it knows neither the vowel signs of Hindi nor emoji, and these tell texts apart.
    spoken = "".join(c if unicodedata.category(c)[0] in "LMNS" else " " for c in folded).split()
    return hashlib.sha256(" ".join(spoken or folded.split()).encode()).hexdigest()[:16]
