"""Erasure: what goes, what stays, what the tombstone shows, what nothing can bring back."""

from __future__ import annotations

import json
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from memos_integrations import MemorySession, MemOS
from memos_integrations.cube import MemCube, State
from memos_integrations.errors import (
    CubeNotFoundError,
    FrozenCubeError,
    InvalidInputError,
    ReadOnlyMomentError,
    StoreFullError,
    StoreLockedError,
    VersionConflictError,
)
from memos_integrations.infrastructure import crashpoints, links, past_writes, records
from memos_integrations.infrastructure.links import NewLink
from memos_integrations.infrastructure.past_writes import Return
from memos_integrations.infrastructure.receipts import Receipt
from memos_integrations.testing import FakeClock
from tests.conftest import Opener
from tests.faults.erasure_evidence import traces


def secret(session: MemorySession) -> MemCube:
    """A memory of two versions."""
    cube = session.add("the quokka sleeps", speaker="Ann", tags=["night"], source="mail-1")[0]
    return session.update(cube.id, "the quokka is awake")


def dump(folder: Path) -> list[str]:
    records = sqlite3.connect(folder / "memory.db")
    try:
        return list(records.iterdump())
    finally:
        records.close()


# The tombstone ---------------------------------------------------------------------------------


def test_a_tombstone_has_versions_and_times_and_nothing_else(
    alice: MemorySession, clock: FakeClock
) -> None:
    cube = alice.add(
        "the quokka sleeps",
        speaker="Ann",
        source="mail-1",
        tags=["night"],
        metadata={"a": 1},
        event_time=clock.now(),
        expires_at=clock.now().replace(year=2030),
        priority=9,
        semantic_type="event",
    )[0]
    clock.advance(hours=1)
    alice.update(cube.id, "the quokka is awake")
    clock.advance(hours=1)
    alice.forget(cube.id)
    with pytest.raises(CubeNotFoundError):
        alice.get(cube.id)
    with pytest.raises(CubeNotFoundError):
        alice.get(cube.id, version=1)
    assert alice.list() == [] == alice.search("quokka")
    assert alice.count() == 0
    first, second = alice.history(cube.id)
    assert [one.version for one in (first, second)] == [1, 2]
    assert second.created_at - first.created_at == clock.now() - second.created_at
    for one in (first, second):
        assert (one.text, one.memory_type, one.tags, one.metadata) == ("", "erased", (), {})
        about, rules = one.header.descriptive, one.header.governance
        assert (about.speaker, about.source, about.role) == (None, None, None)
        assert (about.event_time, about.said_at, rules.expires_at) == (None, None, None)
        assert (about.origin, about.semantic_type, rules.priority) == ("erased", "erased", 5)
        assert one.header.behaviour.context_fingerprint is None
        assert rules.owner == "alice"
        assert MemCube.model_validate_json(one.model_dump_json()) == one
        assert one._repr_html_()


def test_questions_about_a_tombstone(alice: MemorySession, tmp_path: Path) -> None:
    cube = secret(alice)
    other = alice.add("boats are red")[0]
    both = alice.merge([cube.id, other.id])
    alice.forget(cube.id)
    graph = alice.lineage(cube.id)
    assert graph.nodes[f"{cube.id}@1"]["erased"] and graph.nodes[f"{both.id}@1"]["erased"]
    assert not any(graph.nodes[node].get("text") for node in graph if cube.id in node)
    assert alice.why(cube.id)[-1]
    assert [one.memory_id for one in alice.impact(cube.id).memories] == [both.id]
    assert alice.blame(cube.id) == []
    assert alice.compare(cube.id, 1)
    assert [step.verb for step in alice.life(cube.id)] == ["merge", "forget"]
    assert {step.reason for step in alice.life(cube.id)} == {"erased"}
    assert alice.log(memory_id=cube.id)[0].verb == "forget"
    assert alice.uses(cube.id) == []
    for form in ("svg", "html", "json", "graphml", "mmd"):
        written = alice.save_lineage(cube.id, tmp_path / f"lineage.{form}").read_text()
        assert "quokka" not in written


# What is chosen --------------------------------------------------------------------------------


def test_what_was_derived_goes_and_what_it_came_from_stays(alice: MemorySession) -> None:
    one, two, three = alice.add(["the quokka sleeps", "boats are red", "the moon is far"])
    both = alice.merge([one, two])
    all_three = alice.merge([both, three])
    receipt = alice.forget(both.id)
    assert receipt.ids == (both.id, all_three.id)
    assert receipt.derived == (all_three.id,)
    assert set(receipt.kept_sources) == {one.id, two.id, three.id}
    assert alice.get(one.id).text == "the quokka sleeps"
    assert receipt.kept_derived == ()


def test_without_cascade_what_was_derived_is_named(alice: MemorySession) -> None:
    one, two = alice.add(["the quokka sleeps", "boats are red"])
    both = alice.merge([one, two])
    receipt = alice.forget(one.id, cascade=False)
    assert receipt.ids == (one.id,)
    assert receipt.kept_derived == (both.id,)
    assert "quokka" in alice.get(both.id).text
    assert f"came from these and stays: {both.id}" in str(receipt)


def test_copies_in_branches_go(alice: MemorySession) -> None:
    cube = secret(alice)
    branch = alice.branch("b")
    copy = branch.list()[0]
    receipt = alice.forget(cube)
    assert receipt.derived == (copy.id,)
    assert receipt.memories[1].namespace == branch.namespace
    assert branch.list() == []
    assert alice.merge_branch("b") == []
    assert alice.list() == []


def test_hits_of_a_search(alice: MemorySession) -> None:
    alice.add(["the quokka sleeps", "the quokka swims", "boats are red"])
    seen = alice.forget(query="quokka", limit=2, dry_run=True)
    assert alice.list()[0].state is State.GENERATED  # looking is no use
    gone = alice.forget(query="quokka", limit=2)
    assert set(gone.ids) == set(seen.ids)
    assert [cube.text for cube in alice.list()] == ["boats are red"]
    assert alice.forget(query="quokka", limit=1, filters={"speaker": "Nobody"}).ids == ()


def test_all_that_fits_also_archived_and_deleted(alice: MemorySession) -> None:
    cubes = [alice.add(f"fact {i}", speaker="Ann")[0] for i in range(3)]
    kept = alice.add("fact 9", speaker="Bob")[0]
    alice.archive(cubes[0].id)
    alice.delete(cubes[1].id)
    receipt = alice.forget(filters={"speaker": "Ann"})
    assert set(receipt.ids) == {cube.id for cube in cubes}
    assert [cube.id for cube in alice.list()] == [kept.id]
    assert all(cube.text == "" for one in cubes for cube in alice.history(one.id))
    assert alice.forget(filters={"speaker": "Ann"}).memories == ()


def test_all_of_a_principal_here_and_below(memory: MemOS) -> None:
    acme = memory.session("admin", namespace=("acme",))
    bob = memory.session("bob", namespace=("acme", "bob"))
    eve = memory.session("eve", namespace=("acme", "bob"))
    away = memory.session("bob", namespace=("other",))
    mine = [bob.add("one")[0], memory.session("bob", namespace=("acme",)).add("two")[0]]
    kept = [eve.add("three")[0], away.add("four")[0]]
    receipt = acme.forget(principal="bob")
    assert set(receipt.ids) == {cube.id for cube in mine}
    assert [cube.id for cube in eve.list()] == [kept[0].id]
    assert [cube.id for cube in away.list()] == [kept[1].id]
    assert acme.receipts() == [receipt]
    assert bob.receipts() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"what": "no id"},
        {"query": "x"},
        {"limit": 3},
        {"query": "x", "limit": 0},
        {"query": "x", "limit": True},
        {"query": "", "limit": 1},
        {"query": "x", "limit": 1, "principal": "y"},
        {"filters": {"colour": 1}},
        {"principal": ""},
        {"filters": {}, "reason": " "},
    ],
)
def test_what_cannot_be_meant(alice: MemorySession, wrong: dict[str, Any]) -> None:
    alice.add("boats are red")
    with pytest.raises(InvalidInputError):
        alice.forget(**wrong)
    assert alice.count() == 1
    assert alice.receipts() == []


def test_memories_and_filters_do_not_go_together(alice: MemorySession) -> None:
    cube = secret(alice)
    with pytest.raises(InvalidInputError):
        alice.forget(cube.id, filters={"speaker": "Ann"})
    with pytest.raises(InvalidInputError):
        alice.forget(cube.id, query="quokka", limit=1)


def test_one_that_is_not_there_leaves_the_others(memory: MemOS) -> None:
    alice, bob = memory.session("alice"), memory.session("bob")
    cube, foreign = secret(alice), secret(bob)
    with pytest.raises(CubeNotFoundError):
        alice.forget([cube.id, foreign.id])
    assert alice.get(cube.id).text == bob.get(foreign.id).text
    alice.forget([cube.id, cube])
    with pytest.raises(CubeNotFoundError):
        alice.forget(cube.id)


def test_a_frozen_memory_stays_and_all_with_it(alice: MemorySession) -> None:
    one, two = alice.add(["the quokka sleeps", "boats are red"])
    both = alice.merge([one, two])
    alice.freeze(both.id)
    for dry_run in (True, False):
        with pytest.raises(FrozenCubeError, match=both.id):
            alice.forget(one.id, dry_run=dry_run)
    assert alice.get(one.id).text == "the quokka sleeps"
    alice.unfreeze(both.id)
    assert alice.forget(one.id).ids == (one.id, both.id)


# The receipt -----------------------------------------------------------------------------------


def test_a_dry_run_says_the_same_and_changes_nothing(memory: MemOS, folder: Path) -> None:
    alice = memory.session("alice")
    cube = secret(alice)
    other = alice.add("the quokka is awake", idempotency_key="k")[0]
    alice.organise()
    alice.merge([cube.id, other.id])
    alice.record_uses([cube], prompt="p")
    memory.vault.flush_counters()
    before = dump(folder)
    seen = alice.forget(cube.id, dry_run=True)
    assert dump(folder) == before
    done = alice.forget(cube.id)
    same = {"id": "", "at": cube.created_at, "bytes_freed": 0, "seconds": 0.0, "finished": False}
    assert replace(done, **same, dry_run=True) == replace(seen, **same)
    assert (done.vectors, done.words, done.placements) == (3, 3, 1)
    assert done.links > 0


def test_a_receipt_is_kept_and_has_no_words(memory: MemOS, folder: Path) -> None:
    alice = memory.session("alice")
    cube = secret(alice)
    receipt = alice.forget(cube.id, reason="request 17")
    assert receipt.finished and not receipt.dry_run
    assert alice.receipts() == [receipt]
    assert Receipt.from_dict(json.loads(json.dumps(receipt.as_dict()))) == receipt
    assert receipt.at.tzinfo is UTC
    assert "quokka" not in json.dumps(receipt.as_dict())
    lines = str(receipt).splitlines()
    assert lines[0].startswith("erased: 1 memory, ") and lines[0].endswith(" UTC, by alice")
    assert lines[1:3] == [f"  {cube.id}: 2 versions", "with them: 2 vectors, 2 rows of words"]
    assert "would be erased: 0 memories" in str(alice.forget(filters={}, dry_run=True))


async def test_the_async_twins(alice: MemorySession) -> None:
    cube = secret(alice)
    receipt = await alice.aforget(cube.id, reason="twin")
    assert await alice.areceipts() == [receipt]


# What nothing brings back ----------------------------------------------------------------------


def test_no_way_back_in_time(alice: MemorySession, clock: FakeClock) -> None:
    cube = secret(alice)
    alice.snapshot("then")
    clock.advance(hours=1)
    alice.add("boats are red")
    alice.forget(cube.id)
    then = alice.as_of("then")
    assert then.list() == [] == then.search("quokka")
    assert then.count() == 0
    with pytest.raises(CubeNotFoundError):
        then.get(cube.id)
    assert [one.text for one in then.history(cube.id)] == ["", ""]
    alice.rollback("then", ids=[cube.id])
    alice.rollback("then")
    assert [one.text for one in alice.history(cube.id)] == ["", ""]
    with pytest.raises(CubeNotFoundError):
        alice.get(cube.id)
    with pytest.raises(ReadOnlyMomentError):
        then.forget(cube.id)


def test_a_rollback_that_was_faster_to_look_does_not_bring_it_back(
    memory: MemOS, alice: MemorySession
) -> None:
    cube = secret(alice)
    alice.delete(cube.id)
    back = Return(cube.id, None, cube, None)
    alice.forget(cube.id)
    activity = alice._operator.activity("rollback", alice.principal)
    with pytest.raises(VersionConflictError):
        memory.vault.commit(
            partial(
                past_writes.write_returns,
                path=alice.namespace,
                activity=activity,
                returns=[back],
            )
        )
    assert [one.text for one in alice.history(cube.id)] == ["", ""]


def test_a_reader_of_an_older_moment_leaves_nothing_behind(
    memory: MemOS, alice: MemorySession
) -> None:
    cube = secret(alice)
    vault = memory.vault
    with ThreadPoolExecutor(1) as elsewhere:
        with vault.snapshot(alice.namespace) as older:
            assert older.namespace is not None
            pk = older.namespace.pk
            receipt = elsewhere.submit(alice.forget, cube.id)
            while alice.history(cube.id)[0].text:
                time.sleep(0.01)
            with vault.snapshot(alice.namespace) as now:
                assert len(vault._former.of(now.tx, pk).pks) == 0
                assert len(vault._former.of(older.tx, pk).pks) == 1  # its own moment
                assert len(vault._former.of(now.tx, pk).pks) == 0
        assert receipt.result(timeout=30).finished


def test_an_organiser_that_was_faster_to_look_writes_no_reason(
    memory: MemOS, alice: MemorySession
) -> None:
    one, two = alice.add(["the quokka sleeps", "the quokka sleeps well"])
    with memory.vault.snapshot(alice.namespace) as view:
        pks = [head.cube_pk for cube in (one, two) if (head := view.head(cube.id)) is not None]
    late = NewLink(pks[1], pks[0], "elaborates", 0.9, "the quokka sleeps")
    activity = alice._operator.activity("organise", alice.principal)

    def work(tx: sa.Connection) -> tuple[None, bool]:
        namespace = records.ensure_namespace(tx, alice.namespace)
        links.write(tx, records.insert_activity(tx, namespace.pk, activity), [late])
        return None, False

    alice.forget(one.id)
    memory.vault.commit(work)
    assert alice.links() == []
    memory.close()
    kept = sqlite3.connect(memory.path / "memory.db")
    assert kept.execute("SELECT count(*) FROM links").fetchone() == (0,)
    kept.close()


def test_a_call_that_wrote_nothing_else_is_forgotten(alice: MemorySession) -> None:
    cube = alice.add("the quokka sleeps", idempotency_key="quokka-1")[0]
    alice.forget(cube.id)
    assert all(entry.idempotency_key is None for entry in alice.log())
    again = alice.add("the quokka sleeps", idempotency_key="quokka-1")[0]
    assert again.id != cube.id


def test_a_call_that_wrote_other_memories_still_writes_them_once(alice: MemorySession) -> None:
    said = ["the quokka sleeps", "boats are red"]
    gone, kept = alice.add(said, idempotency_key="k")
    alice.forget(gone.id)
    assert alice.add(said, idempotency_key="k") == [kept]
    assert alice.count() == 1


def test_a_key_of_a_shelf_is_free_again(alice: MemorySession) -> None:
    shelf = alice.shelf("notes")
    shelf.write([shelf.draft((), "name", ["the quokka sleeps"])])
    first = shelf.get((), "name")
    assert first is not None
    receipt = alice.forget(first.cube.id)
    assert receipt.keys == 1
    assert shelf.get((), "name") is None and shelf.cube_id((), "name") is None
    shelf.write([shelf.draft((), "name", ["boats are red"])])
    second = shelf.get((), "name")
    assert second is not None and second.cube.id != first.cube.id


def test_a_prompt_that_is_reported_later_is_not_noted(memory: MemOS, folder: Path) -> None:
    alice = memory.session("alice")
    cube = secret(alice)
    alice.forget(cube.id)
    alice.record_uses([cube], prompt="about the quokka")
    memory.vault.flush_counters()
    assert alice.uses(cube.id) == []
    memory.close()
    assert traces(folder, ["quokka"]) == {}


# The bytes -------------------------------------------------------------------------------------


def test_free_pages_of_earlier_times_go_too(open_store: Opener, folder: Path) -> None:
    with open_store() as memory:
        memory.session("alice").add("boats are red")
    records = sqlite3.connect(folder / "memory.db", isolation_level=None)
    records.execute("PRAGMA secure_delete = OFF")
    records.execute("CREATE TABLE scratch (words TEXT)")
    records.execute("INSERT INTO scratch VALUES (?)", ("the quokka sleeps " * 2_000,))
    records.execute("DROP TABLE scratch")
    records.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    records.close()
    assert traces(folder, ["quokka"])
    with open_store() as memory:
        alice = memory.session("alice")
        receipt = alice.forget(alice.list()[0].id)
        assert receipt.finished and receipt.bytes_freed > 30_000
        assert traces(folder, ["quokka", "boats"]) == {}


def test_blobs_go_with_the_last_memory_that_has_them(memory: MemOS) -> None:
    alice = memory.session("alice")
    shared, own = (memory.vault.blobs.put(content) for content in (b"shared", b"own"))
    one, two, three = alice.add(["one", "two", "three"])
    records = sqlite3.connect(memory.path / "memory.db")
    for cube, digest in ((one, shared), (two, shared), (three, own)):
        payload = {"type": "parameter", "blob": digest, "size": 6, "model": "m", "kind": "lora"}
        records.execute(
            "UPDATE versions SET memory_type = 'parameter', "
            "body = json_set(body, '$.payload', json(?)) "
            "WHERE cube_pk = (SELECT pk FROM cubes WHERE id = ?)",
            (json.dumps(payload), cube.id),
        )
    records.commit()
    records.close()
    assert alice.forget([one.id, three.id]).blobs == (own,)
    assert memory.vault.blobs.exists(shared) and not memory.vault.blobs.exists(own)
    assert alice.forget(two.id).blobs == (shared,)
    assert not memory.vault.blobs.exists(shared)


def test_what_was_not_finished_is_finished_at_the_next_opening(
    open_store: Opener, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(name: str) -> None:
        if name == "erasure-words-gone":
            raise StoreFullError("no space left")

    memory = open_store()
    alice = memory.session("alice")
    cube = secret(alice)
    monkeypatch.setattr(crashpoints, "hook", full)
    receipt = alice.forget(cube.id)
    assert (receipt.finished, receipt.unfinished) == (False, "no space left")
    assert "not finished, goes on at the next opening: no space left" in str(receipt)
    with pytest.raises(CubeNotFoundError):
        alice.get(cube.id)
    assert not alice.receipts()[0].finished
    memory.close()
    monkeypatch.undo()
    [kept] = open_store().session("alice").receipts()
    assert kept.finished and kept.ids == (cube.id,)
    assert traces(folder, ["quokka"]) == {}


def test_a_reader_is_waited_for(memory: MemOS) -> None:
    secret(memory.session("alice"))
    with memory.vault.reading() as (tx, _):
        tx.exec_driver_sql("SELECT count(*) FROM versions").all()
        memory.session("alice").add("boats are red")
        with pytest.raises(StoreLockedError, match="a reader"):
            memory.vault.database.compact(seconds=0.05)
    memory.vault.database.compact(seconds=0.05)
    assert (memory.path / "memory.db-wal").stat().st_size == 0
