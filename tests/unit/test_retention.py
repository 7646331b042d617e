"""How long memories live, which must not go, and who says so."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from memos_integrations import MemCube, MemorySession, MemOS
from memos_integrations.errors import (
    AccessDeniedError,
    CubeNotFoundError,
    InvalidInputError,
    LegalHoldError,
    ReadOnlyMomentError,
)
from memos_integrations.testing import FakeClock
from tests.conftest import Opener

HOUR = timedelta(hours=1)


def found(session: MemorySession, question: str = "note") -> list[str]:
    return sorted(hit.cube.text for hit in session.search(question))


def test_what_has_ended_is_gone_at_that_second(
    memory: MemOS, alice: MemorySession, clock: FakeClock
) -> None:
    old = alice.add("an old note")[0]
    alice.retain(ttl=HOUR)
    clock.advance(minutes=30)
    new = alice.add("a new note")[0]
    clock.advance(minutes=29, seconds=59)
    assert found(alice) == ["a new note", "an old note"]
    clock.advance(seconds=1)
    assert found(alice) == ["a new note"]
    assert [one.id for one in alice.get_many([old.id, new.id])] == [new.id]
    assert memory.vault.outdated([(old.id, 1), (new.id, 1)]) == {(old.id, 1)}
    assert [one.id for one in memory.vault.heads([old.id, new.id])] == [new.id]
    assert alice.get(old.id).text == "an old note"  # as with a lifespan: it can still be read
    assert alice.count() == 2
    then = clock.now() - HOUR
    assert found(alice.as_of(then)) == []  # nor by way of the past
    assert alice.as_of(then).list() != []


def test_a_change_begins_the_time_anew_and_so_does_a_use(
    alice: MemorySession, clock: FakeClock
) -> None:
    cube, used, unused = (alice.add(f"{one} note")[0] for one in ("changed", "used", "unused"))
    alice.retain(unused=HOUR)
    clock.advance(minutes=40)
    alice.update(cube.id, "a changed note")
    assert [hit.cube.id for hit in alice.search("used note", limit=1)] == [used.id]
    clock.advance(minutes=40)
    assert found(alice) == ["a changed note", "used note"]  # the use was counted in memory alone
    assert [one.memory_id for one in alice.sweep(dry_run=True).due] == [unused.id]
    clock.advance(minutes=59)
    assert len(found(alice)) == 2
    clock.advance(minutes=60)
    assert found(alice) == []


def test_the_closest_rule_counts(alice: MemorySession, clock: FakeClock) -> None:
    deep = alice.below("deep")
    alice.retain(ttl=HOUR)
    alice.retain(ttl=2 * HOUR, semantic_type="event")
    deep.retain(ttl=3 * HOUR)
    texts = {
        alice.add("fact note", semantic_type="fact")[0].text: 1,
        alice.add("event note", semantic_type="event")[0].text: 2,
        alice.add("kept note")[0].text: 9,
        deep.add("deep note", semantic_type="event")[0].text: 3,
    }
    kept = next(cube for cube in alice.list() if cube.text == "kept note")
    alice.retain(ttl=timedelta.max, id=kept.id)
    for hours in range(1, 5):
        clock.advance(hours=1)
        seen = [*found(alice), *found(deep)]
        assert sorted(seen) == sorted(text for text, ends in texts.items() if ends > hours)
    alice.retain(ttl=HOUR, id=kept.id)  # the newest of two that are as close
    assert found(alice) == []


def test_a_sweep_puts_away_and_says_why(alice: MemorySession, clock: FakeClock) -> None:
    cube = alice.add("an old note")[0]
    frozen = alice.add("a frozen note")[0]
    alice.freeze(frozen.id)
    rule = alice.retain(ttl=HOUR, reason="policy 4")
    clock.advance(hours=1)
    planned = alice.sweep(dry_run=True)
    assert [(one.memory_id, one.rule) for one in planned.due] == [(cube.id, rule)]
    assert "kept 3600 s (alice): policy 4" in str(planned)
    assert alice.get(cube.id).state == "generated"
    assert alice.sweep().due == planned.due
    assert alice.get(cube.id).state == "expired"
    last = alice.life(cube.id)[-1]
    assert (last.verb, last.principal, last.reason) == (
        "expire",
        "alice",
        f"retention {rule.id}: ttl",
    )
    assert alice.sweep().due == ()
    assert found(alice) == []  # the frozen one, too, though it keeps its state
    assert alice.get(frozen.id).state == "frozen"
    alice.lift(rule)
    alice.restore(cube.id)
    assert found(alice) == ["a frozen note", "an old note"]


def test_a_sweep_that_erases(alice: MemorySession, clock: FakeClock) -> None:
    old = alice.add("an old note")[0]
    deleted = alice.add("a deleted note")[0]
    alice.delete(deleted.id)
    held = alice.add("a held note")[0]
    alice.hold(id=held.id)
    clock.advance(hours=1)
    alice.retain(ttl=HOUR)
    alice.sweep()
    assert alice.history(old.id)[0].text == "an old note"
    planned = alice.sweep(erase=True, dry_run=True)
    assert {one.memory_id for one in planned.due} == {old.id, deleted.id}
    assert alice.history(old.id)[0].text == "an old note"
    receipt = alice.sweep(erase=True).receipt
    assert receipt is not None
    assert receipt.finished
    assert alice.history(old.id)[0].memory_type == "erased"
    assert alice.history(deleted.id)[0].memory_type == "erased"
    assert found(alice) == ["a held note"]
    assert alice.verify_audit()


def test_the_scheduler_sweeps(memory: MemOS, alice: MemorySession, clock: FakeClock) -> None:
    cube = alice.add("an old note")[0]
    alice.retain(ttl=HOUR)
    scheduler = memory.scheduler()
    scheduler.tick()
    assert alice.get(cube.id).state == "generated"
    clock.advance(hours=1)
    scheduler.tick()
    assert alice.get(cube.id).state == "expired"
    assert alice.life(cube.id)[-1].principal == "system"


@pytest.mark.parametrize("what", ["namespace", "semantic_type", "id"])
def test_a_hold_beats_everything(alice: MemorySession, clock: FakeClock, what: str) -> None:
    cube = alice.add("a note", semantic_type="event")[0]
    narrow: dict[str, Any] = {"namespace": {}, "id": {"id": cube.id}}.get(
        what, {"semantic_type": "event"}
    )
    alice.retain(ttl=HOUR)
    alice.retain(unused=HOUR)
    hold = alice.hold(**narrow, reason="case 7")
    clock.advance(hours=2)
    assert alice.sweep().due == ()
    assert found(alice) == ["a note"]
    calls: list[Any] = [alice.delete, alice.forget, lambda id: alice.forget(principal="alice")]
    calls.append(lambda id: alice.forget(id, dry_run=True))
    calls.append(lambda id: alice.forget(filters={}))
    for call in calls:
        with pytest.raises(LegalHoldError, match=r"set by alice on 2026-01-01 12:00 UTC: case 7"):
            call(cube.id)
    alice.update(cube.id, "a changed note")
    if what == "semantic_type":
        with pytest.raises(LegalHoldError):
            alice.update(cube.id, semantic_type="fact")
    merged = alice.merge([cube.id, alice.add("another", semantic_type="event")[0].id])
    with pytest.raises(LegalHoldError):  # what it was made of is held; of the merged one it depends
        alice.forget([merged.id, cube.id])
    assert alice.audit(verb="delete")[0].decision == "denied"
    alice.lift(hold)
    alice.lift(hold)
    alice.delete(cube.id)
    assert [one.kind for one in alice.retention()] == ["ttl", "decay"]
    assert alice.retention(lifted=True)[-1].lifted_by == "alice"


def test_what_is_derived_of_it_is_held_or_not_by_itself(alice: MemorySession) -> None:
    source = alice.add("a note")[0]
    merged = alice.merge([source.id, alice.add("another note")[0].id])
    alice.hold(id=merged.id)
    with pytest.raises(LegalHoldError):  # the cascade would take it
        alice.forget(source.id)
    assert alice.history(source.id)[0].text == "a note"
    assert alice.forget(source.id, cascade=False).kept_derived == (merged.id,)


def test_a_branch_and_a_shelf_keep_what_is_held(alice: MemorySession, clock: FakeClock) -> None:
    alice.add("a note")
    branch = alice.branch("what-if")
    hold = branch.hold()
    with pytest.raises(LegalHoldError):
        alice.drop_branch("what-if")
    branch.lift(hold)
    alice.drop_branch("what-if")
    shelf = alice.shelf("store")
    shelf.write([shelf.draft((), "k", ["a keyed note"], ttl=HOUR)])
    kept = shelf.cube_id((), "k")
    assert kept is not None
    alice.hold(id=kept)
    with pytest.raises(LegalHoldError):
        shelf.write([shelf.removal((), "k")])
    clock.advance(hours=1)
    shelf.sweep()
    assert alice.get(kept).text == "a keyed note"
    shelf.write([shelf.draft((), "k", ["another keyed note"])])
    assert alice.get(kept).text == "a keyed note"


def test_what_has_ended_is_not_copied_into_a_branch(alice: MemorySession, clock: FakeClock) -> None:
    old = alice.add("an old note")[0]
    alice.add("a new note")
    alice.retain(ttl=HOUR, id=old.id)
    clock.advance(hours=1)
    assert [cube.text for cube in alice.branch("what-if").list()] == ["a new note"]


def test_shelves_leave_out_what_has_ended(alice: MemorySession, clock: FakeClock) -> None:
    shelf = alice.shelf("store")
    shelf.write([shelf.draft(("a",), "k", ["a keyed note"])])
    alice.retain(ttl=HOUR)
    clock.advance(hours=1)
    assert shelf.get(("a",), "k") is None
    assert shelf.in_order(("a",)) == []
    assert shelf.view([lambda view: view.search((), limit=5)]) == [[]]
    assert alice.below("a").search("note") == []


def test_it_takes_the_right_to_administer(memory: MemOS, clock: FakeClock) -> None:
    memory.govern("root", homes=[("acme", "{principal}")])
    alice = memory.session("alice", namespace=("acme", "alice"))
    bob = memory.session("bob", namespace=("acme", "alice"))
    cube = alice.add("a note")[0]
    with pytest.raises(CubeNotFoundError):
        bob.delete(cube.id)
    alice.grant("bob", ["read", "write", "share"])
    for call in (lambda: bob.retain(ttl=HOUR), bob.hold, bob.sweep, bob.retention):
        with pytest.raises(AccessDeniedError):
            call()
    root = memory.session("root", namespace=("acme",))
    hold = root.hold(reason="case 7")
    with pytest.raises(AccessDeniedError):
        alice.lift(hold)
    with pytest.raises(AccessDeniedError):
        alice.lift(memory._operator.new_id())
    with pytest.raises(LegalHoldError) as caught:
        bob.delete(cube.id)
    assert "case 7" not in str(caught.value)
    assert hold.id not in str(caught.value)
    assert caught.value.hold is None
    with pytest.raises(LegalHoldError, match=r"set by root .* case 7"):
        alice.delete(cube.id)
    assert [one.id for one in alice.retention()] == [hold.id]
    eve = memory.session("eve", namespace=("acme", "alice"))
    for denied in (eve.delete, eve.forget):
        with pytest.raises(CubeNotFoundError):  # not even that it is held
            denied(cube.id)
    alice.revoke(alice.grants()[0])
    alice.grant("bob", ["read"])
    with pytest.raises(AccessDeniedError):  # who may not write learns nothing of holds
        bob.delete(cube.id)
    with pytest.raises(AccessDeniedError):
        bob.forget(cube.id)
    root.lift(hold)
    alice.delete(cube.id)


def test_rules_outlive_the_process_and_are_in_the_audit_log(
    memory: MemOS, alice: MemorySession, open_store: Opener, clock: FakeClock
) -> None:
    alice.add("a note")
    rule, hold = alice.retain(ttl=HOUR), alice.hold(semantic_type="event")
    alice.lift(hold)
    memory.close()
    clock.advance(hours=1)
    again = open_store(clock=clock).session("alice")
    assert again.retention() == [rule]
    assert found(again) == []
    told = [(one.verb, one.fields.get("about")) for one in reversed(again.audit())]
    assert told[1:] == [("retain", rule.id), ("hold", hold.id), ("lift", hold.id)]


def test_bad_arguments(alice: MemorySession) -> None:
    calls: list[dict[str, Any]] = [
        {},
        {"ttl": HOUR, "unused": HOUR},
        {"ttl": timedelta(0)},
        {"ttl": 3600},
        {"ttl": HOUR, "id": "nope"},
        {"ttl": HOUR, "reason": ""},
    ]
    for call in calls:
        with pytest.raises(InvalidInputError):
            alice.retain(**call)
    with pytest.raises(CubeNotFoundError):
        alice.hold(id="00000000-0000-7000-8000-0000000000ff")
    alice.add("a note")
    past: Any = alice.as_of(alice._clock.now())
    for verb in (past.retain, past.hold, past.lift, past.sweep):
        with pytest.raises(ReadOnlyMomentError):
            verb()
    assert alice.retention() == []


async def test_the_twins(alice: MemorySession) -> None:
    cube: MemCube = (await alice.aadd("a note"))[0]
    rule = await alice.aretain(ttl=HOUR)
    hold = await alice.ahold(id=cube.id)
    assert await alice.aretention() == [rule, hold]
    await alice.alift(hold)
    assert (await alice.asweep(dry_run=True)).due == ()


def test_a_use_that_is_written_prolongs_its_own_memory_alone(
    memory: MemOS, clock: FakeClock
) -> None:
    alice = memory.session("alice")
    plum, boat = alice.add(["a plum", "a boat"])
    alice.retain(unused=timedelta(minutes=10))
    clock.advance(minutes=9)
    assert alice.search("plum", limit=1)[0].cube.id == plum.id
    memory.vault.flush_counters()
    clock.advance(minutes=1)
    assert [cube.id for cube in alice.get_many([plum.id, boat.id])] == [plum.id]
