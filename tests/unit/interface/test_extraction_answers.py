"""Reading what a model said, in every form that one says it in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memos_integrations.interface.extracting.answers import LONGEST, MOST, entries
from memos_integrations.interface.extracting.schema import Extracted, Said, checked
from tests.unit.interface.recorded_answers import BOTH, BROKEN, CUT, OSLO, PLUMS, WHOLE


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_answer_is_read_in_each_form(name: str) -> None:
    found = entries(WHOLE[name])
    said = [checked(item) for item in found.items]
    assert [(one.turn, one.text, one.quote) for one in said] == [
        (1, OSLO["text"], OSLO["quote"]),
        (2, PLUMS["text"], PLUMS["quote"]),
    ]
    assert [one.kind for one in said] == ["fact", "preference"]
    assert (found.trouble, found.cut, found.left) == ("", False, 0)


@pytest.mark.parametrize("name", CUT)
def test_an_answer_that_breaks_off_gives_what_is_whole(name: str) -> None:
    found = entries(CUT[name])
    assert [checked(item).text for item in found.items] == [OSLO["text"]]
    assert found.cut and found.trouble == "it breaks off"


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_says_why_and_gives_nothing(name: str) -> None:
    found = entries(BROKEN[name])
    assert found.items == () and found.trouble


def test_an_empty_list_is_an_answer() -> None:
    for said in ('{"memories": []}', {"memories": []}, "[]", "```json\n[]\n```"):
        found = entries(said)
        assert (found.items, found.trouble) == ((), "")


def test_more_entries_than_are_read_are_counted() -> None:
    found = entries({"memories": [OSLO] * (MOST + 7)})
    assert (len(found.items), found.left) == (MOST, 7)


def test_an_answer_has_a_greatest_length() -> None:
    padded = json.dumps(BOTH)
    padded += " " * (LONGEST - len(padded))
    assert len(entries(padded).items) == 2
    assert entries(padded + " ").items == ()


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=300), st.integers(0, 400).map(lambda n: json.dumps(BOTH)[:n])))
def test_any_text_is_read_without_an_error(text: str) -> None:
    for item in entries(text).items:
        try:
            assert isinstance(checked(item) if isinstance(item, dict) else Said, object)
        except ValueError as error:
            assert str(error)


BAD: dict[str, dict[str, Any]] = {
    "no quote": {"text": "a", "turn": 1},
    "no text": {"quote": "a", "turn": 1},
    "no turn": {"text": "a", "quote": "a"},
    "empty text": {"text": "", "quote": "a", "turn": 1},
    "text of another type": {"text": ["a"], "quote": "a", "turn": 1},
    "a turn that is true": {"text": "a", "quote": "a", "turn": True},
    "a turn with a fraction": {"text": "a", "quote": "a", "turn": 1.5},
    "a turn that is an id": {"text": "a", "quote": "a", "turn": "01890a5d-ac96"},
    "huge text": {"text": "a" * 1_001, "quote": "a", "turn": 1},
    "a huge quote": {"text": "a", "quote": "a" * 4_001, "turn": 1},
}


@pytest.mark.parametrize("name", BAD)
def test_an_entry_that_does_not_fit_the_schema_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"turn|text|quote") as error:
        checked(BAD[name])
    assert "a" * 20 not in str(error.value)  # the reason does not repeat the words


def test_a_time_that_is_none_costs_nothing() -> None:
    for when in ("", "   ", 7, ["x"], "x" * 300):
        assert checked({**OSLO, "when": when}).when is None


def test_the_schema_that_models_are_given_is_of_what_is_asked() -> None:
    schema = Extracted.model_json_schema()
    said = schema["$defs"]["Said"]["properties"]
    assert set(said) == {"kind", "text", "turn", "quote", "when"}
    assert said["kind"]["enum"] == ["fact", "preference", "event"]
