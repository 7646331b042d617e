"""The filter language: ``{"speaker": "Maya", "event_time": {"$gte": moment}}`` to SQL.

Every header field can be asked for, and ``metadata.<key>``. All conditions must hold.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from memos_integrations.checks import check_time
from memos_integrations.cube import State
from memos_integrations.errors import InvalidFilterError, InvalidInputError
from memos_integrations.infrastructure.schema import cubes, to_micros, usage, versions

Clause = sa.ColumnElement[bool]

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "$eq": operator.eq,
    "$ne": operator.ne,
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}
OPERATORS = (*_COMPARE, "$in")

MAX_VALUES = 10_000
"""The most values that one ``$in`` takes."""

_UNSEARCHABLE = re.compile(r'["\\\x00-\x1f]')
"""What a JSON path cannot say: characters that JSON writes with a backslash."""

_TIMES = ("created_at", "event_time", "said_at", "expires_at")
_WORDS = (
    "memory_type",
    "origin",
    "role",
    "speaker",
    "source",
    "semantic_type",
    "owner",
    "access",
    "context_fingerprint",
    "state",
)
_LISTS = {
    "tags": "$.header.descriptive.tags",
    "sensitivity": "$.header.governance.sensitivity",
}


def _counter(column: sa.Column[Any], otherwise: object) -> sa.ColumnElement[Any]:
    value = sa.select(column).where(usage.c.cube_pk == cubes.c.pk).scalar_subquery()
    return sa.func.coalesce(value, otherwise) if otherwise is not None else value


_COLUMNS: dict[str, tuple[sa.ColumnElement[Any], str]] = {
    **{name: (versions.c[name], "time") for name in _TIMES},
    **{name: (versions.c[name], "text") for name in _WORDS},
    "expires_at": (cubes.c.expires_at, "time"),  # a use may have prolonged it
    "state": (cubes.c.state, "text"),
    "id": (cubes.c.id, "text"),
    "version": (versions.c.version, "number"),
    "priority": (versions.c.priority, "number"),
    # As SQLite has it, 0 or 1: SQLAlchemy puts no truth values in order.
    "frozen": (sa.type_coerce(versions.c.frozen, sa.Integer), "bool"),
    "uses": (_counter(usage.c.uses, 0), "number"),
    "heat": (_counter(usage.c.heat, 0.0), "number"),
    "last_used_at": (_counter(usage.c.last_used_at, None), "time"),
}
FIELDS = (*_COLUMNS, *_LISTS)
COUNTERS = frozenset({"uses", "heat", "last_used_at", "state"})
"""Fields that are counted in memory first."""


def compile_filters(filters: Mapping[str, Any] | None) -> list[Clause]:
    """One SQL condition a comparison; :class:`InvalidFilterError` for what cannot be asked."""
    if filters is None:
        return []
    if not isinstance(filters, Mapping):
        raise InvalidFilterError(
            f'filters must be a mapping such as {{"speaker": "Maya"}}, not {type(filters).__name__}'
        )
    clauses: list[Clause] = []
    for field, condition in filters.items():
        comparisons = condition if isinstance(condition, Mapping) else {"$eq": condition}
        if not comparisons:
            raise InvalidFilterError(f"filter {field!r} compares with nothing: give an operator")
        for op, value in comparisons.items():
            if op not in OPERATORS:
                raise InvalidFilterError(
                    f"unknown operator {op!r} for {field!r}: use one of {', '.join(OPERATORS)}"
                )
            clauses.append(_clause(field, op, value))
    return clauses


def _clause(field: object, op: str, value: Any) -> Clause:
    if isinstance(field, str) and field.startswith("metadata.") and len(field) > len("metadata."):
        return _metadata_clause(field, op, value)
    if field in _LISTS:
        return _list_clause(str(field), op, value)
    if field not in _COLUMNS:
        raise InvalidFilterError(
            f"unknown filter field {field!r}: use one of "
            f"{', '.join(sorted(FIELDS))}, metadata.<key>"
        )
    column, kind = _COLUMNS[str(field)]
    if op == "$in":
        return column.in_([_typed(str(field), kind, item) for item in _items(str(field), value)])
    if value is None:
        return _none_clause(str(field), column, op)
    clause: Clause = _COMPARE[op](column, _typed(str(field), kind, value))
    # As users read it: "not Maya" includes memories without a speaker.
    return sa.or_(clause, column.is_(None)) if op == "$ne" else clause


def _none_clause(field: str, column: sa.ColumnElement[Any], op: str) -> Clause:
    if op not in ("$eq", "$ne"):
        raise InvalidFilterError(f"{field!r} {op} None has no meaning: use $eq or $ne with None")
    return column.is_(None) if op == "$eq" else column.is_not(None)


def _items(field: str, value: Any) -> list[Any]:
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
        raise InvalidFilterError(
            f"{field!r} $in takes a list of values, not {type(value).__name__}"
        )
    items = list(value)
    if len(items) > MAX_VALUES:
        raise InvalidFilterError(
            f"{field!r} $in has {len(items):,} values: give {MAX_VALUES:,} at most"
        )
    return items


def _typed(field: str, kind: str, value: Any) -> Any:
    """``value`` as SQL compares it, if it is of the field's kind."""
    if kind == "time" and isinstance(value, datetime):
        try:
            return to_micros(check_time(value, what=f"filter {field!r}"))
        except InvalidInputError as error:
            raise InvalidFilterError(str(error)) from None
    if kind == "text" and isinstance(value, str):
        if field == "state" and value not in set(State):
            raise InvalidFilterError(f"unknown state {value!r}: use one of {', '.join(State)}")
        return _clean(field, str(value))
    if kind == "bool" and isinstance(value, bool):
        return int(value)
    if kind == "number" and _is_number(value):
        return value
    wanted = {"time": "a datetime with a time zone", "text": "a string", "bool": "True or False"}
    raise InvalidFilterError(
        f"{field!r} is compared with {value!r}: give {wanted.get(kind, 'a finite number')}"
    )


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 2**63


def _clean(field: str, value: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidFilterError(f"{field!r} is compared with text that is not Unicode") from None
    if "\x00" in value:
        raise InvalidFilterError(f"{field!r} is compared with a NUL byte: it cannot be searched")
    return value


def _list_clause(field: str, op: str, value: Any) -> Clause:
    """``tags`` holds the value (``$eq``), does not (``$ne``), or holds any of them (``$in``)."""
    if op not in ("$eq", "$ne", "$in"):
        raise InvalidFilterError(
            f"{field!r} is a list: use $eq (holds), $ne (does not) or $in (any)"
        )
    wanted = _items(field, value) if op == "$in" else [value]
    each = sa.func.json_each(versions.c.body, _LISTS[field]).table_valued("value")
    holds = sa.exists(
        sa.select(sa.literal(1)).where(each.c.value.in_([_typed(field, "text", w) for w in wanted]))
    )
    return sa.not_(holds) if op == "$ne" else holds


def _metadata_clause(field: str, op: str, value: Any) -> Clause:
    """Compare one metadata value; keys may hold dots, nesting is not searched."""
    key = _clean(field, field.removeprefix("metadata."))
    if _UNSEARCHABLE.search(key):
        raise InvalidFilterError(
            f"{field!r}: a metadata key with a quotation mark, a backslash or a control character "
            "cannot be searched"
        )
    path = f'$.header.descriptive.metadata."{key}"'
    column = sa.func.json_extract(versions.c.body, path)
    kind = sa.func.json_type(versions.c.body, path)
    if op == "$in":
        return _any_of(field, column, kind, _items(field, value))
    if value is None:
        absent = sa.or_(kind.is_(None), kind == "null")
        return _none_clause(field, sa.case((absent, None), else_=1), op)
    # json_extract gives 1 for true: the JSON type tells them apart.
    if isinstance(value, bool):
        clause: Clause = sa.and_(kind.in_(["true", "false"]), _COMPARE[op](column, int(value)))
    elif isinstance(value, str):
        clause = sa.and_(kind == "text", _COMPARE[op](column, _clean(field, value)))
    elif _is_number(value):
        clause = sa.and_(kind.in_(["integer", "real"]), _COMPARE[op](column, value))
    else:
        raise InvalidFilterError(
            f"{field!r} is compared with {value!r}: give a string, "
            "a finite number, True, False or None"
        )
    if op != "$ne":
        return clause
    same = _metadata_clause(field, "$eq", value)
    return sa.or_(kind.is_(None), sa.not_(same))


def _any_of(
    field: str, column: sa.ColumnElement[Any], kind: sa.ColumnElement[Any], wanted: list[Any]
) -> Clause:
    """One list a kind of value: SQLite refuses a thousand conditions one in another."""
    words = [_clean(field, item) for item in wanted if isinstance(item, str)]
    numbers = [item for item in wanted if _is_number(item)]
    others = {item for item in wanted if item is None or isinstance(item, bool)}
    wrong = [w for w in wanted if not (isinstance(w, str | bool) or w is None or _is_number(w))]
    if wrong:
        _metadata_clause(field, "$eq", wrong[0])  # raises
    return sa.or_(
        sa.and_(kind == "text", column.in_(words)),
        sa.and_(kind.in_(["integer", "real"]), column.in_(numbers)),
        *(_metadata_clause(field, "$eq", item) for item in others),
    )
