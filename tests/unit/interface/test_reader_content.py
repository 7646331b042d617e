"""What may be handed in: each kind by its real class, and what bad input gets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.documents import Document as LangChainDocument
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages import ChatMessage as LangChainChatMessage
from llama_index.core.llms import ChatMessage, ImageBlock, MessageRole, TextBlock
from llama_index.core.schema import Document, NodeWithScore, TextNode

from memos_integrations.errors import InvalidInputError
from memos_integrations.interface.content import Item, read_items

NOON = datetime(2023, 5, 10, 12, 0, tzinfo=UTC)
CALL = {"name": "look", "args": {}, "id": "call-1"}


def one(content: object) -> Item:
    (item,) = read_items(content)
    return item


def test_a_string_is_what_a_user_says() -> None:
    item = one("I live in Oslo.")
    assert item == Item("I live in Oslo.")
    assert (item.origin, item.role) == ("user", None)


def test_a_dict_message_with_all_its_keys() -> None:
    item = one(
        {
            "role": "assistant",
            "content": "Hello",
            "name": "Ada",
            "timestamp": "2023-05-10T14:00:00+02:00",
            "event_time": NOON,
            "id": 7,
            "metadata": {"mood": "good"},
        }
    )
    assert item == Item("Hello", "assistant", "Ada", NOON, NOON, "7", {"mood": "good"})


@pytest.mark.parametrize("key", ["timestamp", "time", "created_at"])
@pytest.mark.parametrize("value", [NOON, "2023-05-10T12:00:00Z"])
def test_a_message_says_when_it_was_sent(key: str, value: object) -> None:
    assert one({"content": "Hello", key: value}).said_at == NOON


def test_a_dict_with_a_speaker_and_text_is_a_message() -> None:
    item = one({"speaker": "Caroline", "text": "Hey Mel!"})
    assert (item.speaker, item.role, item.is_document) == ("Caroline", "user", False)


@pytest.mark.parametrize(
    ("role", "stored"),
    [
        ("user", "user"),
        ("human", "user"),
        ("assistant", "assistant"),
        ("AI", "assistant"),
        ("system", "system"),
        ("developer", "system"),
        ("tool", "tool"),
        ("function", "tool"),
    ],
)
def test_roles(role: str, stored: str) -> None:
    item = one({"role": role, "content": "Hello"})
    assert (item.role, item.origin) == (stored, stored)


@pytest.mark.parametrize(
    ("message", "role"),
    [
        (HumanMessage("Hello"), "user"),
        (AIMessage("Hello"), "assistant"),
        (AIMessageChunk(content="Hello"), "assistant"),
        (SystemMessage("Hello"), "system"),
        (ToolMessage("Hello", tool_call_id="call-1"), "tool"),
        (LangChainChatMessage(content="Hello", role="user"), "user"),
    ],
)
def test_langchain_messages(message: object, role: str) -> None:
    assert one(message) == Item("Hello", role)


def test_a_langchain_message_with_blocks_name_id_and_time() -> None:
    message = HumanMessage(
        [
            "Look:",
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
            {"type": "text", "text": "a heron"},
        ],
        name="Ada",
        id="m-1",
        additional_kwargs={"timestamp": NOON},
    )
    assert one(message) == Item("Look:\na heron", "user", "Ada", NOON, source="m-1")


def test_what_a_provider_stamps_is_read_if_it_can_be() -> None:
    stamp = "2023-05-10T12:00:00.123456789Z"
    item = one(AIMessage("Hello", response_metadata={"created_at": stamp}))
    assert item.said_at == NOON.replace(microsecond=123456)
    for unreadable in (1_700_000_000, "noon", "2023-05-10T12:00:00", "0001-01-01T00:00:00+14:00"):
        assert one(AIMessage("Hello", response_metadata={"created_at": unreadable})).said_at is None


@pytest.mark.parametrize(
    ("role", "stored"),
    [
        (MessageRole.USER, "user"),
        (MessageRole.ASSISTANT, "assistant"),
        (MessageRole.CHATBOT, "assistant"),
        (MessageRole.MODEL, "assistant"),
        (MessageRole.SYSTEM, "system"),
        (MessageRole.DEVELOPER, "system"),
        (MessageRole.TOOL, "tool"),
        (MessageRole.FUNCTION, "tool"),
    ],
)
def test_llama_index_messages(role: MessageRole, stored: str) -> None:
    assert one(ChatMessage("Hello", role=role)) == Item("Hello", stored)


def test_a_llama_index_message_with_blocks_and_extras() -> None:
    message = ChatMessage(
        role="user",
        blocks=[TextBlock(text="Look:"), ImageBlock(image=b"\x89PNG"), TextBlock(text="a heron")],
        additional_kwargs={"name": "Ada", "id": "m-1", "timestamp": "2023-05-10T12:00:00Z"},
    )
    assert one(message) == Item("Look:\na heron", "user", "Ada", NOON, source="m-1")


def test_langchain_documents() -> None:
    item = one(LangChainDocument("Words", metadata={"source": "a.txt", "page": 3}, id="d-1"))
    assert item == Item(
        "Words", source="a.txt", metadata={"source": "a.txt", "page": 3}, is_document=True
    )
    assert item.origin == "document"
    assert one(LangChainDocument("Words", id="d-1")).source == "d-1"


def test_llama_index_documents_and_nodes() -> None:
    name = str(uuid4())
    for made in (
        Document(text="Words", metadata={"page": 3}, id_=name),
        TextNode(text="Words", metadata={"page": 3}, id_=name),
        NodeWithScore(node=TextNode(text="Words", metadata={"page": 3}, id_=name), score=0.5),
    ):
        assert one(made) == Item("Words", source=name, metadata={"page": 3}, is_document=True)
    assert one(Document(text="Words", metadata={"file_path": "a.md"})).source == "a.md"


def test_dict_documents() -> None:
    item = one({"text": "Words", "metadata": {"page": 3}, "id": "d-1", "created_at": NOON})
    assert item == Item("Words", said_at=NOON, source="d-1", metadata={"page": 3}, is_document=True)
    assert one({"page_content": "Words"}).is_document


def test_dates_in_the_metadata_of_a_document_stay_as_words() -> None:
    item = one(LangChainDocument("Words", metadata={"created_at": NOON, "day": NOON.date()}))
    assert item.metadata == {"created_at": "2023-05-10T12:00:00+00:00", "day": "2023-05-10"}
    assert item.said_at == NOON


def test_kinds_may_be_mixed_in_any_iterable() -> None:
    mixed = ["a", {"content": "b"}, HumanMessage("c"), ChatMessage("d"), Document(text="e")]
    for content in (mixed, tuple(mixed), iter(mixed)):
        assert "".join(item.text for item in read_items(content)) == "abcde"


@pytest.mark.parametrize(
    "silent",
    [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
        AIMessage("", tool_calls=[CALL]),
        HumanMessage(" \n"),
        ChatMessage(role="assistant"),
        ChatMessage(role="user", blocks=[ImageBlock(image=b"\x89PNG")]),
    ],
)
def test_messages_without_words_are_left_out(silent: object) -> None:
    assert [item.text for item in read_items(["a", silent, "b"])] == ["a", "b"]
    for alone in (silent, [silent], [silent, silent]):
        with pytest.raises(InvalidInputError, match="nothing with words"):
            read_items(alone)


class Stranger:
    """An object of no known kind."""


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "content is empty"),
        (" \n", "content is empty"),
        ([], "nothing with words"),
        (["a", ""], "item 1 is empty"),
        (LangChainDocument(""), "content is empty"),
        (["a", Document(text=" ")], "item 1 is empty"),
        ({"text": None}, "content must be a string, not NoneType"),
        (None, "content is of type NoneType: give a string"),
        (7, "content is of type int: give a string"),
        (b"words", "content is of type bytes"),
        (Stranger(), "content is of type Stranger"),
        (["a", "b", Stranger()], "item 2 is of type Stranger: give a string, a {"),
        (["a", ["b"]], "item 1 is of type list"),
        ([HumanMessage], "item 0 is of type"),
        ({}, "dict with no keys"),
        ([{"colour": "red"}], "item 0 is a dict with 'colour'"),
        ({"role": "teacher", "content": "a"}, "role 'teacher': use one of user, human"),
        ({"role": None, "content": "a"}, "role None"),
        (LangChainChatMessage(content="a", role="teacher"), "role 'teacher'"),
        ({"role": "user", "content": 7}, "content of type int"),
        ({"content": "a", "metadata": ["b"]}, "metadata of content is a list"),
        ({"content": "a", "speaker": ["b"]}, "speaker of content is a list"),
        ({"content": "a", "id": 1.5}, "source of content is a float"),
        ({"content": "a", "timestamp": "noon"}, "timestamp of content is 'noon': give an ISO 8601"),
        ({"content": "a", "timestamp": 1_700_000_000}, "timestamp of content must be a datetime"),
        ({"content": "a", "time": datetime(2023, 5, 10)}, "has no time zone"),
        ({"content": "a", "event_time": "2023-05-10"}, "has no time zone"),
        ([HumanMessage("a", additional_kwargs={"timestamp": "noon"})], "timestamp of item 0"),
        ("a\x00b", "control character"),
        (["a", "b\ud800"], "item 1 holds a lone surrogate"),
        ("a" * 1_048_577, "the limit is 1,048,576"),
    ],
)
def test_bad_input_says_what_where_and_what_would_be_right(content: object, says: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_items(content)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_read_only_mapping_is_a_dict_too() -> None:
    from types import MappingProxyType

    message: Mapping[str, Any] = MappingProxyType({"role": "user", "content": "Hello"})
    assert one(message) == Item("Hello", "user")


@pytest.mark.parametrize("text", ["🌧️ in Oslo", "שלום עולם", "\u202eabc", "e\u0301", "a\tb\r\nc"])
def test_words_are_kept_as_they_are(text: str) -> None:
    assert one(text).text == text
