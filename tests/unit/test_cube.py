"""The MemCube: immutable, equal by value, exact through JSON."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from memos_integrations import MemCube
from memos_integrations.checks import (
    FrozenDict,
    check_id,
    check_namespace,
    check_text,
    check_time,
    fingerprint,
    freeze_json,
)
from memos_integrations.cube import (
    LEVELS,
    Activation,
    Behaviour,
    Descriptive,
    Draft,
    Governance,
    Header,
    Parameter,
    Plaintext,
    Principal,
    State,
)
from memos_integrations.errors import InvalidInputError

ID = "01890a5d-ac96-774b-bcce-b302099a8057"
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)

texts = st.text(
    st.characters(codec="utf-8", exclude_characters=[chr(c) for c in range(32)]), min_size=1
).filter(lambda text: text.strip() and len(text.encode()) <= 256)
zones = st.sampled_from([UTC, timezone(timedelta(hours=-7)), timezone(timedelta(hours=5.5))])
times = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=zones)
words = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
digests = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
payloads = st.one_of(
    st.builds(Plaintext, text=texts),
    st.builds(Activation, blob=digests, size=st.integers(0), model=texts, tokens=st.integers(1)),
    st.builds(
        Parameter,
        blob=digests,
        size=st.integers(0),
        model=texts,
        kind=st.sampled_from(["lora", "prefix"]),
    ),
)
headers = st.builds(
    Header,
    descriptive=st.builds(
        Descriptive,
        created_at=times,
        event_time=st.none() | times,
        said_at=st.none() | times,
        origin=words,
        role=st.none() | words,
        speaker=st.none() | texts,
        source=st.none() | texts,
        semantic_type=words,
        tags=st.lists(texts, max_size=3).map(tuple),
        metadata=st.dictionaries(texts, json_values, max_size=3),
    ),
    governance=st.builds(
        Governance,
        owner=texts,
        access=st.sampled_from(["private", "shared", "read_only"]),
        expires_at=st.none() | times,
        priority=st.integers(0, 9),
        sensitivity=st.lists(texts, max_size=2).map(tuple),
        trust=st.none() | st.sampled_from(LEVELS),
        frozen=st.booleans(),
    ),
    behaviour=st.builds(
        Behaviour,
        uses=st.integers(0),
        last_used_at=st.none() | times,
        heat=st.floats(0, 1e9),
        context_fingerprint=st.none() | texts,
        previous_version=st.none() | st.integers(1),
    ),
)
cubes = st.builds(
    MemCube,
    id=st.uuids().map(str),
    version=st.integers(1),
    namespace=st.lists(texts, min_size=1, max_size=3).map(tuple),
    state=st.sampled_from(State),
    header=headers,
    payload=payloads,
)


def cube(**changes: Any) -> MemCube:
    about = {"created_at": NOW, **changes.pop("about", {})}
    return MemCube(
        id=ID,
        version=1,
        namespace=("acme", "alice"),
        header=Header(descriptive=Descriptive(**about), governance=Governance(owner="alice")),
        payload=changes.pop("payload", Plaintext(text="I moved to Oslo")),
        **changes,
    )


@given(cubes)
def test_json_round_trip_is_exact(one: MemCube) -> None:
    again = MemCube.model_validate_json(one.model_dump_json())
    assert again == one
    assert again.model_dump_json() == one.model_dump_json()
    assert hash(again) == hash(one)
    assert copy.deepcopy(one) == one
    assert MemCube.model_validate(one.model_dump()) == one, "what update() relies on"
    assert len(repr(one)) < 120
    assert one._repr_html_()


def test_the_strategies_above_fill_every_field() -> None:
    """A new field must join the round trip."""
    assert set(Descriptive.model_fields) == {
        *("created_at", "event_time", "said_at", "origin", "role", "speaker", "source"),
        *("semantic_type", "tags", "metadata"),
    }
    assert set(Governance.model_fields) == {
        *("owner", "access", "expires_at", "priority", "sensitivity", "trust", "frozen"),
    }
    assert set(Behaviour.model_fields) == {
        *("uses", "last_used_at", "heat", "context_fingerprint", "previous_version"),
    }
    assert set(Header.model_fields) == {"descriptive", "governance", "behaviour"}
    assert set(MemCube.model_fields) == {"id", "version", "namespace", "state", "header", "payload"}


def test_copies_and_pickles_are_equal_and_as_frozen() -> None:
    one = cube(about={"metadata": {"a": {"b": [1, {"c": None}]}}})
    for again in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert (again, hash(again), repr(again)) == (one, hash(one), repr(one))
        assert again.model_dump_json() == one.model_dump_json()
        inner: Any = again.metadata
        with pytest.raises(TypeError, match="immutable"):
            inner["a"]["b"][1]["c"] = 1


def test_times_are_kept_in_utc_and_to_the_microsecond() -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    one = cube(about={"event_time": datetime(2026, 5, 1, 2, 0, 0, 123456, india)})
    assert one.event_time == datetime(2026, 4, 30, 20, 30, 0, 123456, UTC)
    assert one.event_time.tzinfo is UTC
    assert MemCube.model_validate_json(one.model_dump_json()).event_time == one.event_time


def test_equal_by_value() -> None:
    assert cube() == cube()
    assert cube() != cube(about={"tags": ("moved",)})
    assert len({cube(), cube()}) == 1
    assert cube() != "a cube"
    # Two views of one version, read before and after it was used, have one place in a dict.
    used = cube().header.model_copy(update={"behaviour": Behaviour(uses=3)})
    assert hash(cube().model_copy(update={"header": used})) == hash(cube())


def test_nothing_of_it_can_be_changed() -> None:
    one = cube(about={"metadata": {"a": {"b": [1, 2]}}})
    with pytest.raises(ValidationError):
        one.version = 2  # type: ignore[misc]
    with pytest.raises(ValidationError):
        one.header.descriptive.speaker = "Eve"  # type: ignore[misc]
    metadata: Any = one.metadata
    for change in (
        lambda: metadata.update(a=1),
        lambda: metadata.pop("a"),
        lambda: metadata["a"].clear(),
        lambda: metadata["a"].__setitem__("b", 1),
        lambda: metadata.__ior__({"x": 1}),
    ):
        with pytest.raises(TypeError, match="immutable"):
            change()
    for change in (
        lambda: metadata.__setitem__("a", 1),
        lambda: metadata.__delitem__("a"),
        lambda: metadata.setdefault("b", 1),
        lambda: metadata.popitem(),
    ):
        with pytest.raises(TypeError, match=r"session.update\(\)"):
            change()
    with pytest.raises(AttributeError):
        metadata["a"]["b"].append(3)
    assert metadata == {"a": {"b": (1, 2)}}


def test_what_the_caller_passed_stays_the_callers() -> None:
    given: dict[str, Any] = {"a": {"b": [1]}}
    one = cube(about={"metadata": given})
    given["a"]["b"].append(2)
    given["more"] = True
    assert one.metadata == {"a": {"b": (1,)}}
    assert isinstance(one.tags, tuple)


def test_short_repr() -> None:
    long = cube(payload=Plaintext(text="word " * 100))
    assert repr(cube()) == "MemCube(01890a5d…8057 v1 generated 'I moved to Oslo')"
    assert len(repr(long)) < 120
    assert str(long) == repr(long)
    assert repr(cube(payload=Activation(blob="0" * 64, size=1, model="m", tokens=1))) == (
        "MemCube(01890a5d…8057 v1 generated activation)"
    )


@pytest.mark.parametrize("character", ["\n", "'", '"', "\u202e", "\U000e0001", "🙂", "\\"])
def test_short_repr_of_what_is_written_long(character: str) -> None:
    for text in ("x" + character * 60, "x" + character * 5_000):
        shown = repr(cube(payload=Plaintext(text=text)))
        assert len(shown) < 120
        assert shown.isprintable()


def test_html_repr_escapes_what_users_wrote() -> None:
    nasty = cube(
        payload=Plaintext(text="<script>alert(1)</script>"),
        about={"speaker": "<b>Eve</b>", "tags": ("<i>",)},
    )
    shown = nasty._repr_html_()
    assert "<script>" not in shown
    assert "<b>Eve" not in shown
    assert "&lt;script&gt;" in shown
    for mark in ("Eve", "01890a5d", "acme / alice", "alice · private"):
        assert mark in shown
    weights = cube(payload=Parameter(blob="0" * 64, size=1, model="m"))
    assert "parameter memory" in weights._repr_html_()


def test_three_payloads() -> None:
    blob = {"blob": "0" * 64, "size": 10, "model": "tiny"}
    assert cube().memory_type == "plaintext"
    assert cube(payload=Activation(**blob, tokens=3)).memory_type == "activation"
    assert cube(payload=Parameter(**blob)).text == ""
    with pytest.raises(ValidationError):
        Activation(**{**blob, "blob": "short"}, tokens=3)


def test_a_payload_is_known_by_its_type() -> None:
    raw = cube().model_dump()
    raw["payload"] = {"type": "parameter", "blob": "a" * 64, "size": 1, "model": "m"}
    assert isinstance(MemCube.model_validate(raw).payload, Parameter)
    raw["payload"] = {"type": "dream", "text": "x"}
    with pytest.raises(ValidationError, match="activation"):
        MemCube.model_validate(raw)


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": 0},
        {"id": "x"},
        {"id": 7},
        {"namespace": ()},
        {"namespace": ("acme", "")},
        {"namespace": "acme"},
        {"state": "asleep"},
        {"payload": {"type": "plaintext", "text": ""}},
        {"payload": {"type": "plaintext", "text": "nul \x00"}},
        {"extra": 1},
    ],
    ids=repr,
)
def test_wrong_cubes(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MemCube.model_validate({**cube().model_dump(), **wrong})


@pytest.mark.parametrize(
    ("group", "field", "value", "telling"),
    [
        ("descriptive", "created_at", datetime(2026, 1, 1), "time zone"),
        ("descriptive", "event_time", datetime(2026, 1, 1), "time zone"),
        ("descriptive", "origin", "Not A Word", "pattern"),
        ("descriptive", "origin", "user\n", "pattern"),
        ("descriptive", "semantic_type", "", "pattern"),
        ("descriptive", "speaker", "", "empty"),
        ("descriptive", "tags", ("",), "empty"),
        ("descriptive", "tags", ("x" * 257,), "limit is 256"),
        ("descriptive", "metadata", {"x": float("inf")}, "finite"),
        ("descriptive", "metadata", ["x"], "dictionary"),
        ("governance", "owner", "", "empty"),
        ("governance", "access", "public", "read_only"),
        ("governance", "priority", 10, "less than or equal to 9"),
        ("governance", "priority", 2.5, "integer"),
        ("behaviour", "uses", -1, "greater"),
        ("behaviour", "heat", float("nan"), "finite"),
    ],
)
def test_wrong_headers(group: str, field: str, value: object, telling: str) -> None:
    raw = cube().model_dump()
    raw["header"][group][field] = value
    with pytest.raises(ValidationError, match=telling):
        MemCube.model_validate(raw)


def test_the_same_tag_twice_is_one_tag() -> None:
    assert cube(about={"tags": ("b", "a", "b")}).tags == ("b", "a")


# Checks ----------------------------------------------------------------------------------------


def test_fingerprint_is_of_the_words() -> None:
    assert fingerprint("I moved  to OSLO!") == fingerprint("i moved to oslo")
    assert fingerprint("ﬁne — Straße") == fingerprint("fine, STRASSE")
    assert len(fingerprint("")) == 16


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("I moved to Oslo", "I moved to Bergen"),
        ("🙂", "🎉"),
        ("see you 🙂", "see you 🙁"),
        ("कि", "की"),
        ("?!", "..."),
        ("5 €", "5 $"),
        ("C", "C+"),
    ],
)
def test_fingerprints_of_other_words_differ(one: str, other: str) -> None:
    assert fingerprint(one) != fingerprint(other)


@given(texts)
def test_fingerprint_does_not_hear_case_and_spacing(text: str) -> None:
    assert fingerprint(f"  {text}\n ") == fingerprint(text)
    assert fingerprint(text.casefold()) == fingerprint(text)


def test_checks_give_back_what_is_right() -> None:
    assert check_namespace("alice") == ("alice",)
    assert check_namespace(["acme", "alice"]) == ("acme", "alice")
    for spelling in (ID, ID.upper(), ID.replace("-", ""), f"{{{ID}}}", f"urn:uuid:{ID}"):
        assert check_id(spelling) == ID
    assert check_text("tabs\tand\r\nlines") == "tabs\tand\r\nlines"
    assert check_text("é" * 128, max_bytes=256) == "é" * 128
    zone = timezone(timedelta(hours=-7))
    assert check_time(datetime(2026, 5, 1, tzinfo=zone)) == datetime(2026, 5, 1, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("check", "value", "telling"),
    [
        (check_id, None, "ids look like"),
        (check_id, "7", "ids look like"),
        (check_id, "", "ids look like"),
        (check_id, b"7", "ids look like"),
        (check_namespace, (), "non-empty tuple"),
        (check_namespace, 7, "non-empty tuple"),
        (check_namespace, {"a"}, "non-empty tuple"),
        (check_namespace, ("a", None), "None is not a string"),
        (check_namespace, ("a", " "), "empty"),
        (check_namespace, ("x" * 257,), "limit is 256"),
        (check_text, b"bytes", "string, not bytes"),
        (check_text, "\u2003", "empty"),
        (check_text, "a\x1bb", r"U\+001B at position 1"),
        (check_text, "é" * 524_289, "1,048,578 bytes, the limit is 1,048,576"),
        (check_text, "ab\udfffc", "lone surrogate at position 2"),
        (check_time, datetime(2026, 5, 1), "no time zone"),
        (check_time, "2026-05-01", "datetime, not str"),
        (check_time, datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2))), "years 1 to 9999"),
        (check_time, datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=2))), "9999"),
    ],
)
def test_checks_refuse_what_is_wrong(check: Any, value: object, telling: str) -> None:
    with pytest.raises(InvalidInputError, match=telling):
        check(value)


def nested(depth: int) -> dict[str, Any]:
    inner: Any = 1
    for _ in range(depth - 1):
        inner = [inner]
    return {"x": inner}


def test_metadata_that_json_cannot_hold_or_read_back() -> None:
    endless: dict[str, Any] = {}
    endless["x"] = [endless]
    for wrong, telling in (
        ({1: "x"}, "keys must be strings"),
        ({"a": {None: 1}}, r"metadata\.a has the key None"),
        ({"a": [1, float("-inf")]}, r"metadata\.a\[1\] is -inf"),
        ({"a": {1, 2}}, "is a set"),
        ({"a": b"x"}, "is a bytes"),
        ({"a": NOW}, "is a datetime"),
        ({"a": "\ud800"}, "surrogate"),
        ({"\ud800": 1}, "surrogate"),
        ({"a": 2**1025}, "more than 1024 bits"),
        (endless, "deeper than 64"),
        (nested(10_000), "deeper than 64"),
    ):
        with pytest.raises(InvalidInputError, match=telling):
            freeze_json(wrong)
        with pytest.raises(ValidationError):
            cube(about={"metadata": wrong})


def test_metadata_at_its_limits_comes_back() -> None:
    for most in (nested(64), {"x": 2**1024 - 1}, {"x": -0.0, "y": 5e-324, "z": [], "": {}}):
        one = cube(about={"metadata": most})
        assert MemCube.model_validate_json(one.model_dump_json()) == one


def test_frozen_dicts_still_serve_as_dicts() -> None:
    one = FrozenDict({"a": 1})
    assert {**one, "b": 2} == one | {"b": 2} == {"a": 1, "b": 2}
    assert dict(one) == one
    assert isinstance(pickle.loads(pickle.dumps(one)), FrozenDict)


def test_principals_and_drafts_are_checked_too() -> None:
    assert Principal(id="alice").kind == "user"
    with pytest.raises(ValidationError, match="principal id is empty"):
        Principal(id=" ")
    with pytest.raises(ValidationError, match="time zone"):
        Draft(payload=Plaintext(text="x"), expires_at=datetime(2026, 1, 1))
