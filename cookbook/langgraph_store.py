"""A graph whose store keeps versions: ``python cookbook/langgraph_store.py [FOLDER]``."""

from __future__ import annotations

import sys
import tempfile
from typing import TypedDict

from langgraph.graph import START, StateGraph
from langgraph.store.base import BaseStore

from memos_integrations import MemOS
from memos_integrations.langchain import MemOSStore
from memos_integrations.testing import FakeClock


class State(TypedDict):
    user: str
    heard: str
    known: list[str]


def remember(state: State, *, store: BaseStore) -> State:
    """Keep what was heard, and look up what fits it."""
    namespace = ("users", state["user"])
    store.put(namespace, "last-heard", {"text": state["heard"], "kind": "utterance"})
    found = store.search(namespace, query=state["heard"], filter={"kind": "fact"}, limit=1)
    return {**state, "known": [item.value["text"] for item in found]}


def main(folder: str) -> None:
    clock = FakeClock()  # only to let time pass below; leave clock= out
    with MemOS.open(folder, clock=clock) as memory:
        store = MemOSStore(memory.session("my-app"), fields=["text"])
        ann, bob = ("users", "ann"), ("users", "bob")
        store.put(ann, "diet", {"text": "Ann eats no walnuts", "kind": "fact", "sure": 0.9})
        store.put(ann, "home", {"text": "Ann lives in Oslo", "kind": "fact", "sure": 0.6})
        store.put(bob, "diet", {"text": "Bob eats everything", "kind": "fact", "sure": 0.8})
        store.put(ann, "code", {"text": "The door code is 4711", "kind": "note"}, ttl=60)

        graph = StateGraph(State).add_node("remember", remember).add_edge(START, "remember")
        heard = State(user="ann", heard="Is there anything I must not cook?", known=[])
        print("the graph knows:", graph.compile(store=store).invoke(heard)["known"])

        # A put is a new version: nothing is overwritten.
        store.put(ann, "home", {"text": "Ann lives in Bergen", "kind": "fact", "sure": 1.0})
        for cube in store.history(ann, "home"):
            print(f"home, version {cube.version}: {cube.metadata['text']}")

        # By meaning over all users, by filters, by namespaces.
        item = store.search(("users",), query="Whose town is it?", limit=1)[0]
        print(f"nearest: {item.namespace} {item.key}, {item.score:.2f}")
        sure = store.search(("users",), filter={"kind": "fact", "sure": {"$gte": 0.9}})
        print("sure of:", sorted(item.key for item in sure))
        print("namespaces:", store.list_namespaces(prefix=("users",)))

        # Minutes to live; the history of what has expired remains.
        print("the code:", store.get(ann, "code", refresh_ttl=False).value["text"])
        clock.advance(minutes=61)
        print("an hour later:", store.get(ann, "code"))
        print("swept:", store.sweep_ttl())

        # An item is a memory like any other; a session in its namespace finds it, too. (For the
        # store's own principal there is a shorter way: store.below(ann).)
        session = memory.session("ann", namespace=("my-app", "users", "ann"))
        hit = session.search("where does she live?", limit=1)[0]
        print(f"a session finds: {hit.cube.metadata['text']}, version {hit.cube.version}")
        print(f"why: {hit.why}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(sys.argv[1] if len(sys.argv) > 1 else scratch)
