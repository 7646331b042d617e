"""Importers: what other programs wrote, with stable ids, twice without a trace."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from langgraph.store.memory import InMemoryStore
from llama_index.core.llms import ChatMessage
from llama_index.core.storage.chat_store import SimpleChatStore

from memos_integrations import MemorySession, MemOS
from memos_integrations.errors import InvalidInputError, MemOSError
from memos_integrations.langchain import MemOSStore

ID = "6f1c0000-0000-4000-8000-000000000000"


def export(text: str, changed: str | None = None) -> dict[str, Any]:
    made = "2026-03-01T09:00:00-08:00"
    about = {"user_id": "ann", "hash": "x", "metadata": {"category": "home"}, "role": "user"}
    one = {"id": ID, "memory": text, "created_at": made, "updated_at": changed, **about}
    return {"results": [one]}


def history(path: Path, *texts: str) -> Path:
    with closing(sqlite3.connect(path)) as bare, bare:
        bare.execute(
            "CREATE TABLE history (id, memory_id, old_memory, new_memory, event, created_at, "
            "updated_at, is_deleted, actor_id, role)"
        )
        for n, text in enumerate(texts):
            event = "UPDATE" if n else "ADD"
            row = (n, ID, None, text, event, "2026-03-01T09:00:00", f"2026-03-0{n + 1}T09:00:00")
            bare.execute("INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?, 0, NULL, NULL)", row)
    return path


def test_mem0(alice: MemorySession, tmp_path: Path) -> None:
    path = tmp_path / "mem0.json"
    path.write_text(json.dumps(export("Ann lives in Oslo")))
    assert alice.import_from("mem0", path).added == 1
    cube = alice.search("Where does Ann live?")[0].cube
    about = cube.header.descriptive
    assert (about.source, about.origin, about.role) == (f"mem0:{ID}", "imported", "user")
    assert cube.created_at.isoformat() == "2026-03-01T17:00:00+00:00"
    assert cube.metadata["category"] == "home"
    assert cube.metadata["mem0"]["user_id"] == "ann"
    assert [entry.principal for entry in alice.log()] == ["alice", "imported:mem0"]
    before = alice.log()
    assert alice.import_from("mem0", export("Ann lives in Oslo")).unchanged == 1
    assert alice.log() == before
    changed = export("Ann lives in Bergen", "2026-05-01T09:00:00+00:00")
    assert alice.import_from("mem0", changed).updated == 1
    assert alice.import_from("mem0", changed).unchanged == 1
    assert [c.text for c in alice.history(cube.id)] == ["Ann lives in Oslo", "Ann lives in Bergen"]
    assert alice.below("copy").import_from("mem0", changed).added == 1  # with an id of its own


def test_mem0_with_its_history(alice: MemorySession, tmp_path: Path) -> None:
    past = history(tmp_path / "history.db", "Ann lives in Oslo", "Ann lives in Bergen")
    assert alice.import_from("mem0", export("Ann lives in Bergen"), history=past).added == 1
    cube = alice.list()[0]
    assert [c.text for c in alice.history(cube.id)] == ["Ann lives in Oslo", "Ann lives in Bergen"]
    assert set(alice.lineage(cube.id)) >= {f"{cube.id}@1", f"{cube.id}@2"}


def test_trust_keeps_who_said_it(alice: MemorySession) -> None:
    alice.import_from("mem0", export("Ann lives in Oslo"), trust=True)
    assert alice.list()[0].header.descriptive.origin == "user"


def test_langgraph_items_are_found_by_our_store(alice: MemorySession) -> None:
    theirs = InMemoryStore()
    theirs.put(("users", "ann"), "diet", {"text": "No walnuts"})
    theirs.put(("users", "ann"), "home", {"city": "Oslo", "floor": 3})
    assert alice.import_from("langgraph", theirs).added == 2
    ours = MemOSStore(alice)
    found = ours.get(("users", "ann"), "diet")
    assert found is not None
    assert found.value == {"text": "No walnuts"}
    assert {item.key for item in ours.search(("users",))} == {"diet", "home"}
    assert ours.search(("users", "ann"), query="walnuts")[0].key == "diet"
    assert alice.import_from("langgraph", theirs).unchanged == 2
    theirs.put(("users", "ann"), "diet", {"text": "No nuts at all"})
    assert alice.import_from("langgraph", theirs).updated == 1
    found = ours.get(("users", "ann"), "diet")
    assert found is not None
    assert found.value == {"text": "No nuts at all"}


def test_llama_index_chat_store(alice: MemorySession, tmp_path: Path) -> None:
    theirs = SimpleChatStore()
    theirs.add_message("monday", ChatMessage(role="user", content="I live in Oslo"))
    theirs.add_message("monday", ChatMessage(role="assistant", content="Nice"))
    blocks = [[{"block_type": "text", "text": one}] for one in ("I live in Oslo", "Nice")]
    written = [{"role": r, "blocks": b} for r, b in zip(("user", "assistant"), blocks, strict=True)]
    (tmp_path / "chat.json").write_text(json.dumps({"store": {"monday": written}}))
    assert alice.import_from("llama_index", tmp_path / "chat.json").added == 2
    assert alice.import_from("llama_index", theirs).unchanged == 2
    monday = alice.below("monday")
    assert sorted((c.header.descriptive.role, c.text) for c in monday.list()) == [
        ("assistant", "Nice"),
        ("user", "I live in Oslo"),
    ]


def test_jsonl(alice: MemorySession, tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    line = {"text": "I live in Oslo", "tags": ["home"], "created_at": "2026-01-01", "mood": "fine"}
    path.write_text(json.dumps(line) + "\n\n" + json.dumps({"id": 7, "text": "Tea"}) + "\n")
    assert alice.import_from("jsonl", path).added == 2
    assert alice.import_from("jsonl", path).unchanged == 2
    assert alice.count({"tags": "home", "metadata.mood": "fine"}) == 1


@pytest.mark.parametrize(
    ("kind", "source", "said"),
    [
        ("letta", {}, "use one of mem0"),
        ("mem0", {"results": [{"id": "1"}]}, "no words"),
        ("mem0", {"results": [{"id": "1", "memory": "x", "created_at": "never"}]}, "ISO"),
        ("mem0", "nowhere.json", "cannot be read"),
        ("mem0", {"results": [{"id": "1", "memory": "a"}, {"id": "1", "memory": "b"}]}, "same id"),
        ("mem0", {"results": [{"id": "1", "memory": " "}]}, "empty"),
        ("llama_index", [], "chat store"),
        ("langgraph", [SimpleNamespace(key="x")], "no item"),
        ("jsonl", [{"txt": "x"}], "no text"),
        ("jsonl", ["x"], "no object"),
    ],
)
def test_what_cannot_be_read_is_said(
    alice: MemorySession, kind: str, source: Any, said: str
) -> None:
    with pytest.raises(MemOSError, match=said):
        alice.import_from(kind, source)
    assert alice.count() == 0


def test_histories_that_are_none(alice: MemorySession, tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("no database, but long enough to be looked at as one" * 20)
    for past in (tmp_path / "x.db", tmp_path / "missing"):
        with pytest.raises(InvalidInputError):
            alice.import_from("mem0", export("x"), history=past)
    with pytest.raises(InvalidInputError, match="'mem0' only"):
        alice.import_from("jsonl", [], history=tmp_path / "x.db")


async def test_async_twin(alice: MemorySession, memory: MemOS) -> None:
    assert (await alice.aimport_from("jsonl", [{"text": "x"}])).added == 1
