"""The verbs, one by one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from memos_integrations import MemorySession, MemOS, Principal, SearchPolicy, TimeWindow
from memos_integrations.errors import (
    CubeNotFoundError,
    IdempotencyConflictError,
    VersionConflictError,
)
from memos_integrations.operation.retrieval import fuse
from memos_integrations.protocols import Vectors
from memos_integrations.testing import CountingIds, FakeClock, WordEmbedder

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def texts(session: MemorySession, query: str, **options: object) -> list[str]:
    return [hit.cube.text for hit in session.search(query, **options)]  # type: ignore[arg-type]


def test_add_keeps_what_it_was_told(alice: MemorySession) -> None:
    cube = alice.add(
        "I moved to Oslo",
        event_time=NOON,
        tags=["home", "city", "home"],
        semantic_type="event",
        speaker="Alice",
        source="letter-7",
        metadata={"page": 3},
        priority=8,
    )[0]
    about = cube.header.descriptive
    assert (cube.text, cube.version, cube.namespace) == ("I moved to Oslo", 1, ("alice",))
    assert (about.event_time, about.tags, about.semantic_type) == (NOON, ("home", "city"), "event")
    assert (about.speaker, about.source, about.metadata) == ("Alice", "letter-7", {"page": 3})
    assert (cube.header.governance.owner, cube.header.governance.priority) == ("alice", 8)
    assert alice.get(cube.id) == cube


def test_the_same_clock_and_ids_give_the_same_cubes(
    open_store: Callable[..., MemOS], tmp_path: object
) -> None:
    stores = [
        open_store(tmp_path / name, clock=FakeClock(), ids=CountingIds())  # type: ignore[operator]
        for name in ("one", "two")
    ]
    added = [store.session("alice").add(["first", "second"], tags=["x"]) for store in stores]
    assert added[0] == added[1]


def test_idempotency(alice: MemorySession, memory: MemOS) -> None:
    first = alice.add(["said once", "and this"], idempotency_key="turn-1")
    assert alice.add(["said once", "and this"], idempotency_key="turn-1") == first
    assert alice.count() == 2
    with pytest.raises(IdempotencyConflictError, match="other content"):
        alice.add("something else", idempotency_key="turn-1")
    # Keys are a namespace's own.
    assert memory.session("bob").add("said once", idempotency_key="turn-1")[0].id != first[0].id


def test_update_writes_a_version(alice: MemorySession, clock: FakeClock) -> None:
    one = alice.add("I live in Oslo", tags=["home"], event_time=NOON)[0]
    clock.advance(hours=1)
    two = alice.update(one.id, "I live in Bergen", expected_version=1)
    assert (two.version, two.text, two.tags, two.event_time) == (
        2,
        "I live in Bergen",
        ("home",),
        NOON,
    )
    assert two.header.behaviour.previous_version == 1
    assert two.created_at == one.created_at + timedelta(hours=1)
    three = alice.update(one.id, tags=[], event_time=None, metadata={"sure": True}, priority=1)
    assert (three.text, three.tags, three.event_time) == ("I live in Bergen", (), None)
    assert alice.history(one.id) == [one, two, three]
    assert [alice.get(one.id, version=n) for n in (1, 2, 3)] == [one, two, three]
    with pytest.raises(CubeNotFoundError, match="no version 4"):
        alice.get(one.id, version=4)
    with pytest.raises(VersionConflictError, match="at version 3, not 1") as conflict:
        alice.update(one.id, "late", expected_version=1)
    assert (conflict.value.expected, conflict.value.actual) == (1, 3)
    assert texts(alice, "Oslo") == ["I live in Bergen"]


def test_delete_is_gone_everywhere_but_in_history(alice: MemorySession) -> None:
    gone, kept = alice.add(["the secret word is plum", "the weather is fine"])
    alice.delete(gone.id)
    assert texts(alice, "secret plum") == [kept.text]
    assert alice.list() == [alice.get(kept.id)]
    assert alice.count() == 1
    for act in (alice.get, alice.delete, lambda i: alice.update(i, "back")):
        with pytest.raises(CubeNotFoundError):
            act(gone.id)
    assert alice.history(gone.id) == [gone]
    graph = alice.lineage(gone.id)
    assert "wasInvalidatedBy" in {r for _, _, r in graph.edges(data="relation")}


def test_lineage(alice: MemorySession) -> None:
    one = alice.add(["first", "its neighbour"])[0]
    alice.update(one.id, "second")
    alice.update(one.id, "third")
    graph = alice.lineage(one.id)
    kinds = [kind for _, kind in graph.nodes(data="kind")]
    assert (kinds.count("entity"), kinds.count("activity"), kinds.count("agent")) == (3, 3, 1)
    assert graph.edges[f"{one.id}@3", f"{one.id}@2"]["relation"] == "wasRevisionOf"
    assert graph.nodes[f"{one.id}@1"]["text"] == "first"
    assert "agent:alice" in graph


def test_namespaces_see_nothing_of_each_other(memory: MemOS) -> None:
    alice = memory.session("alice", namespace=("acme", "alice"))
    others = [
        memory.session("alice", namespace=("acme",)),
        memory.session("alice", namespace=("acme", "alice", "x")),
        memory.session("bob"),
        memory.session(Principal(id="bob", kind="agent"), namespace=("acme", "bob")),
    ]
    cube = alice.add("the canary sings at noon")[0]
    for other in others:
        assert other.search("canary noon") == []
        assert (other.list(), other.count()) == ([], 0)
        for act in (other.get, other.history, other.lineage, other.delete):
            with pytest.raises(CubeNotFoundError):
                act(cube.id)
    assert alice.get(cube.id) == cube


def test_pages(alice: MemorySession) -> None:
    added = alice.add([f"memory {i}" for i in range(25)])
    seen, after = [], None
    while page := alice.list(limit=10, after=after):
        seen += page
        after = page[-1].id
    assert [cube.id for cube in seen] == [cube.id for cube in added]


def test_a_lifespan_ends_at_its_second(alice: MemorySession, clock: FakeClock) -> None:
    cube = alice.add("the code is 1234", expires_at=NOON + timedelta(minutes=5))[0]
    clock.advance(seconds=299)
    assert texts(alice, "code") == [cube.text]
    clock.advance(seconds=1)
    assert texts(alice, "code") == []
    assert alice.get(cube.id).text == cube.text


# Search ----------------------------------------------------------------------------------------


def test_hits_say_why(alice: MemorySession) -> None:
    alice.add(["Maya eats walnuts", "Jonas plays the trumpet", "rain is coming"])
    hits = alice.search("who plays the trumpet?")
    assert hits[0].cube.text == "Jonas plays the trumpet"
    assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
    assert all(0 < hit.score <= 1 for hit in hits)
    assert set(hits[0].parts) == {"dense", "lexical"}
    assert "words #1: plays, trumpet" in hits[0].why
    assert alice.search("trumpet", min_score=0.99)[0].score == 1.0
    assert alice.search("trumpet", memory_type="activation") == []


def test_fusion_is_weighted_reciprocal_rank() -> None:
    fused = fuse({"a": (1.0, [(7, 0.9), (8, 0.8)]), "b": (3.0, [(8, 5.0)])}, k=60)
    assert fused == {7: pytest.approx(0.25), 8: pytest.approx(0.25 * 61 / 62 + 0.75)}


def test_weights(alice: MemorySession) -> None:
    alice.add(["apples and pears", "pears"])
    for policy, source in ((SearchPolicy(dense=0), "lexical"), (SearchPolicy(lexical=0), "dense")):
        assert all(set(h.parts) == {source} for h in alice.search("pears", policy=policy))


def test_recency(alice: MemorySession, clock: FakeClock) -> None:
    alice.add("we meet on Monday in the library")
    clock.advance(days=90)
    alice.add("we meet on Friday in the library")
    newest = alice.search("when do we meet in the library", policy=SearchPolicy(recency=1.0))[0]
    assert newest.cube.text == "we meet on Friday in the library"


def test_time_in_a_question_raises_and_a_window_drops(alice: MemorySession) -> None:
    may, june = (datetime(2025, month, 15, tzinfo=UTC) for month in (5, 6))
    alice.add("we went hiking in the hills", event_time=june)
    alice.add("we went hiking by the lake", event_time=may)
    asked = alice.search("where did we go hiking in May 2025?")
    assert [hit.cube.event_time for hit in asked] == [may, june]
    assert "time: in May 2025" in asked[0].why
    window = TimeWindow(start=june - timedelta(days=1))
    assert texts(alice, "hiking", window=window) == ["we went hiking in the hills"]


def test_what_says_the_same_is_listed_once(alice: MemorySession) -> None:
    alice.add(["Maya is allergic to walnuts.", "maya is  allergic to WALNUTS", "Maya likes plums"])
    assert len(alice.search("Maya walnuts plums")) == 2
    alice.add("Maya is allergic to walnuts.", speaker="Jonas")
    assert len(alice.search("Maya walnuts plums")) == 3


def test_uses_are_counted_beside_the_version(
    alice: MemorySession, memory: MemOS, open_store: Callable[..., MemOS], clock: FakeClock
) -> None:
    cube = alice.add("the trumpet")[0]
    for _ in range(3):
        alice.search("trumpet")
    used = alice.get(cube.id)
    assert (used.header.behaviour.uses, used.version) == (3, 1)
    assert used.header.behaviour.last_used_at == NOON
    memory.close()
    clock.advance(days=7)
    again = open_store(clock=clock).session("alice")
    assert again.get(cube.id).header.behaviour.uses == 3
    assert again.get(cube.id).header.behaviour.heat == pytest.approx(1.5)
    assert again.count({"uses": {"$gte": 3}}) == 1


def test_index_and_scan_find_the_same(
    indexed: MemOS, open_store: Callable[..., MemOS], tmp_path: object
) -> None:
    said = [f"word{i % 13} word{i % 7} word{i}" for i in range(80)]
    scanned = open_store(tmp_path / "scanned")  # type: ignore[operator]
    for memory in (indexed, scanned):
        memory.session("alice").add(said, tags=["all"])
    assert indexed.vault.wait_for_index(60)
    assert indexed.vault.index_state == "ready"
    assert scanned.vault.index_state == "idle"
    for query in ("word3 word5", "word40", "word12 word6 word79"):
        for options in ({}, {"filters": {"tags": "all"}}):
            found = [
                texts(m.session("alice"), query, limit=10, **options) for m in (indexed, scanned)
            ]
            assert found[0][:3] == found[1][:3]
            assert len(set(found[0]) & set(found[1])) >= 9


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"tags": "a"}, "13"),
        ({"tags": {"$in": ["a", "b"]}}, "123"),
        ({"tags": {"$ne": "a"}}, "2"),
        ({"priority": {"$gt": 2}}, "3"),
        ({"priority": {"$gte": 2, "$lt": 3}}, "2"),
        ({"speaker": "Maya"}, "1"),
        ({"speaker": {"$ne": "Maya"}}, "23"),
        ({"speaker": None}, "3"),
        ({"speaker": {"$ne": None}}, "12"),
        ({"speaker": {"$in": []}}, ""),
        ({"event_time": {"$lte": NOON}}, "1"),
        ({"event_time": None}, "3"),
        ({"metadata.page": {"$gte": 2}}, "2"),
        ({"metadata.page": "2"}, ""),
        ({"metadata.done": True}, "1"),
        ({"metadata.done": {"$ne": True}}, "23"),
        ({"metadata.page": None}, "3"),
        ({"metadata.page": {"$in": [1, 2]}}, "12"),
        ({"state": "generated", "version": 1}, "123"),
        ({"frozen": False, "origin": "user", "owner": "alice"}, "123"),
        ({"uses": 0, "last_used_at": None}, "123"),
    ],
)
def test_filters(alice: MemorySession, filters: dict[str, object], expected: str) -> None:
    alice.add(
        "1",
        tags=["a"],
        priority=1,
        speaker="Maya",
        event_time=NOON,
        metadata={"page": 1, "done": True},
    )
    alice.add(
        "2",
        tags=["b"],
        priority=2,
        speaker="Jonas",
        event_time=NOON + timedelta(days=1),
        metadata={"page": 2, "done": 1},
    )
    alice.add("3", tags=["a", "b"], priority=3)
    assert "".join(sorted(cube.text for cube in alice.list(filters=filters))) == expected
    assert alice.count(filters) == len(expected)
    assert "".join(sorted(texts(alice, "1 2 3", filters=filters))) == expected


# Async -----------------------------------------------------------------------------------------


async def test_async_twins(alice: MemorySession) -> None:
    cube = (await alice.aadd("I live in Oslo", tags=["home"]))[0]
    assert await alice.aget(cube.id) == cube
    await alice.aupdate(cube.id, "I live in Bergen")
    assert [hit.cube.text for hit in await alice.asearch("Bergen", limit=1)] == ["I live in Bergen"]
    assert len(await alice.ahistory(cube.id)) == 2
    assert len(await alice.alineage(cube.id)) == len(alice.lineage(cube.id))
    assert await alice.acount() == 1
    assert await alice.alist(limit=5) == alice.list(limit=5)
    await alice.adelete(cube.id)
    assert await alice.acount() == 0


async def test_async_does_not_block_the_loop(open_store: Callable[..., MemOS]) -> None:
    """The embedder waits for something that only the event loop can do."""
    released = threading.Event()

    class Waiting(WordEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> Vectors:
            assert released.wait(30)
            return super().embed_documents(texts)

    session = open_store(embedder=Waiting()).session("alice")
    adding = asyncio.create_task(session.aadd("words"))
    await asyncio.sleep(0)
    released.set()
    assert len(await adding) == 1
