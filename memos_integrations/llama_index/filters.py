"""LlamaIndex's ``MetadataFilters`` in the words of the session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from memos_integrations.errors import InvalidFilterError
from memos_integrations.infrastructure.filters import FIELDS

_OPERATORS = {
    FilterOperator.EQ: "$eq",
    FilterOperator.NE: "$ne",
    FilterOperator.GT: "$gt",
    FilterOperator.GTE: "$gte",
    FilterOperator.LT: "$lt",
    FilterOperator.LTE: "$lte",
    FilterOperator.IN: "$in",
    FilterOperator.CONTAINS: "$eq",  # of a list such as tags: it holds the value
}


def as_filters(filters: MetadataFilters | Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Filters of :meth:`MemorySession.search`; a key that is no header field is one of metadata.

    Raises :class:`InvalidFilterError` for what cannot be asked: other conditions than *and*, other
    operators than ``== != > >= < <= in contains``.
    """
    if not isinstance(filters, MetadataFilters):
        return filters
    combined: dict[str, dict[str, Any]] = {}
    for one in _flat(filters):
        field = one.key if one.key in FIELDS else f"metadata.{one.key}"
        operator = _OPERATORS.get(one.operator)
        if operator is None:
            raise InvalidFilterError(
                f"the operator {one.operator.value!r} of {one.key!r} cannot be asked: use one of "
                f"{', '.join(sorted(known.value for known in _OPERATORS))}"
            )
        if operator == "$eq" and (one.operator == FilterOperator.CONTAINS) != (
            field in ("tags", "sensitivity")
        ):
            wanted = "contains" if one.operator == FilterOperator.EQ else "=="
            raise InvalidFilterError(f"{one.key!r}: use {wanted!r}")
        conditions = combined.setdefault(field, {})
        if operator in conditions:
            raise InvalidFilterError(f"{one.key!r} is compared twice with {one.operator.value!r}")
        conditions[operator] = one.value
    return combined


def _flat(filters: MetadataFilters) -> list[MetadataFilter]:
    if filters.condition not in (None, FilterCondition.AND):
        raise InvalidFilterError(
            f"filters joined by {filters.condition.value!r} cannot be asked: use 'and', or 'in'"
        )
    found: list[MetadataFilter] = []
    for one in filters.filters:
        found += _flat(one) if isinstance(one, MetadataFilters) else [one]
    return found
