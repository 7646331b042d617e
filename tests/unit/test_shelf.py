"""Memories under keys: versions, pieces, time to live, and what a session sees of them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from memos_integrations import IndexPolicy, MemorySession, MemOS
from memos_integrations.errors import FrozenCubeError, InvalidInputError
from memos_integrations.keyed import KeyedMemory
from memos_integrations.shelf import Shelf
from memos_integrations.testing import FakeClock, WordEmbedder

Opener = Callable[..., MemOS]


@pytest.fixture
def shelf(alice: MemorySession) -> Shelf:
    return alice.shelf("store")


def put(shelf: Shelf, key: str, *texts: str, **options: object) -> None:
    shelf.write([shelf.draft((), key, texts, **options)])  # type: ignore[arg-type]


def nearest(shelf: Shelf, question: str, **options: int) -> list[KeyedMemory]:
    vector = shelf.question(question)
    found: list[KeyedMemory] = shelf.view(
        [lambda view: view.search((), question=vector, **({"limit": 10} | options))]
    )[0]
    return found


def test_a_write_is_a_version_with_provenance(shelf: Shelf, alice: MemorySession) -> None:
    put(shelf, "diet", "vegan", metadata={"diet": "vegan"})
    put(shelf, "diet", "vegetarian", metadata={"diet": "vegetarian"})
    found = shelf.get((), "diet")
    assert found is not None
    assert (found.cube.version, found.cube.metadata) == (2, {"diet": "vegetarian"})
    assert [cube.text for cube in alice.history(found.cube.id)] == ["vegan", "vegetarian"]
    graph = alice.lineage(found.cube.id)
    assert {verb for _, verb in graph.nodes(data="verb") if verb} == {"put"}
    assert alice.count() == 1
    hit = alice.search("vegetarian")[0].cube
    assert (hit.id, hit.text) == (found.cube.id, "vegetarian")


def test_shelves_and_namespaces_keep_keys_apart(alice: MemorySession) -> None:
    one, other = alice.shelf("one"), alice.shelf("other")
    put(one, "k", "of one")
    put(other, "k", "of the other")
    one.write([one.draft(("below",), "k", ["below"])])
    assert [shelf.get((), "k").cube.text for shelf in (one, other)] == ["of one", "of the other"]  # type: ignore[union-attr]
    assert one.view([lambda view: view.namespaces()])[0] == [(), ("below",)]
    assert alice.below("below").list()[0].text == "below"
    put_below = alice.below("below").shelf("one").get((), "k")
    assert put_below is not None, "the same shelf, seen from further down"


def test_found_by_its_nearest_piece(shelf: Shelf, alice: MemorySession) -> None:
    put(shelf, "many", "apples and pears", "the moon over Oslo", "a trumpet")
    put(shelf, "one", "apples on the moon")
    assert nearest(shelf, "trumpet")[0].key == "many"
    assert nearest(shelf, "the moon over Oslo")[0].score == pytest.approx(1.0, abs=1e-5)
    assert alice.search("trumpet", limit=1)[0].cube.text.endswith("a trumpet")
    put(shelf, "many", "nothing of the kind")
    assert nearest(shelf, "the moon over Oslo")[0].key == "one", "old pieces are gone"


def test_a_long_text_is_found_by_its_end(shelf: Shelf) -> None:
    filler = " ".join(f"word{i % 40}" for i in range(900))
    put(shelf, "long", f"{filler} and at its very end a zebra")
    put(shelf, "short", "horses")
    assert nearest(shelf, "zebra end very at")[0].key == "long"


@pytest.mark.parametrize("policy", [None, IndexPolicy(exact_below=5, check_every=0.1)])
def test_pieces_survive_another_embedder(
    folder: Path, open_store: Opener, policy: IndexPolicy | None
) -> None:
    memory = open_store(index_policy=policy)
    for i in range(8):
        put(memory.session("alice").shelf("s"), f"k{i}", f"first of {i}", f"second piece x{i}")
    memory.session("alice").add("without a key")
    memory.close()
    assert MemOS.reindex(folder, embedder=WordEmbedder(32, name="other")) == 9
    shelf = open_store(embedder=WordEmbedder(32, name="other")).session("alice").shelf("s")
    assert nearest(shelf, "second piece x5", limit=1)[0].key == "k5"
    assert nearest(shelf, "second piece x5")[0].score == pytest.approx(1.0, abs=1e-5)


def test_not_searched(shelf: Shelf, alice: MemorySession) -> None:
    put(shelf, "secret", "the plum", searched=False)
    put(shelf, "open", "a pear")
    assert [(one.key, one.score is None) for one in nearest(shelf, "plum")] == [
        ("open", False),
        ("secret", True),
    ]
    assert [hit.cube.text for hit in alice.search("plum")] == ["a pear"]
    put(shelf, "open", "a pear", searched=False)
    assert alice.search("pear") == []
    assert alice.count() == 2


def test_time_to_live(shelf: Shelf, alice: MemorySession, clock: FakeClock) -> None:
    put(shelf, "k", "for an hour", ttl=timedelta(hours=1))
    put(shelf, "stays", "for good")
    clock.advance(minutes=50)
    found = shelf.get((), "k")
    assert found is not None
    shelf.prolong([found])
    clock.advance(minutes=50)
    found = shelf.get((), "k")
    assert found is not None, "a use begins its time anew"
    assert found.cube.version == 1, "and makes no version"
    assert alice.get(found.cube.id).header.governance.expires_at == clock.now() + timedelta(
        minutes=10
    )
    assert alice.count({"expires_at": {"$gt": clock.now()}}) == 1
    clock.advance(minutes=11)
    assert shelf.get((), "k") is None
    assert [hit.cube.text for hit in alice.search("hour")] == ["for good"]
    shelf.prolong([found])
    assert shelf.get((), "k") is None, "what is over is not brought back"
    assert (shelf.sweep(), shelf.sweep()) == (1, 0)
    assert alice.count() == 1
    verbs = {verb for _, verb in alice.lineage(found.cube.id).nodes(data="verb") if verb}
    assert verbs == {"put", "expire"}


def test_a_key_that_expired_begins_anew(shelf: Shelf, clock: FakeClock) -> None:
    put(shelf, "k", "first life", ttl=timedelta(minutes=1))
    first = shelf.get((), "k")
    clock.advance(minutes=2)
    put(shelf, "k", "second life")
    second = shelf.get((), "k")
    assert first is not None
    assert second is not None
    assert (second.cube.id == first.cube.id, second.cube.version) == (False, 1)
    assert second.created_at > first.created_at


def test_reading_in_a_loop_does_not_write(shelf: Shelf, clock: FakeClock, folder: Path) -> None:
    put(shelf, "k", "text", ttl=timedelta(hours=1))
    found = shelf.get((), "k")
    assert found is not None
    before = _expiry(folder)
    clock.advance(seconds=30)  # less than a hundredth of an hour
    shelf.prolong([found])
    assert _expiry(folder) == before
    clock.advance(seconds=10)
    shelf.prolong([found])
    assert _expiry(folder) > before


def _expiry(folder: Path) -> int:
    records = sqlite3.connect(folder / "memory.db")
    try:
        return int(records.execute("SELECT expires_at FROM cubes").fetchone()[0])
    finally:
        records.close()


def test_all_or_nothing(shelf: Shelf, alice: MemorySession) -> None:
    put(shelf, "a", "before")
    with pytest.raises(InvalidInputError):
        shelf.write(
            [
                shelf.draft((), "a", ["after"]),
                shelf.removal((), "b"),
                shelf.draft((), "c", ["x"], metadata={"n": object()}),
            ]
        )
    cube = alice.list()[0]
    frozen = cube.header.governance.model_copy(update={"frozen": True})
    after = cube.model_copy(
        update={"version": 2, "header": cube.header.model_copy(update={"governance": frozen})}
    )
    activity = alice._operator.activity("freeze", alice.principal)
    alice._vault.revise(alice.namespace, activity, cube, after, None)
    with pytest.raises(FrozenCubeError, match="'a' is frozen"):
        shelf.write([shelf.draft((), "z", ["new"]), shelf.draft((), "a", ["after"])])
    assert [cube.text for cube in alice.list()] == ["before"]


@pytest.mark.parametrize("key", ["\x00", "k" * 5000, "\ud800", 7])
def test_keys_that_cannot_be_kept(shelf: Shelf, key: object) -> None:
    with pytest.raises(InvalidInputError, match="key"):
        shelf.draft((), key, ["text"])  # type: ignore[arg-type]


@pytest.mark.parametrize("ttl", [timedelta(0), timedelta(seconds=-1)])
def test_lives_that_are_none(shelf: Shelf, ttl: timedelta) -> None:
    with pytest.raises(InvalidInputError, match="time to live"):
        shelf.draft((), "k", ["text"], ttl=ttl)


def test_one_key_from_many_threads(shelf: Shelf, alice: MemorySession) -> None:
    start = threading.Barrier(6)

    def write(name: int) -> None:
        start.wait(30)
        for turn in range(5):
            put(shelf, "k", f"writer {name} turn {turn}")

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    cube = alice.list()[0]
    assert (alice.count(), cube.version) == (1, 30)
    assert len({version.text for version in alice.history(cube.id)}) == 30


def test_what_a_closed_store_kept(open_store: Opener, memory: MemOS) -> None:
    shelf = memory.session("alice").shelf("s")
    put(shelf, "k", "one", "two", ttl=timedelta(days=9000))
    memory.close()
    found = open_store().session("alice").shelf("s").get((), "k")
    assert found is not None
    assert (found.cube.text, found.ttl) == ("one\ntwo", timedelta(days=9000))


# Uses and reading again --------------------------------------------------------------------------


def test_where_memories_stood_is_kept(
    alice: MemorySession, memory: MemOS, open_store: Opener
) -> None:
    one, other = alice.add(["plums", "pears"])
    alice.record_uses(alice.search("plums"), prompt="turn-1")
    alice.record_uses([other, one], prompt="turn-2")
    alice.record_uses([one], prompt="turn-2")
    alice.update(one.id, "no plums")
    alice.record_uses([alice.get(one.id)], prompt="turn-3")
    seen = [(use.prompt, use.position, use.version) for use in alice.uses(one.id)]
    assert seen == [("turn-1", 0, 1), ("turn-2", 0, 1), ("turn-3", 0, 2)]
    memory.close()
    kept = open_store().session("alice").uses(one.id)
    assert [(use.prompt, use.position, use.version) for use in kept] == seen


def test_uses_of_others_are_not_taken(memory: MemOS, alice: MemorySession) -> None:
    theirs = memory.session("bob").add("bob's")[0]
    alice.record_uses([theirs], prompt="p")
    assert memory.session("bob").uses(theirs.id) == []
    with pytest.raises(InvalidInputError, match="prompt"):
        alice.record_uses([], prompt="")


def test_many_placements_are_written_on_their_own(alice: MemorySession, folder: Path) -> None:
    cube = alice.add("plums")[0]
    for i in range(1_000):
        alice.record_uses([cube], prompt=f"p{i}")
    records = sqlite3.connect(folder / "memory.db")
    assert records.execute("SELECT count(*) FROM placements").fetchone()[0] == 1_000
    records.close()
    assert len(alice.uses(cube.id)) == 1_000


def test_reading_again(memory: MemOS, alice: MemorySession, clock: FakeClock) -> None:
    kept, gone, late = alice.add(["kept", "gone", "late"])
    alice.update(late.id, expires_at=clock.now() + timedelta(days=1))
    theirs = memory.session("bob").add("bob's")[0]
    alice.delete(gone.id)
    ids = [late.id, theirs.id, gone.id, kept.id]
    assert [cube.text for cube in alice.get_many(ids)] == ["late", "kept"]
    clock.advance(days=2)
    assert [cube.text for cube in alice.get_many(ids)] == ["kept"]
    assert alice.get_many([]) == []
    with pytest.raises(InvalidInputError):
        alice.get_many(["nope"])


def test_a_store_of_the_first_schema_is_brought_up_to_date(
    folder: Path, open_store: Opener
) -> None:
    memory = open_store()
    memory.session("alice").add("from before")
    memory.close()
    records = sqlite3.connect(folder / "memory.db")
    with records:
        later = ("jobs", "links", "transitions", "past", "past_lexicon", "moments")
        later += ("grants", "retention", "audit", "sealed", "exports", "tombstones", "erasures")
        later += ("subscribed", "subscriptions")
        for table in (*later, "facets", "keys", "placements", "staged_embeddings"):
            records.execute(f"DROP TABLE {table}")
        records.execute("DROP INDEX activities_by_time")
        records.execute("DROP INDEX cubes_by_deletion")
        records.execute("ALTER TABLE cubes DROP COLUMN quarantined")
        records.execute(
            "CREATE TABLE staged_embeddings (cube_pk INTEGER PRIMARY KEY REFERENCES cubes(pk), "
            "version_pk INTEGER NOT NULL, embedder TEXT NOT NULL, vector BLOB NOT NULL)"
        )
        records.execute("UPDATE alembic_version SET version_num = '0001'")
    records.close()
    alice = open_store().session("alice")
    put(alice.shelf("s"), "k", "new")
    assert {cube.text for cube in alice.list()} == {"from before", "new"}
    old = next(cube for cube in alice.list() if cube.text == "from before")
    moment = alice.snapshot("before the update")
    alice.update(old.id, "from today")
    assert alice.as_of(moment).search("from before")[0].cube.text == "from before"
