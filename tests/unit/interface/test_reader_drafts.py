"""What the reader makes of what it is given: drafts."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.messages import HumanMessage

from memos_integrations.cube import Draft, Plaintext
from memos_integrations.errors import InvalidInputError
from memos_integrations.interface import MemReader

NOW = datetime(2023, 5, 10, 12, 0, tzinfo=UTC)
SAID = datetime(2022, 3, 4, 12, 0, tzinfo=UTC)
SO = datetime(2001, 1, 1, tzinfo=UTC)


def read(content: object, **options: Any) -> Draft:
    (draft,) = MemReader().read(content, now=NOW, **options)
    return draft


def test_a_plain_string() -> None:
    assert read("Oslo is cold.") == Draft(payload=Plaintext(text="Oslo is cold."))


def test_a_message() -> None:
    message = {"role": "user", "content": "Hi!", "speaker": "Ada", "time": SAID, "id": "m-1"}
    assert read(message) == Draft(
        payload=Plaintext(text="Hi!"),
        event_time=SAID,
        said_at=SAID,
        role="user",
        speaker="Ada",
        source="m-1",
    )


def test_a_keyword_goes_before_what_the_item_says() -> None:
    message = {
        "content": "I ran yesterday",
        "speaker": "Ada",
        "time": NOW,
        "id": "m-1",
        "metadata": {"a": 1, "b": 1},
    }
    given: dict[str, Any] = {
        "event_time": SO,
        "said_at": SAID,
        "tags": ["sport"],
        "semantic_type": "habit",
        "origin": "derived",
        "speaker": "Bob",
        "source": "diary",
        "priority": 9,
        "expires_at": NOW,
        "sensitivity": ("health",),
    }
    draft = read(message, metadata={"b": 2}, **given)
    assert draft == Draft(
        payload=Plaintext(text="I ran yesterday"), role="user", metadata={"a": 1, "b": 2}, **given
    )


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        ("Words", {}, None),
        ("I ran yesterday", {}, datetime(2023, 5, 9, tzinfo=UTC)),
        ("I ran yesterday", {"said_at": SAID}, datetime(2022, 3, 3, tzinfo=UTC)),
        ("I ran yesterday", {"event_time": SO}, SO),
        ({"content": "I ran yesterday", "event_time": SO}, {}, SO),
        ("Words", {"said_at": SAID}, SAID),
        ("I ran three races this year", {}, None),
        ("I ran three races this year", {"said_at": SAID}, SAID),
        ("I ran in 2022 and since 2019", {"said_at": SAID}, SAID),
        ("I ran in 2019", {"said_at": SAID}, datetime(2019, 1, 1, tzinfo=UTC)),
        ("I ran last year", {"said_at": SAID}, datetime(2021, 1, 1, tzinfo=UTC)),
        ("This year I ran in January", {"said_at": SAID}, datetime(2022, 1, 1, tzinfo=UTC)),
        (Document("I ran in 2022"), {}, datetime(2022, 1, 1, tzinfo=UTC)),
        ("Last week I ran, tomorrow I rest", {}, datetime(2023, 5, 1, tzinfo=UTC)),
        (HumanMessage("I ran yesterday"), {}, datetime(2023, 5, 9, tzinfo=UTC)),
        (Document("I ran yesterday"), {}, None),
        (Document("I ran on 7 May"), {}, None),
        (Document("Born yesterday, or on 1 May 2020"), {}, datetime(2020, 5, 1, tzinfo=UTC)),
        (Document("I ran yesterday"), {"said_at": SAID}, datetime(2022, 3, 3, tzinfo=UTC)),
        (
            Document("I ran yesterday", metadata={"created_at": SAID.isoformat()}),
            {},
            datetime(2022, 3, 3, tzinfo=UTC),
        ),
    ],
)
def test_event_time(content: object, options: dict[str, Any], expected: datetime | None) -> None:
    assert read(content, **options).event_time == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Do you like it?", "question"),
        ("I love jazz. And you?", "question"),
        ('She asked "why?"', "question"),
        ("where did I put my keys", "question"),
        ("how many dogs do we have", "question"),
        ("What's the time", "question"),
        ("When I was young I lived in Rome.", "fact"),
        ("What a great day it was!", "fact"),
        ("I like tea.", "preference"),
        ("I really don't like tea.", "preference"),
        ("I'd prefer the window seat", "preference"),
        ("My favourite colour is blue", "preference"),
        ("Green is my favorite.", "preference"),
        ("I am allergic to peanuts.", "preference"),
        ("I'm a huge fan of Bach", "preference"),
        ("She likes tea.", "fact"),
        ("I'd like to book a table", "fact"),
        ("Remind me to call Ann", "task"),
        ("TODO: pay the rent", "task"),
        ("I need to buy milk", "task"),
        ("You must call Ann", "task"),
        ("Don't forget the milk", "task"),
        ("It must feel great", "fact"),
        ("I ran a marathon last week", "event"),
        ("We'll meet tomorrow", "event"),
        ("Dentist, 7 May 2024", "event"),
        ("I ran three races this year", "event"),
        ("It is cold this week", "fact"),
        ("I ran a marathon", "fact"),
        ("Oslo is the capital of Norway.", "fact"),
    ],
)
def test_semantic_types(text: str, expected: str) -> None:
    assert read(text).semantic_type == expected


def test_documents_state_facts() -> None:
    assert read(Document("You must not feed the bears.")).semantic_type == "fact"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"semantic_type": "Not A Word"}, "semantic_type: String should match pattern"),
        ({"origin": "Über"}, "origin: "),
        ({"priority": 10}, "priority: Input should be less than or equal to 9"),
        ({"tags": ["a", ""]}, "tags: tag is empty"),
        ({"tags": [7]}, "tags.0: "),
        ({"tags": "sport"}, "tags must be a list of strings, not 'sport'"),
        ({"tags": 7}, "tags must be a list of strings, not 7"),
        ({"sensitivity": "health"}, "sensitivity must be a list"),
        ({"metadata": ["a"]}, "metadata is a list: give a dict"),
        ({"metadata": {"a": object()}}, "metadata.a"),
        ({"metadata": {7: "a"}}, "keys must be strings"),
        ({"speaker": " "}, "speaker: text is empty"),
        ({"source": 7}, "source: "),
        ({"event_time": datetime(2023, 5, 10)}, "has no time zone"),
        ({"event_time": "yesterday"}, "event_time must be a datetime"),
        ({"said_at": datetime(2023, 5, 10)}, "said_at 2023-05-10T00:00:00 has no time zone"),
        ({"expires_at": datetime(2023, 5, 10)}, "has no time zone"),
        ({"expires_at": "soon"}, "expires_at must be a datetime"),
        ({"now": datetime(2023, 5, 10)}, "now 2023-05-10T00:00:00 has no time zone"),
    ],
)
def test_bad_options_give_one_readable_line(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        MemReader().read("I ran yesterday", **{"now": NOW, **options})
    message = str(caught.value)
    assert says in message
    assert "\n" not in message and "pydantic" not in message
    assert caught.value.__cause__ is None


def test_reading_imports_no_framework() -> None:
    program = (
        "import sys, datetime; from memos_integrations.interface import MemReader\n"
        "MemReader().read('I ran last May. ' * 200, now=datetime.datetime.now(datetime.UTC))\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    heavy = {"langchain_core", "llama_index", "torch", "chromadb", "transformers", "dateparser"}
    assert not heavy & set(done.stdout.split())
