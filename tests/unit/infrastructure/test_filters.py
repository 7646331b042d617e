"""Filters against a model in plain Python: what the caller reads in a cube is what is compared."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memos_integrations import MemCube, MemorySession, MemOS, TimeWindow
from memos_integrations.cube import Behaviour, Descriptive, Governance, State
from memos_integrations.errors import InvalidFilterError
from memos_integrations.infrastructure.filters import FIELDS, OPERATORS, compile_filters
from memos_integrations.testing import CountingIds, FakeClock, WordEmbedder

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAYS = [NOON + timedelta(days=n, microseconds=n) for n in range(-2, 3)]
NAMES = ["Maya", "maya", "Jonas", "Øyvind", "مريم", "🙂", "O'Neil", '"', "%", "a_c"]
TAGS = ["red", "green", "Red", "🙂", 'q"t']
VALUES: list[Any] = [0, 1, 2, 1.0, 1.5, -3, 1e300, "1", "", "red", "🙂", True, False, None]
KEYS = ["page", "with.dot", "$", "ключ", "[0]", "it's", "absent"]


@pytest.fixture(scope="module")
def store(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[MemorySession, list[MemCube]]]:
    """Memories with every combination that matters, and how a caller sees them."""
    clock = FakeClock()
    path = tmp_path_factory.mktemp("filters") / "store"
    with MemOS.open(path, embedder=WordEmbedder(), clock=clock, ids=CountingIds()) as memory:
        session = memory.session("alice")
        for i in range(56):
            clock.advance(hours=7)
            session.add(
                f"number{i}",
                speaker=NAMES[i % 11] if i % 11 < 10 else None,
                source=f"letter-{i % 4}" if i % 3 else None,
                event_time=DAYS[i % 5] if i % 7 else None,
                expires_at=DAYS[i % 5] + timedelta(days=999) if i % 2 else None,
                tags=[tag for n, tag in enumerate(TAGS) if i >> n & 1],
                priority=i % 10,
                origin=["user", "tool"][i % 2],
                semantic_type=["fact", "event", "task"][i % 3],
                metadata={
                    key: [1] if i == 55 else VALUES[(i + 3 * n) % len(VALUES)]
                    for n, key in enumerate(KEYS[:-1])
                    if i % (n + 2)
                },
            )
        for i in range(0, 56, 4):
            for _ in range(i % 3):
                session.search(f"number{i}", limit=1)
        listed = session.list(limit=100)
        session.update(listed[7].id, "changed")
        # The counters were written with the update, and time stands still from here on.
        assert len(session.list(limit=100)) == 56
        yield session, session.list(limit=100)


def read(cube: MemCube, field: str) -> Any:
    """What a cube says of a filter field."""
    if field.startswith("metadata."):
        return cube.metadata.get(field.removeprefix("metadata."))
    for group in (cube, *(getattr(cube.header, g) for g in type(cube.header).model_fields)):
        if field in type(group).model_fields or field == "memory_type":
            return getattr(group, field)
    raise AssertionError(field)


COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def kind(value: Any) -> str:
    """The kinds of JSON: a truth value is no number."""
    if isinstance(value, bool) or value is None:
        return repr(type(value))
    return "number" if isinstance(value, int | float) else repr(type(value))


def same(said: Any, value: Any) -> bool:
    return kind(said) == kind(value) and bool(said == value)


def holds(cube: MemCube, field: str, op: str, value: Any) -> bool:
    """The model."""
    said = read(cube, field)
    if field in ("tags", "sensitivity"):
        wanted = value if op == "$in" else [value]
        return any(one in said for one in wanted) != (op == "$ne")
    if isinstance(said, State):
        said = said.value
    if op == "$in":
        return any(same(said, one) for one in value)
    if op in ("$eq", "$ne"):
        return same(said, value) == (op == "$eq")
    return kind(said) == kind(value) and COMPARE[op](said, value)


texts = st.sampled_from([*NAMES, *TAGS, "letter-1", "user", "fact", "zzz", ""])
times = st.sampled_from(DAYS) | st.datetimes(
    datetime(2025, 12, 1), datetime(2026, 2, 1), timezones=st.just(UTC)
)
numbers = st.integers(-2, 12) | st.floats(-2, 12) | st.sampled_from([1e300, -(2**62)])
BY_FIELD: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("speaker", "source", "origin", "semantic_type", "owner", "role"), texts),
    **dict.fromkeys(("access", "context_fingerprint", "id", "memory_type"), texts),
    **dict.fromkeys(("created_at", "event_time", "said_at", "expires_at", "last_used_at"), times),
    **dict.fromkeys(("priority", "version", "uses", "heat"), numbers),
    **dict.fromkeys(("tags", "sensitivity"), texts),
    "frozen": st.booleans(),
    "state": st.sampled_from([state.value for state in State]),
}


@st.composite
def conditions(draw: st.DrawFn) -> tuple[str, str, Any]:
    """A field, an operator, and a value of the right kind."""
    field = draw(st.sampled_from([*BY_FIELD, *(f"metadata.{key}" for key in KEYS)]))
    values = BY_FIELD.get(field, st.sampled_from(VALUES) | numbers)
    if field in ("tags", "sensitivity"):
        op = draw(st.sampled_from(["$eq", "$ne", "$in"]))
    else:
        op = draw(st.sampled_from(OPERATORS))
        if op in ("$eq", "$ne"):
            values = values | st.none()
        elif op != "$in" and field.startswith("metadata."):
            values = values.filter(lambda value: value is not None)
    return field, op, draw(st.lists(values, max_size=4) if op == "$in" else values)


relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@relaxed
@given(st.lists(conditions(), min_size=1, max_size=3))
def test_filters_are_the_model(
    store: tuple[MemorySession, list[MemCube]], asked: list[tuple[str, str, Any]]
) -> None:
    session, everything = store
    filters: dict[str, dict[str, Any]] = {}
    for field, op, value in asked:
        filters.setdefault(field, {})[op] = value
    expected = [
        cube.id
        for cube in everything
        if all(holds(cube, f, op, v) for f, ops in filters.items() for op, v in ops.items())
    ]
    assert [cube.id for cube in session.list(limit=100, filters=filters)] == expected
    assert session.count(filters) == len(expected)


@settings(deadline=None, max_examples=25)
@given(conditions())
def test_a_search_finds_among_the_filtered_and_only_those(
    store: tuple[MemorySession, list[MemCube]], asked: tuple[str, str, Any]
) -> None:
    session, _ = store
    field, op, value = asked
    if field in ("uses", "heat", "last_used_at"):
        return  # searching changes these
    expected = {cube.text for cube in session.list(limit=100, filters={field: {op: value}})}
    hits = session.search("number7 number8", limit=100, filters={field: {op: value}})
    assert {hit.cube.text for hit in hits} == expected


def test_the_model_is_not_empty(store: tuple[MemorySession, list[MemCube]]) -> None:
    """Every field has two values at least, or the comparison above shows nothing."""
    _, everything = store
    constant = {f for f in BY_FIELD if len({repr(read(cube, f)) for cube in everything}) < 2}
    assert constant == {"owner", "role", "access", "memory_type", "said_at", "sensitivity"} | {
        "frozen",
    }


def test_every_header_field_can_be_filtered() -> None:
    fields = {*Descriptive.model_fields, *Governance.model_fields, *Behaviour.model_fields}
    assert fields - set(FIELDS) == {"metadata", "previous_version", "trust"}
    assert set(FIELDS) == set(BY_FIELD)


def test_a_bare_value_means_equal(store: tuple[MemorySession, list[MemCube]]) -> None:
    session, everything = store
    for filters in ({"speaker": "Maya"}, {"tags": "red"}, {"priority": 3}, {"metadata.page": 1}):
        field, value = next(iter(filters.items()))
        assert session.count(filters) == session.count({field: {"$eq": value}}) > 0
    assert session.count({}) == session.count(None) == session.count() == len(everything)


def test_two_operators_on_a_field_must_both_hold(
    store: tuple[MemorySession, list[MemCube]],
) -> None:
    session, everything = store
    listed = session.list(limit=100, filters={"priority": {"$gte": 3, "$lt": 5, "$ne": 4}})
    assert {cube.header.governance.priority for cube in listed} == {3}
    assert len(listed) == sum(c.header.governance.priority == 3 for c in everything)


def test_values_of_another_kind_never_match_and_never_hide(
    store: tuple[MemorySession, list[MemCube]],
) -> None:
    """1, True and "1" are three values; not being one of them includes not being there."""
    session, everything = store
    for value in (1, True, "1"):
        found = session.list(limit=100, filters={"metadata.page": value})
        assert {kind(c.metadata["page"]) for c in found} == {kind(value)}
        others = session.count({"metadata.page": {"$ne": value}})
        assert others + len(found) == len(everything)
    assert session.count({"metadata.absent": None}) == len(everything)
    assert session.count({"metadata.absent": {"$ne": 7}}) == len(everything)


@pytest.mark.parametrize("value", ["' OR 1=1 --", "x'; DROP TABLE cubes; --", "%", "_", "\\", "\n"])
def test_values_are_values(store: tuple[MemorySession, list[MemCube]], value: str) -> None:
    session, everything = store
    expected = sum(cube.header.descriptive.speaker == value for cube in everything)
    assert session.count({"speaker": value}) == session.count({"speaker": {"$in": [value]}})
    assert session.count({"speaker": value}) == expected
    for field in ("source", "tags", "id", "metadata.page"):
        assert session.count({field: value}) == 0
    assert session.count() == len(everything)


@given(st.text(max_size=12))
@relaxed
def test_any_metadata_key_is_found_or_refused(
    store: tuple[MemorySession, list[MemCube]], key: str
) -> None:
    session, everything = store
    try:
        count = session.count({f"metadata.{key}": {"$ne": None}})
    except InvalidFilterError:
        assert key == "" or any(c in '"\\' or c < " " or "\ud800" <= c <= "\udfff" for c in key)
    else:
        assert count == sum(cube.metadata.get(key) is not None for cube in everything)


@pytest.mark.parametrize("field", ["speaker", "priority", "event_time", "tags", "metadata.page"])
def test_long_lists_of_values(store: tuple[MemorySession, list[MemCube]], field: str) -> None:
    session, everything = store
    many: list[Any] = {
        "priority": list(range(10_000)),
        "event_time": [NOON + timedelta(seconds=n) for n in range(10_000)],
    }.get(field, [f"{n}" for n in range(10_000)])
    expected = sum(any(holds(c, field, "$in", [v]) for v in many[:20]) for c in everything)
    assert session.count({field: {"$in": many}}) == expected
    assert session.count({field: {"$in": iter(many[:20])}}) == expected
    assert session.count({field: {"$in": []}}) == 0


def test_window_and_filters_are_both_kept(store: tuple[MemorySession, list[MemCube]]) -> None:
    session, _ = store
    window = TimeWindow(start=NOON)

    def found(**options: Any) -> set[datetime | None]:
        return {hit.cube.event_time for hit in session.search("number1", limit=100, **options)}

    assert found(window=window) == set(DAYS[2:])
    assert found(window=window, filters={"event_time": {"$lt": DAYS[3]}}) == {NOON}
    assert found(window=window, filters={"event_time": NOON}) == {NOON}
    assert found(window=window, filters={"event_time": None}) == set(), "no time lies in no window"
    assert found(window=TimeWindow(), filters={"event_time": None}) == {None}
    assert found(window=TimeWindow(end=NOON)) == set(DAYS[:2]), "the end is not in it"


def test_a_mapping_is_read_and_left_alone() -> None:
    class Given(Mapping[str, Any]):
        def __getitem__(self, key: str) -> Any:
            return {"$gte": 1}

        def __iter__(self) -> Iterator[str]:
            return iter(["priority"])

        def __len__(self) -> int:
            return 1

    assert len(compile_filters(Given())) == 1
