"""``ChatMemOS`` with tools: LangChain's own tests, calls that are required, structured output."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests
from pydantic import BaseModel

from memos_integrations.errors import InvalidInputError
from memos_integrations.langchain import ChatMemOS
from memos_integrations.local_chat import LocalChat
from tests.integrations.test_langchain_chat_model import LONG, CachedUsage, tiny
from tests.integrations.tool_writer import TEMPLATE, ToolWriter


def writer() -> LocalChat:
    """A model that calls tools."""
    return LocalChat(None, engine=ToolWriter(tiny(TEMPLATE)))


class TestUnit(ChatModelUnitTests):
    """LangChain's unit tests, none left out."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatMemOS

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"chat": writer()}


class TestIntegration(CachedUsage, ChatModelIntegrationTests):
    """LangChain's integration tests, none left out."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatMemOS

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"chat": writer(), "max_tokens": 600}

    def cached(self) -> ChatMemOS:
        return ChatMemOS(chat=writer(), max_tokens=8)


# A call that is required ----------------------------------------------------------------------


def look(thing: str) -> str:
    """Look for a thing."""
    return f"{thing} is here"


def fetch(thing: str) -> str:
    """Fetch a thing."""
    return f"here is {thing}"


ONE, OF_TWO = '<tool_call>\n{"name": "look", "arguments":', '<tool_call>\n{"name": "'


@pytest.fixture
def random_model() -> ChatMemOS:
    """One that writes anything but a call by itself."""
    return ChatMemOS(chat=LocalChat(None, tiny(TEMPLATE)), max_tokens=8)


@pytest.mark.parametrize(
    ("tools", "choice", "begun"),
    [
        ([look], "any", ONE),
        ([look], "required", ONE),
        ([look, fetch], "look", ONE),
        ([look, fetch], "any", OF_TWO),
    ],
)
async def test_it_is_begun_for_the_model(
    random_model: ChatMemOS, tools: list[Any], choice: str, begun: str
) -> None:
    bound = random_model.bind_tools(tools, tool_choice=choice)
    said = bound.invoke(LONG)
    assert isinstance(said, AIMessage) and str(said.content).startswith(begun)
    assert len(str(said.content)) > len(begun) and said.tool_calls == []
    assert said.usage_metadata is not None and said.usage_metadata["output_tokens"] <= 8
    assert "".join(str(chunk.content) for chunk in bound.stream(LONG)) == said.content
    assert (await bound.ainvoke(LONG)).content == said.content
    batch = [str(one.content) for one in bound.batch([LONG, f"{LONG} Hello"])]
    assert all(one.startswith(begun) for one in batch)


@pytest.mark.parametrize("choice", [None, "auto"])
def test_one_that_is_not_required_is_not_begun(random_model: ChatMemOS, choice: str | None) -> None:
    free = random_model.bind_tools([look], tool_choice=choice).invoke(LONG)
    assert not str(free.content).startswith("<tool_call>")
    forced = random_model.bind_tools([look], tool_choice="any").invoke(LONG)
    assert forced.usage_metadata is not None
    assert forced.usage_metadata["input_token_details"]["cache_read"] > 400, "the prompt is shared"


@pytest.mark.parametrize("choice", ["listen", "none", {"type": "any"}, True])
def test_choices_that_are_not_supported(random_model: ChatMemOS, choice: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"'any', 'required', or the name .*\(look\)"):
        random_model.bind_tools([look], tool_choice=choice)


def test_a_call_of_no_tool(random_model: ChatMemOS) -> None:
    with pytest.raises(InvalidInputError, match="none is given"):
        random_model.bind_tools([], tool_choice="any")


# Structured output ----------------------------------------------------------------------------


class Person(BaseModel):
    """Who it is."""

    name: str
    age: int


def test_an_agent_answers_in_a_form() -> None:
    model = ChatMemOS(chat=writer(), max_tokens=600)
    agent = create_agent(model, [look], response_format=ToolStrategy(Person))
    said = agent.invoke({"messages": [("user", "Say Person: 'Maya' is 41.")]})
    assert said["structured_response"] == Person(name="Maya", age=41)


def test_what_is_no_form_is_said_to_be_none(random_model: ChatMemOS) -> None:
    form = random_model.with_structured_output(Person, include_raw=True)
    said = form.invoke("Who is it?")
    assert isinstance(said, dict) and said["parsed"] is None
    assert said["raw"].content.startswith('<tool_call>\n{"name": "Person", "arguments":')
    assert random_model.with_structured_output(Person).invoke("Who is it?") is None


def test_a_stream_gives_the_call_and_counts_once() -> None:
    model = ChatMemOS(chat=writer(), max_tokens=600)
    chunks = list(model.bind_tools([look], tool_choice="any").stream(f"{LONG} Where is 'tea'?"))
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    assert isinstance(total, AIMessageChunk) and total.content == ""
    assert [(call["name"], call["args"]) for call in total.tool_calls] == [
        ("look", {"thing": "tea"})
    ]
    assert total.usage_metadata is not None
    assert total.usage_metadata["input_token_details"]["cache_creation"] > 400
