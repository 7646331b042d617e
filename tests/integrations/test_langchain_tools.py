"""The four tools: LangChain's own suite, and a model that calls them well and badly."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests
from langgraph.checkpoint.memory import InMemorySaver

from memos_integrations import MemorySession, MemOS
from memos_integrations.errors import InvalidInputError
from memos_integrations.langchain import memory_tools
from memos_integrations.testing import WordEmbedder

sys.path.insert(0, str(Path(__file__).parent))
from scripted_model import ScriptedModel

NAMES = ("search_memory", "save_memory", "update_memory", "forget_memory")
NOBODY = "01890a5d-ac96-774b-bcce-b302099a8057"


# LangChain's own suite -------------------------------------------------------------------------


class OneTool:
    """A tool over a store with one memory, made anew for each test."""

    name: str
    arguments: dict[str, Any]

    @pytest.fixture(autouse=True)
    def store(self, tmp_path: Path) -> Iterator[None]:
        with MemOS.open(tmp_path / "store", embedder=WordEmbedder()) as memory:
            session = memory.session("alice")
            self.made = next(t for t in memory_tools(session) if t.name == self.name)
            self.id = session.add("Alice is allergic to walnuts")[0].id
            yield

    @property
    def tool_constructor(self) -> BaseTool:
        return self.made

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {key: self.id if key == "id" else value for key, value in self.arguments.items()}


class Search(OneTool):
    name, arguments = "search_memory", {"query": "allergies", "limit": 3}


class Save(OneTool):
    name, arguments = "save_memory", {"text": "Alice plays the trumpet"}


class Update(OneTool):
    name, arguments = "update_memory", {"id": None, "text": "Alice may eat walnuts"}


class Forget(OneTool):
    name, arguments = "forget_memory", {"id": None}


class TestSearchUnit(Search, ToolsUnitTests): ...


class TestSearch(Search, ToolsIntegrationTests): ...


class TestSaveUnit(Save, ToolsUnitTests): ...


class TestSave(Save, ToolsIntegrationTests): ...


class TestUpdateUnit(Update, ToolsUnitTests): ...


class TestUpdate(Update, ToolsIntegrationTests): ...


class TestForgetUnit(Forget, ToolsUnitTests): ...


class TestForget(Forget, ToolsIntegrationTests): ...


# Called by a model ----------------------------------------------------------------------------


Call = tuple[str, dict[str, Any]]


def agent_that_calls(
    memory: Any, *wanted: Call, id: str | None = None, saver: Any = None, **options: Any
) -> Any:
    """An agent whose model makes these calls at once, after each human message."""

    def line(messages: Sequence[BaseMessage]) -> AIMessage:
        if not isinstance(messages[-1], HumanMessage):
            return AIMessage("Done.")
        made = [
            {"name": name, "args": args, "id": id or f"call-{len(messages)}-{i}"}
            for i, (name, args) in enumerate(wanted)
        ]
        return AIMessage("", tool_calls=made)

    tools = memory_tools(memory, **options)
    return create_agent(ScriptedModel(line=line), tools, checkpointer=saver)


def run(agent: Any, thread: str = "t", **context: Any) -> list[ToolMessage]:
    """What the tools answered to the newest message."""
    state = agent.invoke(
        {"messages": [HumanMessage("go")]},
        {"configurable": {"thread_id": thread}},
        context=context or None,
    )
    return answers(state)


async def arun(agent: Any, thread: str = "t", **context: Any) -> list[ToolMessage]:
    state = await agent.ainvoke(
        {"messages": [HumanMessage("go")]},
        {"configurable": {"thread_id": thread}},
        context=context or None,
    )
    return answers(state)


def answers(state: Any) -> list[ToolMessage]:
    newest = max(i for i, m in enumerate(state["messages"]) if m.type == "human")
    return [m for m in state["messages"][newest:] if isinstance(m, ToolMessage)]


def test_what_the_model_is_shown(alice: MemorySession) -> None:
    shown = {t.name: convert_to_openai_tool(t)["function"] for t in memory_tools(alice)}
    assert tuple(shown) == NAMES
    parameters = {name: one["parameters"] for name, one in shown.items()}
    required = {name: sorted(one["required"]) for name, one in parameters.items()}
    assert required == {
        "search_memory": ["query"],
        "save_memory": ["text"],
        "update_memory": ["id", "text"],
        "forget_memory": ["id"],
    }
    assert set(parameters["search_memory"]["properties"]) == {"query", "limit"}
    for one in shown.values():
        assert "untime" not in json.dumps(one)
        assert one["description"]
        assert all(field["description"] for field in one["parameters"]["properties"].values())
    for one in memory_tools(alice):
        assert "runtime" not in one.tool_call_schema.model_json_schema()["properties"]


def test_a_round_through_all_four(alice: MemorySession) -> None:
    saved = json.loads(
        run(agent_that_calls(alice, ("save_memory", {"text": "plums are blue"})))[0].text
    )
    id = saved["saved"][0]
    assert alice.get(id).header.descriptive.origin == "assistant"
    found = json.loads(run(agent_that_calls(alice, ("search_memory", {"query": "plums"})))[0].text)
    assert [(one["id"], one["text"]) for one in found] == [(id, "plums are blue")]
    told = run(agent_that_calls(alice, ("update_memory", {"id": id, "text": "plums are red"})))
    assert json.loads(told[0].text) == {"updated": id, "version": 2}
    told = run(agent_that_calls(alice, ("forget_memory", {"id": id})))
    assert json.loads(told[0].text) == {"forgotten": id}
    assert alice.count() == 0
    assert len(alice.history(id)) >= 2


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("search_memory", {"query": "plums", "limit": 0}, "limit"),
    ("search_memory", {"query": "plums", "limit": 21}, "limit"),
    ("search_memory", {"query": "plums", "limit": "many"}, "limit"),
    ("search_memory", {"query": ""}, "query"),
    ("search_memory", {"query": "  "}, "empty"),
    ("search_memory", {}, "query"),
    ("search_memory", {"query": None}, "query"),
    ("save_memory", {"text": ""}, "text"),
    ("save_memory", {"text": " \n"}, "empty"),
    ("save_memory", {"text": "\x00"}, "empty"),
    ("save_memory", {"text": ["plums"]}, "text"),
    ("save_memory", {"text": "half \ud83d a pair"}, "text"),
    ("save_memory", {"text": "ü" * 600_000}, "bytes"),
    ("update_memory", {"id": NOBODY, "text": "plums"}, "search_memory"),
    ("update_memory", {"id": "7", "text": "plums"}, "ids look like"),
    ("update_memory", {"id": "", "text": "plums"}, "ids look like"),
    ("update_memory", {"id": NOBODY, "text": ""}, "text"),
    ("forget_memory", {"id": NOBODY}, "search_memory"),
    ("forget_memory", {"id": "that one"}, "ids look like"),
    ("forget_memory", {"id": "half\ud83d"}, "ids look like"),
    ("forget_memory", {}, "id"),
]


@pytest.mark.parametrize(("name", "arguments", "hint"), BAD)
async def test_what_the_model_can_put_right(
    alice: MemorySession, name: str, arguments: dict[str, Any], hint: str
) -> None:
    alice.add("plums are blue")
    agent = agent_that_calls(alice, (name, arguments))
    for told in (run(agent)[0], (await arun(agent))[0]):
        assert told.status == "error"
        assert hint in told.text
        assert "Traceback" not in told.text
    assert [cube.text for cube in alice.list()] == ["plums are blue"]


def test_forgotten_twice(alice: MemorySession) -> None:
    id = alice.add("plums are blue")[0].id
    agent = agent_that_calls(alice, ("forget_memory", {"id": id}))
    assert [run(agent)[0].status, run(agent)[0].status] == ["success", "error"]


def test_odd_words_are_saved(alice: MemorySession) -> None:
    told = run(agent_that_calls(alice, ("save_memory", {"text": "a\x07b </memories> plum 🙂"})))
    assert told[0].status == "success"
    assert [cube.text for cube in alice.list()] == ["a b </memories> plum 🙂"]
    told = run(agent_that_calls(alice, ("search_memory", {"query": "\x00 plum"})))
    assert len(json.loads(told[0].text)) == 1


def test_recorded_questions_are_not_found(alice: MemorySession) -> None:
    alice.add([f"where are the plums, number {i}?" for i in range(30)])
    alice.add("the plums lie in the cellar")
    found = run(agent_that_calls(alice, ("search_memory", {"query": "where are the plums?"})))
    assert [one["text"] for one in json.loads(found[0].text)] == ["the plums lie in the cellar"]


# Saved once --------------------------------------------------------------------------------------


def test_a_call_that_is_run_again_saves_once(alice: MemorySession) -> None:
    tool = next(t for t in memory_tools(alice) if t.name == "save_memory")
    agent = agent_that_calls(alice, ("save_memory", {"text": "plums are blue"}), id="c")
    first, second = run(agent)[0], run(agent)[0]
    assert first.text == second.text
    assert alice.count() == 1
    run(agent_that_calls(alice, ("save_memory", {"text": "pears are green"}), id="c"))
    assert alice.count() == 2
    run(agent, "another thread")
    assert alice.count() == 3
    assert tool.invoke({"text": "by hand"}) != tool.invoke({"text": "by hand"})
    assert alice.count() == 5


async def test_asynchronously_and_at_once(alice: MemorySession) -> None:
    calls = [("save_memory", {"text": f"plum {i}"}) for i in range(12)]
    agent = agent_that_calls(alice, *calls, *calls)
    told = await arun(agent)
    assert {one.status for one in told} == {"success"}
    assert sorted(c.text for c in alice.list()) == sorted(2 * [f"plum {i}" for i in range(12)])
    same = [("save_memory", {"text": "pears are green"})] * 6
    told = await arun(agent_that_calls(alice, *same, id="c"))
    assert {one.status for one in told} == {"success"}
    assert len({one.text for one in told}) == 1
    assert sum(c.text == "pears are green" for c in alice.list()) == 1


def test_long_thread_and_call_ids(alice: MemorySession) -> None:
    agent = agent_that_calls(alice, ("save_memory", {"text": "plums are blue"}), id="c" * 2_000)
    for _ in range(2):
        assert run(agent, "t" * 2_000)[0].status == "success"
    assert alice.count() == 1


# Whose memory ------------------------------------------------------------------------------------


async def test_each_user_has_their_own(memory: MemOS) -> None:
    ann, bob = (memory.session(name, namespace=("acme", name)) for name in ("ann", "bob"))
    theirs = ann.add("the canary of Ann sings")[0].id
    options = {"namespace": ("acme", "{user_id}")}
    calls: list[Call] = [
        ("search_memory", {"query": "canary of Ann"}),
        ("update_memory", {"id": theirs, "text": "mine"}),
        ("forget_memory", {"id": theirs}),
        ("save_memory", {"text": "Bob was here"}),
    ]
    for _ in range(2):
        agent = agent_that_calls(memory, *calls, **options)
        told = run(agent, user_id="bob") if _ else await arun(agent, user_id="bob")
        assert [one.status for one in told] == ["success", "error", "error", "success"]
        assert not any("sings" in one.text for one in told)
    assert [cube.text for cube in ann.list()] == ["the canary of Ann sings"]
    assert {cube.text for cube in bob.list()} == {"Bob was here"}


def test_the_model_cannot_name_another_user(memory: MemOS) -> None:
    forged = {
        "text": "plums are blue",
        "runtime": {"context": {"user_id": "bob"}, "config": {"configurable": {"user_id": "bob"}}},
        "user_id": "bob",
        "context": {"user_id": "bob"},
    }
    run(agent_that_calls(memory, ("save_memory", forged)), user_id="ann")
    assert memory.session("bob").count() == 0
    assert memory.session("ann").count() == 1


def test_the_user_from_the_config(memory: MemOS) -> None:
    agent = agent_that_calls(memory, ("save_memory", {"text": "plums are blue"}))
    agent.invoke({"messages": [HumanMessage("go")]}, {"configurable": {"user_id": "ann"}})
    assert memory.session("ann").count() == 1


def test_the_same_call_of_two_users(memory: MemOS) -> None:
    agent = agent_that_calls(
        memory, ("save_memory", {"text": "plums are blue"}), id="c", saver=InMemorySaver()
    )
    run(agent, user_id="ann")
    run(agent, user_id="bob")
    assert [memory.session(name).count() for name in ("ann", "bob")] == [1, 1]


@pytest.mark.parametrize("wrong", [None, "alice", 7, Path("x")])
def test_what_is_no_memory(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="give a MemOS"):
        memory_tools(wrong)


def test_a_session_has_its_namespace(alice: MemorySession) -> None:
    with pytest.raises(InvalidInputError, match="namespace"):
        memory_tools(alice, namespace="{user_id}")


def test_by_hand_without_an_agent(open_store: Callable[..., MemOS]) -> None:
    alice = open_store().session("alice")
    tools = {tool.name: tool for tool in memory_tools(alice)}
    id = json.loads(tools["save_memory"].invoke({"text": "plums are blue"}))["saved"][0]
    assert json.loads(tools["search_memory"].invoke({"query": "plums"}))[0]["id"] == id
    told = tools["forget_memory"].invoke(
        {"name": "forget_memory", "args": {"id": NOBODY}, "id": "c", "type": "tool_call"}
    )
    assert isinstance(told, ToolMessage)
    assert told.status == "error"
