"""The verbs, one by one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from memos_integrations import MemorySession, MemOS, Principal, TimeWindow
from memos_integrations.errors import (
    CubeNotFoundError,
    FrozenCubeError,
    IdempotencyConflictError,
    InvalidInputError,
    MemOSError,
    VersionConflictError,
)
from memos_integrations.memos import new_id
from memos_integrations.protocols import Vectors
from memos_integrations.testing import CountingIds, FakeClock, WordEmbedder

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
Opener = Callable[..., MemOS]


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


def test_many_at_once_keep_their_order(alice: MemorySession) -> None:
    seen: list[tuple[int, int]] = []
    added = alice.add((f"memory {i}" for i in range(600)), progress=lambda *done: seen.append(done))
    assert [cube.text for cube in added] == [f"memory {i}" for i in range(600)]
    assert alice.list(limit=1000) == added
    assert seen == sorted(seen)
    assert seen[-1] == (600, 600)


def test_messages_and_documents_keep_what_they_say_of_themselves(alice: MemorySession) -> None:
    message, document = alice.add(
        [
            {
                "role": "assistant",
                "content": "the train leaves at nine",
                "speaker": "Sol",
                "timestamp": "2026-01-01T13:00:00+01:00",
                "id": "m-7",
            },
            {"text": "a page of a book", "metadata": {"source": "book.txt", "page": 3}},
        ]
    )
    about = message.header.descriptive
    assert (about.origin, about.role, about.speaker) == ("assistant", "assistant", "Sol")
    assert (about.said_at, about.event_time, about.source) == (NOON, NOON, "m-7")
    about = document.header.descriptive
    assert (about.origin, about.role, about.source) == ("document", None, "book.txt")
    assert about.metadata["page"] == 3
    assert (about.said_at, about.event_time) == (None, None)


def test_what_was_added_is_a_first_version_of_its_own(alice: MemorySession) -> None:
    one, two = alice.add(["the same words", "the same words"])
    assert one.id != two.id
    assert (one.version, one.state.value, one.created_at) == (1, "generated", NOON)
    assert one.header.behaviour.uses == 0
    assert one.header.behaviour.previous_version is None
    assert one.header.behaviour.context_fingerprint == two.header.behaviour.context_fingerprint
    assert alice.history(one.id) == [one]


def test_the_same_clock_and_ids_give_the_same_cubes(open_store: Opener, tmp_path: Path) -> None:
    def story(name: str) -> list[object]:
        clock = FakeClock(step=timedelta(seconds=1))
        session = open_store(tmp_path / name, clock=clock, ids=CountingIds()).session("alice")
        one, _ = session.add(["I moved to Oslo yesterday", "second"], tags=["x"])
        session.update(one.id, "I moved to Bergen")
        session.search("where to?")
        session.delete(session.add("gone")[0].id)
        return [session.list(), session.history(one.id), session.search("Bergen")]

    assert story("one") == story("two")


def test_new_ids_come_in_the_order_of_time() -> None:
    ids = [new_id() for _ in range(5_000)]
    assert ids == sorted(set(ids))


def test_idempotency(alice: MemorySession, memory: MemOS) -> None:
    first = alice.add(["said once", "and this"], idempotency_key="turn-1")
    assert alice.add(["said once", "and this"], idempotency_key="turn-1") == first
    assert alice.count() == 2
    with pytest.raises(IdempotencyConflictError, match="other content"):
        alice.add("something else", idempotency_key="turn-1")
    for other in (["said once"], ["and this", "said once"], ["said once", "and this", "more"]):
        with pytest.raises(IdempotencyConflictError, match="'turn-1' was used before"):
            alice.add(other, idempotency_key="turn-1")
    assert alice.count() == 2
    # Keys are a namespace's own.
    assert memory.session("bob").add("said once", idempotency_key="turn-1")[0].id != first[0].id
    # What was said by another is other content.
    with pytest.raises(IdempotencyConflictError):
        alice.add(["said once", "and this"], speaker="Eve", idempotency_key="turn-1")


def test_a_repeated_call_gives_what_the_first_one_wrote(
    alice: MemorySession, clock: FakeClock, memory: MemOS, open_store: Opener
) -> None:
    """Later, from another process, and whatever became of it."""
    first = alice.add("I moved yesterday", idempotency_key="turn-1")
    alice.update(first[0].id, "I moved last week")
    clock.advance(days=3)
    assert alice.add("I moved yesterday", idempotency_key="turn-1") == first
    alice.delete(first[0].id)
    memory.close()
    alice = open_store(clock=clock).session("alice")
    assert alice.add("I moved yesterday", idempotency_key="turn-1") == first
    assert alice.count() == 0


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


def test_each_field_can_be_updated_on_its_own(alice: MemorySession) -> None:
    later = NOON + timedelta(days=1)
    cube = alice.add("words", tags=["a"], metadata={"a": 1}, expires_at=later, event_time=later)[0]
    for changes in (
        {"text": "other words"},
        {"tags": ["b", "c"]},
        {"tags": ()},
        {"metadata": {"b": [2]}},
        {"metadata": {}},
        {"event_time": NOON},
        {"event_time": None},
        {"expires_at": later + timedelta(days=1)},
        {"expires_at": None},
        {"priority": 0},
        {"semantic_type": "preference"},
    ):
        before, cube = cube, alice.update(cube.id, **changes)
        assert cube.version == before.version + 1
        changed = {
            name
            for group in ("descriptive", "governance")
            for name, value in getattr(cube.header, group)
            if value != getattr(getattr(before.header, group), name)
        } | ({"text"} if cube.text != before.text else set())
        assert changed == set(changes)
    assert cube == alice.get(cube.id)
    assert [one.version for one in alice.history(cube.id)] == list(range(1, 13))
    assert cube.header.governance.owner == "alice"


def test_search_follows_an_update(alice: MemorySession) -> None:
    cube, other = alice.add(["the dog is called Rex", "the cat sleeps"])
    alice.update(cube.id, "the dog is called Luna")
    assert alice.search("Luna", limit=1)[0].parts.keys() == {"dense", "lexical"}
    assert all("lexical" not in hit.parts for hit in alice.search("Rex"))
    alice.update(other.id, tags=["Rex"])
    assert alice.search("Rex", limit=1)[0].cube.id == other.id, "tags are words, too"
    assert alice.count({"tags": "Rex"}) == 1


def test_an_expired_one_can_be_given_a_new_lifespan(alice: MemorySession, clock: FakeClock) -> None:
    cube = alice.add("the code is 1234", expires_at=NOON)[0]
    assert texts(alice, "code") == []
    alice.update(cube.id, expires_at=NOON + timedelta(days=1))
    assert texts(alice, "code") == [cube.text]
    clock.advance(days=1)
    assert texts(alice, "code") == []
    alice.update(cube.id, expires_at=None)
    assert texts(alice, "code") == [cube.text]


def test_of_two_who_expect_the_same_version_one_wins(alice: MemorySession) -> None:
    cube = alice.add("shared")[0]
    start = threading.Barrier(4)
    lost: list[VersionConflictError] = []

    def write(name: str) -> None:
        start.wait(30)
        try:
            alice.update(cube.id, name, expected_version=1)
        except VersionConflictError as conflict:
            lost.append(conflict)

    threads = [threading.Thread(target=write, args=(f"writer {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(lost) == 3
    assert {conflict.cube_id for conflict in lost} == {cube.id}
    assert alice.get(cube.id).version == 2
    alice.update(cube.id, "after reading again", expected_version=2)


def test_delete_is_gone_everywhere_but_in_history(alice: MemorySession) -> None:
    gone, kept = alice.add(["the secret word is plum", "the weather is fine"])
    alice.delete(gone.id)
    assert texts(alice, "secret plum") == [kept.text]
    assert alice.list() == [alice.get(kept.id)]
    assert alice.count() == 1
    for act in (
        alice.get,
        alice.delete,
        lambda i: alice.update(i, "back"),
        lambda i: alice.get(i, version=1),
    ):
        with pytest.raises(CubeNotFoundError, match="no memory"):
            act(gone.id)
    assert alice.list(after=gone.id) == [alice.get(kept.id)], "a page may begin where it was"
    assert alice.history(gone.id) == [gone]
    graph = alice.lineage(gone.id)
    assert "wasInvalidatedBy" in {r for _, _, r in graph.edges(data="relation")}
    verbs = {verb for _, verb in graph.nodes(data="verb") if verb}
    assert verbs == {"add", "delete"}


def test_history_of_an_updated_and_deleted_one(alice: MemorySession) -> None:
    cube = alice.add("first")[0]
    alice.update(cube.id, "second")
    alice.delete(cube.id)
    assert [version.text for version in alice.history(cube.id)] == ["first", "second"]
    assert f"{cube.id}@2" in alice.lineage(cube.id)
    assert alice.count({"version": 2}) == 0


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
        with pytest.raises(CubeNotFoundError):
            other.update(cube.id, "mine now")
        assert other.list(after=cube.id) == []
    assert alice.get(cube.id) == cube
    # Who may not read a memory may not learn that it exists: both errors read alike.
    hidden, missing = (str(_missing(others[2], i)) for i in (cube.id, new_id()))
    assert hidden[:10] == missing[:10]
    assert hidden[46:] == missing[46:]


def _missing(session: MemorySession, cube_id: str) -> MemOSError:
    with pytest.raises(CubeNotFoundError) as error:
        session.get(cube_id)
    return error.value


def test_two_principals_may_share_a_namespace(memory: MemOS) -> None:
    alice = memory.session("alice", namespace="team")
    bob = memory.session(Principal(id="bob", kind="agent"), namespace=("team",))
    cube = alice.add("the standup is at nine")[0]
    bob.update(cube.id, "the standup is at ten")
    assert [c.text for c in alice.history(cube.id)][1] == "the standup is at ten"
    assert alice.get(cube.id).header.governance.owner == "alice"
    agents = {n for n, kind in alice.lineage(cube.id).nodes(data="kind") if kind == "agent"}
    assert agents == {"agent:alice", "agent:bob"}


def test_a_frozen_one_can_be_read_not_changed(alice: MemorySession) -> None:
    """A version may say itself that it is frozen, whatever the state."""
    cube = alice.add("carved in stone")[0]
    frozen = cube.header.governance.model_copy(update={"frozen": True})
    after = cube.model_copy(
        update={
            "version": 2,
            "header": cube.header.model_copy(update={"governance": frozen}),
        }
    )
    vault = alice._vault
    activity = alice._operator.activity("freeze", alice.principal)
    vault.revise(alice.namespace, activity, cube, after, None)
    assert alice.count({"frozen": True}) == 1
    with pytest.raises(FrozenCubeError, match="can be read, not changed"):
        alice.update(cube.id, "softer")
    assert texts(alice, "stone") == ["carved in stone"]


def test_pages(alice: MemorySession) -> None:
    added = alice.add([f"memory {i}" for i in range(25)])
    seen, after = [], None
    while page := alice.list(limit=10, after=after):
        seen += page
        after = page[-1].id
    assert [cube.id for cube in seen] == [cube.id for cube in added]
    assert alice.list(limit=3, after=added[-3].id) == added[-2:]
    assert alice.list(after=added[-1].id) == []
    even = alice.list(limit=5, after=added[0].id, filters={"priority": 5})
    assert even == added[1:6]


def test_sessions_say_who_and_where(memory: MemOS) -> None:
    session = memory.session(Principal(id="bot", kind="agent", roles=("editor",)), namespace="acme")
    assert repr(session) == "MemorySession('bot', namespace=('acme',))"
    assert (session.principal.kind, session.namespace) == ("agent", ("acme",))
    assert memory.session("alice").namespace == ("alice",)
    assert memory.session("alice").principal == Principal(id="alice")
    assert str(memory.path) in repr(memory)


def test_stats_count_what_is_there(memory: MemOS) -> None:
    assert memory.stats()["memories"] == 0
    alice, bob = memory.session("alice"), memory.session("bob", namespace=("acme", "bob"))
    cube = alice.add(["one", "two"])[0]
    alice.update(cube.id, "uno")
    bob.delete(bob.add("three")[0].id)
    stats = memory.stats()
    assert (stats["memories"], stats["versions"], stats["index"]["state"]) == (2, 4, "idle")
    assert stats["namespaces"] == [
        {"namespace": ["acme", "bob"], "memories": 0, "search": "exact scan"},
        {"namespace": ["alice"], "memories": 2, "search": "exact scan"},
    ]
    assert stats["bytes"]["database"] > 0


def test_a_lifespan_ends_at_its_second(alice: MemorySession, clock: FakeClock) -> None:
    cube = alice.add("the code is 1234", expires_at=NOON + timedelta(minutes=5))[0]
    clock.advance(seconds=299)
    assert texts(alice, "code") == [cube.text]
    clock.advance(seconds=1)
    assert texts(alice, "code") == []
    assert texts(alice, "code", filters={"priority": 5}) == []
    assert alice.get(cube.id).text == cube.text
    assert (alice.list(), alice.count()) == ([alice.get(cube.id)], 1)
    assert alice.count({"expires_at": {"$lte": clock.now()}}) == 1


# Filters, by example; the model is in infrastructure/test_filters.py -----------------------------


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


async def test_async_twins_do_what_the_verbs_do(open_store: Opener, tmp_path: Path) -> None:
    sync, twin = (
        open_store(tmp_path / name, clock=FakeClock(), ids=CountingIds()).session("alice")
        for name in ("sync", "async")
    )
    text, options = ["I live in Oslo", "I like plums"], {"tags": ["home"], "priority": 7}
    added = sync.add(text, **options)
    assert await twin.aadd(text, **options) == added
    cube_id = added[0].id
    assert await twin.aget(cube_id) == sync.get(cube_id)
    assert await twin.aupdate(cube_id, "I live in Bergen", expected_version=1) == sync.update(
        cube_id, "I live in Bergen", expected_version=1
    )
    assert await twin.aupdate(cube_id, tags=[]) == sync.update(cube_id, tags=[])
    assert await twin.aget(cube_id, version=1) == sync.get(cube_id, version=1)
    asked: dict[str, Any] = {
        "limit": 2,
        "filters": {"priority": 7},
        "window": TimeWindow(end=NOON),
        "memory_type": "plaintext",
        "min_score": 0.1,
    }
    assert await twin.asearch("Bergen", **asked) == sync.search("Bergen", **asked)
    assert await twin.asearch("Bergen") == sync.search("Bergen")
    vector = await twin.aembed("Bergen")
    assert vector.tolist() == sync.embed("Bergen").tolist()
    assert await twin.asearch("Bergen", vector=vector) == sync.search("Bergen")
    assert await twin.ahistory(cube_id) == sync.history(cube_id)
    graph = await twin.alineage(cube_id, direction="sources", depth=9)
    assert dict(graph.nodes(data=True)) == dict(sync.lineage(cube_id).nodes(data=True))
    assert await twin.acount({"tags": "home"}) == sync.count({"tags": "home"}) == 1
    assert await twin.acount() == sync.count()
    page: dict[str, Any] = {"limit": 5, "after": cube_id, "filters": {"priority": 7}}
    assert await twin.alist(**page) == sync.list(**page)
    await twin.adelete(cube_id)
    sync.delete(cube_id)
    assert await twin.alist() == sync.list()


def test_every_verb_has_its_twin() -> None:
    verbs = {"add", "get", "search", "update", "delete", "history", "lineage", "count", "list"}
    verbs |= {"around", "get_many", "uses", "record_uses", "embed"}
    verbs |= {"branch", "branches", "merge_branch", "drop_branch", "organise", "links", "topics"}
    verbs |= {"append", "merge", "archive", "restore", "freeze", "unfreeze", "life", "tidy"}
    verbs |= {"as_of", "snapshot", "snapshots", "forget_snapshot", "diff", "rollback"}
    verbs |= {"log", "summary", "grant", "revoke", "grants", "may"}
    verbs |= {"why", "blame", "impact", "compare", "save_lineage", "run"}
    verbs |= {"forget", "receipts", "retain", "hold", "lift", "retention", "sweep"}
    verbs |= {"space", "spaces"}
    verbs |= {"audit", "audit_head", "verify_audit", "export_audit"}
    verbs |= {"reveal", "quarantined", "release", "dump", "load", "import_from"}
    verbs |= {"publish", "packages", "subscribe", "pull", "unsubscribe", "subscriptions", "trace"}
    verbs |= {"distill", "adapters", "retrain", "externalise", "worth_distilling"}
    verbs |= {"precompute", "activations", "extract", "quotes", "judge"}
    public = {name for name in dir(MemorySession) if not name.startswith("_")}
    assert public == verbs | {f"a{verb}" for verb in verbs} | {
        "audited",
        "below",
        "embedder",
        "shelf",
        "shelves",
        "store",
    }


async def test_async_errors_are_those_of_the_verbs(alice: MemorySession) -> None:
    calls: list[tuple[Any, type[MemOSError]]] = [
        (alice.aadd(""), InvalidInputError),
        (alice.aget(new_id()), CubeNotFoundError),
        (alice.asearch("x", limit=0), InvalidInputError),
        (alice.aupdate(new_id(), "x"), CubeNotFoundError),
        (alice.adelete("x"), InvalidInputError),
        (alice.ahistory(new_id()), CubeNotFoundError),
        (alice.alineage(new_id()), CubeNotFoundError),
        (alice.acount({"colour": 1}), InvalidInputError),
        (alice.alist(limit=True), InvalidInputError),
    ]
    for call, kind in calls:
        with pytest.raises(kind):
            await call
    with pytest.raises(TypeError):
        await alice.aadd("words", colour="red")


class Waiting(WordEmbedder):
    """Waits for something that only the event loop can do."""

    def __init__(self, entered: Callable[[], object]) -> None:
        super().__init__()
        self.entered, self.released = entered, threading.Event()

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        self.entered()
        assert self.released.wait(30)
        return super().embed_documents(texts)

    def embed_query(self, text: str) -> Vectors:
        self.entered()
        assert self.released.wait(30)
        return super().embed_query(text)


@pytest.mark.parametrize("verb", ["aadd", "asearch"])
async def test_async_does_not_block_the_loop(open_store: Opener, verb: str) -> None:
    loop, entered = asyncio.get_running_loop(), asyncio.Event()
    embedder = Waiting(lambda: loop.call_soon_threadsafe(entered.set))
    session = open_store(embedder=embedder).session("alice")
    working = asyncio.create_task(getattr(session, verb)("words"))
    await entered.wait()  # the loop turns while the embedder holds the verb up
    assert await session.acount() == 0
    assert not working.done()
    embedder.released.set()
    await working


async def test_many_at_once(alice: MemorySession) -> None:
    await asyncio.gather(*(alice.aadd(f"memory {i}") for i in range(20)))
    assert sorted(cube.text for cube in await alice.alist()) == sorted(
        f"memory {i}" for i in range(20)
    )
    found = await asyncio.gather(*(alice.asearch(f"{i}", limit=1) for i in range(20)))
    assert [hits[0].cube.text for hits in found] == [f"memory {i}" for i in range(20)]
