"""A graph whose store keeps versions: ``python cookbook/langgraph_store.py [FOLDER]``."""

from __future__ import annotations

import sys
import tempfile
from typing import TypedDict

from langgraph.graph import START, StateGraph
from langgraph.store.base import BaseStore

from memos_integrations import MemOS
from memos_integrations.langchain import MemOSStore


class State(TypedDict):
    user: str
    heard: str
    known: list[str]


def remember(state: State, *, store: BaseStore) -> State:
    """Keep what was heard, and look up what fits it."""
    namespace = ("users", state["user"])
    store.put(namespace, "last-heard", {"text": state["heard"], "kind": "utterance"})
    found = store.search(namespace, query=state["heard"], filter={"kind": "fact"}, limit=2)
    return {**state, "known": [item.value["text"] for item in found]}


def main(folder: str) -> None:
    with MemOS.open(folder) as memory:
        store = MemOSStore(memory.session("my-app"), fields=["text"])
        ann = ("users", "ann")
        store.put(ann, "diet", {"text": "Ann eats no walnuts", "kind": "fact"})
        store.put(ann, "home", {"text": "Ann lives in Oslo", "kind": "fact"})
        store.put(("users", "bob"), "diet", {"text": "Bob eats everything", "kind": "fact"})
        store.put(ann, "code", {"text": "the door code is 4711", "kind": "note"}, ttl=60)

        graph = StateGraph(State).add_node("remember", remember).add_edge(START, "remember")
        heard = {"user": "ann", "heard": "Is there anything I must not cook?", "known": []}
        print("known:", graph.compile(store=store).invoke(heard)["known"][0])

        # A put is a new version: nothing is overwritten.
        store.put(ann, "home", {"text": "Ann lives in Bergen", "kind": "fact"})
        for cube in store.history(ann, "home"):
            print(f"home, version {cube.version}: {cube.metadata['text']}")
        print("found:", store.search(("users",), query="Who lives in Bergen?", limit=1)[0].key)

        # An item is a memory like any other: scores, reasons and times come with it.
        hit = store.below(ann).search("where does she live?", limit=1)[0]
        print(f"why: {hit.why}")
        print("namespaces:", store.list_namespaces(prefix=("users",)))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(scratch)
