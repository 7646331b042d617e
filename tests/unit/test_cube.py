"""The MemCube: immutable, equal by value, exact through JSON."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from memos_integrations import MemCube
from memos_integrations.cube import (
    Activation,
    Behaviour,
    Descriptive,
    Governance,
    Header,
    Parameter,
    Plaintext,
    State,
    check_id,
    check_namespace,
    fingerprint,
)
from memos_integrations.errors import InvalidInputError

ID = "01890a5d-ac96-774b-bcce-b302099a8057"
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)

texts = st.text(
    st.characters(codec="utf-8", exclude_characters=[chr(c) for c in range(32)]), min_size=1
).filter(str.strip)
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
    st.builds(Parameter, blob=digests, size=st.integers(0), model=texts),
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
    assert len(repr(one)) < 160
    assert one._repr_html_()


def test_equal_by_value() -> None:
    assert cube() == cube()
    assert cube() != cube(about={"tags": ("moved",)})
    assert len({cube(), cube()}) == 1


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
    assert metadata["a"]["b"] == (1, 2)


def test_short_repr() -> None:
    long = cube(payload=Plaintext(text="word " * 100))
    assert repr(cube()) == "MemCube(01890a5d…8057 v1 generated 'I moved to Oslo')"
    assert len(repr(long)) < 120
    assert str(long) == repr(long)


def test_html_repr_escapes_what_users_wrote() -> None:
    nasty = cube(
        payload=Plaintext(text="<script>alert(1)</script>"),
        about={"speaker": "<b>Eve</b>", "tags": ("<i>",)},
    )
    shown = nasty._repr_html_()
    assert "<script>" not in shown
    assert "<b>Eve" not in shown
    assert "&lt;script&gt;" in shown


def test_three_payloads() -> None:
    blob = {"blob": "0" * 64, "size": 10, "model": "tiny"}
    assert cube().memory_type == "plaintext"
    assert cube(payload=Activation(**blob, tokens=3)).memory_type == "activation"
    assert cube(payload=Parameter(**blob)).text == ""
    with pytest.raises(ValidationError):
        Activation(**{**blob, "blob": "short"}, tokens=3)


@pytest.mark.parametrize("wrong", [{"version": 0}, {"id": "x"}, {"namespace": ()}, {"extra": 1}])
def test_wrong_cubes(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MemCube.model_validate({**cube().model_dump(), **wrong})


def test_fingerprint_is_of_the_words() -> None:
    assert fingerprint("I moved  to OSLO!") == fingerprint("i moved to oslo")
    assert fingerprint("I moved to Oslo") != fingerprint("I moved to Bergen")


def test_checks() -> None:
    assert check_namespace("alice") == ("alice",)
    assert check_namespace(["acme", "alice"]) == ("acme", "alice")
    assert check_id(ID.upper()) == ID
    with pytest.raises(InvalidInputError, match="ids look like"):
        check_id(None)
