"""What stands in the audit log, what does not, and who may read it."""

from __future__ import annotations

import json
import sqlite3
import threading
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from memos_integrations import MemorySession, MemOS
from memos_integrations.errors import AccessDeniedError, CubeNotFoundError, InvalidInputError
from memos_integrations.infrastructure.audit import Entry, genesis
from memos_integrations.infrastructure.audit_check import Head
from tests.conftest import Opener

SECRETS = ("parrot", "Oslo", "canal", "peanuts")


def told(entries: list[Entry]) -> list[tuple[str, str, str]]:
    """Oldest first."""
    return [(one.principal, one.verb, one.decision) for one in reversed(entries)]


def test_changes_stand_in_it_with_their_memories_and_versions(alice: MemorySession) -> None:
    first, second = alice.add(["Alice keeps a parrot", "Alice lives in Oslo"])
    alice.update(first.id, "Alice keeps two parrots")
    alice.delete(second.id)
    added, updated, deleted = reversed(alice.audit())
    assert added.memories == ((first.id, 1), (second.id, 1))
    assert updated.memories == ((first.id, 2),)
    assert deleted.memories == ((second.id, 0),)
    assert [one.fields["activity"] for one in (added, updated, deleted)] == [
        one.id for one in reversed(alice.log())
    ]
    assert alice.verify_audit()
    assert alice.verify_audit().entries == 4


def test_readings_stand_in_it_where_access_is_governed_or_when_asked_for(
    memory: MemOS, open_store: Opener, tmp_path: Path
) -> None:
    alice = memory.session("alice")
    cube = alice.add("Alice keeps a parrot")[0]
    alice.search("parrot")
    assert "search" not in [one.verb for one in alice.audit()]
    memory.govern("root")
    alice.search("parrot")
    assert alice.get(cube.id) == alice.list()[0]
    asked = {one.verb: one for one in alice.audit(principal="alice")}
    assert asked["search"].memories == asked["get"].memories == ((cube.id, 1),)
    assert asked["search"].fields["because"] == ["at home", "shared under alice"]
    assert [one.verb for one in alice.audit(question="parrot")] == ["search"]
    assert alice.audit(question="parrots") == []
    silent = open_store(tmp_path / "silent", audit_reads=False).session("eve")
    silent.add("x")
    silent.search("x")
    assert "search" not in [one.verb for one in silent.audit()]
    loud = open_store(tmp_path / "loud", audit_reads=True).session("eve")
    loud.shelf("names").get((), "k")
    assert "shelf.get" in [one.verb for one in loud.audit()]


def test_what_was_refused_stands_in_it_and_what_only_is_not_there(memory: MemOS) -> None:
    memory.govern("root")
    alice, bob = memory.session("alice"), memory.session("bob", namespace="alice", purpose="care")
    cube = alice.add("Alice keeps a parrot")[0]
    missing = memory._operator.new_id()
    for one in (cube.id, missing):
        with pytest.raises(CubeNotFoundError):
            bob.get(one)
    with pytest.raises(AccessDeniedError):
        bob.add("an intruder")
    bob.search("parrot")
    with pytest.raises(AccessDeniedError):
        bob.audit()
    assert told(alice.audit(principal="bob")) == [
        ("bob", "get", "denied"),
        ("bob", "get", "not found"),
        ("bob", "add", "denied"),
        ("bob", "search", "denied"),
        ("bob", "audit", "denied"),
    ]
    assert alice.audit(principal="bob", verb="get")[1].memories == ((cube.id, 0),)
    assert alice.audit(principal="bob")[0].fields["purpose"] == "care"
    assert len(alice.audit(decision="denied", memory_id=cube.id)) == 1
    assert memory.session("root", namespace="alice").audit(limit=1)[0].principal == "alice"


def test_it_takes_the_right_to_administer(memory: MemOS, tmp_path: Path) -> None:
    memory.govern("root")
    alice, bob = memory.session("alice"), memory.session("bob", namespace="alice")
    alice.add("Alice keeps a parrot")
    alice.grant("bob", ["read", "write", "share"])
    for call in (bob.audit, bob.audit_head, bob.verify_audit):
        with pytest.raises(AccessDeniedError):
            call()
    with pytest.raises(AccessDeniedError):
        bob.export_audit(tmp_path / "log")
    with pytest.raises(AccessDeniedError):
        alice.audit(everywhere=True)
    assert not (tmp_path / "log").exists()
    grant = alice.grant("bob", ["administer"])
    assert bob.audit(verb="grant")[0].fields["about"] == grant.id
    assert bob.below("deep").audit() == []
    root = memory.session("root")
    assert len(root.audit(everywhere=True)) > len(root.audit())


def test_no_word_of_a_memory_or_a_question_stands_in_it(
    open_store: Opener, folder: Path, tmp_path: Path
) -> None:
    memory = open_store(audit_reads=True)
    alice = memory.session("alice")
    kept = alice.add("Alice keeps a parrot", tags=["Oslo"], idempotency_key="canal")[0]
    gone = alice.add("Alice is allergic to peanuts")[0]
    alice.search("parrot in Oslo at the canal, peanuts?")
    alice.record_uses([kept], prompt="canal")
    before = alice.audit()
    alice.forget(gone.id, reason="request 17")
    assert alice.verify_audit()
    assert [one.hash for one in alice.audit(limit=1000)][-len(before) :] == [
        one.hash for one in before
    ]
    forgotten = alice.audit(verb="forget")[0]
    assert forgotten.memories == ((gone.id, 0),)
    written = alice.export_audit(tmp_path / "log.jsonl").read_text()
    memory.close()
    with sqlite3.connect(folder / "memory.db") as bare:
        written += "".join(row[0] for row in bare.execute("SELECT entry FROM audit"))
    bare.close()
    assert not [word for word in SECRETS if word.casefold() in written.casefold()]


def test_an_export_can_be_checked_without_the_store(alice: MemorySession, tmp_path: Path) -> None:
    alice.add("Alice keeps a parrot")
    alice.freeze(alice.list()[0].id)
    lines = alice.export_audit(tmp_path / "log.jsonl", everywhere=True).read_text().splitlines()
    before = genesis(json.loads(lines[0])["store"])
    for line in lines:
        fields = json.loads(line)
        claimed = bytes.fromhex(fields.pop("hash"))
        entry = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        before = sha256(before + entry.encode()).digest()
        assert before == claimed
    head = Head.from_dict(json.loads(json.dumps(alice.audit_head().as_dict())))
    assert bytes.fromhex(head.hash) == before
    with pytest.raises(InvalidInputError, match="head"):
        Head.from_dict({"seq": 1})


def test_an_anchor_is_signed_and_misses_what_was_cut(
    memory: MemOS, alice: MemorySession, folder: Path, open_store: Opener
) -> None:
    ours, theirs = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    alice.add("Alice keeps a parrot")
    bob = memory.session("bob")
    with pytest.raises(CubeNotFoundError):
        bob.get(memory._operator.new_id())
    anchor = alice.audit_head(sign_with=ours)
    assert alice.verify_audit(anchor=anchor, signed_by=ours.public_key())
    assert not alice.verify_audit(anchor=anchor, signed_by=theirs.public_key())
    forged = Head(anchor.store, anchor.seq - 1, anchor.hash, anchor.signature)
    assert not alice.verify_audit(anchor=forged, signed_by=ours.public_key())
    assert not alice.verify_audit(anchor=Head("elsewhere", 1, anchor.hash))
    memory.close()
    with sqlite3.connect(folder / "memory.db") as bare:
        bare.execute("DELETE FROM audit WHERE seq >= ?", (anchor.seq,))
    bare.close()
    again = open_store().session("alice")
    assert again.verify_audit()  # nothing in the store tells that a refusal was cut off
    verdict = again.verify_audit(anchor=anchor)
    assert (verdict.seq, bool(verdict)) == (anchor.seq, False)
    assert f"the anchor is entry {anchor.seq}" in str(verdict)


def test_a_store_of_an_earlier_release_gets_a_log(
    memory: MemOS, folder: Path, open_store: Opener
) -> None:
    memory.session("alice").add("Alice keeps a parrot")
    memory.close()
    with sqlite3.connect(folder / "memory.db") as bare:  # as it stood before there was a log
        bare.execute("DELETE FROM audit")
        bare.execute("DELETE FROM settings WHERE key = 'audit_secret'")
    bare.close()
    alice = open_store().session("alice")
    assert alice.verify_audit().entries == 1
    alice.add("Alice keeps two parrots")
    assert [one.verb for one in alice.audit()] == ["add"]
    assert alice.verify_audit()


def test_a_log_that_is_gone_is_not_begun_anew(
    memory: MemOS, folder: Path, open_store: Opener
) -> None:
    memory.session("alice").add("Alice keeps a parrot")
    memory.close()
    with sqlite3.connect(folder / "memory.db") as bare:
        bare.execute("DELETE FROM audit")
    bare.close()
    alice = open_store().session("alice")
    assert alice.verify_audit().seq == 1
    alice.add("Alice keeps two parrots")
    assert not alice.verify_audit()


def test_threads_write_one_chain(memory: MemOS) -> None:
    memory.govern("root")

    def work(number: int) -> None:
        session = memory.session(f"user{number}")
        for at in range(15):
            cube = session.add(f"note {at} of {number}")[0]
            session.search("note")
            with pytest.raises(AccessDeniedError):
                memory.session(f"user{number}", namespace="root").add("no")
            session.update(cube.id, f"better note {at}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    root = memory.session("root")
    assert root.verify_audit()
    found = root.audit(everywhere=True, limit=10_000)
    counts = {verb: sum(one.verb == verb for one in found) for verb in ("add", "search", "update")}
    assert counts == {"add": 8 * 15 * 2, "search": 8 * 15, "update": 8 * 15}


async def test_the_twins_are_recorded_once(memory: MemOS) -> None:
    memory.govern("root")
    alice = memory.session("alice")
    await alice.aadd("Alice keeps a parrot")
    await alice.asearch("parrot")
    assert told(await alice.aaudit(principal="alice")) == [
        ("alice", "add", "allowed"),
        ("alice", "search", "allowed"),
    ]
