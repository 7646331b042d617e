"""langmem's tools work over ``MemOSStore`` as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.store.base import BaseStore

from memos_integrations import MemOS
from memos_integrations.langchain import MemOSStore
from memos_integrations.testing import WordEmbedder

langmem = pytest.importorskip("langmem", reason="pip install langmem")

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MemOSStore]:
    with MemOS.open(tmp_path, embedder=WordEmbedder()) as memory:
        yield MemOSStore(memory.session("app"))


NAMESPACE = ("memories", "{langgraph_user_id}")


def config(user: str) -> dict[str, dict[str, str]]:
    return {"configurable": {"langgraph_user_id": user}}


def test_what_is_managed_is_found_with_its_history(store: MemOSStore) -> None:
    manage = langmem.create_manage_memory_tool(NAMESPACE, store=store)
    search = langmem.create_search_memory_tool(NAMESPACE, store=store)
    told = manage.invoke({"content": "Ann likes green tea", "action": "create"}, config("ann"))
    memory_id = UUID.search(told).group()  # type: ignore[union-attr]
    manage.invoke({"content": "Ann lives in Oslo", "action": "create"}, config("ann"))
    changed = {"content": "Ann likes black tea", "action": "update", "id": memory_id}
    manage.invoke(changed, config("ann"))

    found = json.loads(search.invoke({"query": "which tea", "limit": 1}, config("ann")))
    assert [one["value"]["content"] for one in found] == ["Ann likes black tea"]
    assert json.loads(search.invoke({"query": "which tea"}, config("bob"))) == []
    versions = store.history(("memories", "ann"), memory_id)
    assert [cube.metadata["content"] for cube in versions] == [
        "Ann likes green tea",
        "Ann likes black tea",
    ]

    manage.invoke({"action": "delete", "id": memory_id}, config("ann"))
    left = json.loads(search.invoke({"query": "which tea"}, config("ann")))
    assert [one["value"]["content"] for one in left] == ["Ann lives in Oslo"]


async def test_inside_a_graph_with_its_own_store(store: MemOSStore) -> None:
    """The store comes from the graph, the calls are asynchronous."""
    manage = langmem.create_manage_memory_tool(NAMESPACE)
    search = langmem.create_search_memory_tool(NAMESPACE)
    answers: list[str] = []

    async def node(state: MessagesState, *, store: BaseStore) -> MessagesState:
        await manage.ainvoke({"content": "Ann likes plums", "action": "create"})
        answers.append(await search.ainvoke({"query": "plums"}))
        return {"messages": []}

    graph = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node")
    await graph.compile(store=store).ainvoke({"messages": []}, config("ann"))
    assert json.loads(answers[0])[0]["value"]["content"] == "Ann likes plums"
    assert store.search(("memories", "ann"), query="plums")[0].score is not None
