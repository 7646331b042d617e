"""LangGraph's filters over the values of a store, and values as words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from memos_integrations.errors import InvalidFilterError

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": lambda one, other: one > other,
    "$gte": lambda one, other: one >= other,
    "$lt": lambda one, other: one < other,
    "$lte": lambda one, other: one <= other,
}
OPERATORS = ("$eq", "$ne", *_ORDER)

_ABSENT = object()


def matches(value: Mapping[str, Any], filters: Mapping[str, Any]) -> bool:
    """Whether every condition holds; a key with dots reaches into the value, too.

    Raises :class:`InvalidFilterError` for an unknown operator.
    """
    return all(_holds(_at(value, path), wanted) for path, wanted in filters.items())


def _at(value: Any, path: str) -> Any:
    """What stands at ``path``: under that very key, or a key at a time at its dots."""
    if isinstance(value, Mapping) and path in value:
        return value[path]
    head, dot, rest = path.partition(".")
    if dot and isinstance(value, Mapping) and head in value:
        return _at(value[head], rest)
    return _ABSENT


def _holds(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        if any(str(name).startswith("$") for name in wanted):
            return all(_compared(found, op, than) for op, than in wanted.items())
        return isinstance(found, Mapping) and all(
            _holds(found.get(name, _ABSENT), inner) for name, inner in wanted.items()
        )
    return _equal(found, wanted)


def _compared(found: Any, op: str, than: Any) -> bool:
    if op == "$eq":
        return _equal(found, than)
    if op == "$ne":
        return not _equal(found, than)
    if op not in _ORDER:
        raise InvalidFilterError(f"unknown operator {op!r}: use one of {', '.join(OPERATORS)}")
    # Numbers with numbers, words with words; what is absent is neither more nor less.
    numbers = _is_number(found) and _is_number(than)
    words = isinstance(found, str) and isinstance(than, str)
    return (numbers or words) and _ORDER[op](found, than)


def _equal(found: Any, wanted: Any) -> bool:
    """As JSON has it: ``true`` is not 1, an absent key is null."""
    if found is _ABSENT:
        found = None
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    if isinstance(wanted, list | tuple):
        return (
            isinstance(found, list | tuple)
            and len(found) == len(wanted)
            and all(_equal(one, other) for one, other in zip(found, wanted, strict=True))
        )
    if isinstance(wanted, Mapping):
        return (
            isinstance(found, Mapping)
            and found.keys() == wanted.keys()
            and all(_equal(found[name], wanted[name]) for name in wanted)
        )
    return bool(found == wanted)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def readable(value: Mapping[str, Any]) -> str:
    """A value as lines of words: ``diet: vegan``; of a single text, the text itself."""
    leaves = list(_leaves(value, ""))
    if len(leaves) == 1 and leaves[0][1].strip():
        return leaves[0][1]
    lines = "\n".join(f"{path}: {leaf}" for path, leaf in leaves)
    return lines if lines.strip() else json.dumps(dict(value))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _leaves(item, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list | tuple) and value:
        for item in value:
            yield from _leaves(item, path)
    elif isinstance(value, str):
        yield path, value
    else:
        yield path, json.dumps(value, default=str)
