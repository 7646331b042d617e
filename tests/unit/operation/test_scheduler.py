"""MemScheduler: what it sees of a store, what it does there, and what it says about it."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from memos_integrations import MemCube, MemorySession, MemOS
from memos_integrations.cube import State
from memos_integrations.errors import InvalidInputError, StoreError
from memos_integrations.infrastructure import crashpoints
from memos_integrations.operation.scheduler import MemScheduler
from memos_integrations.operation.scheduling.rules import Budgets, Rules
from memos_integrations.operation.scheduling.tiers import Form, Tier
from memos_integrations.testing import FakeClock
from tests.conftest import Opener

DAY = 86_400.0
RULES = Rules(archive_after=10 * DAY, min_residence=0.0, prefetch=0)


class Shelf:
    """Caches that only remember what they were told."""

    def __init__(self) -> None:
        self.held: list[str] = []
        self.refuses = ""
        self.fails = False

    def form(self, characters: int) -> Form:
        return Form(characters, 5.0)

    def build(self, cube: MemCube) -> str:
        if self.fails:
            raise StoreError("the cache is broken")
        if not self.refuses:
            self.held.append(cube.id)
        return self.refuses

    def drop(self, cube_id: str) -> None:
        self.held.remove(cube_id)


@pytest.fixture
def scheduler(memory: MemOS) -> MemScheduler:
    return memory.scheduler(rules=RULES)


def show(alice: MemorySession, *cubes: MemCube, prompt: str = "p") -> None:
    alice.record_uses(cubes, prompt=prompt)


def test_cold_memories_are_archived_and_warm_ones_stay(
    scheduler: MemScheduler, alice: MemorySession, clock: FakeClock
) -> None:
    [cold], [warm] = alice.add("the moon is far"), alice.add("the sun is near")
    scheduler.tick()
    clock.advance(days=9)
    show(alice, warm)
    clock.advance(days=2)
    report = scheduler.tick()
    assert [(job.cube_id, job.kind, job.status) for job in report.jobs] == [
        (cold.id, "Archive", "done")
    ]
    assert alice.get(cold.id).state is State.ARCHIVED
    assert [hit.cube.id for hit in alice.search("the moon")] == [warm.id]
    passage = alice.life(cold.id)[-1]
    assert (passage.verb, passage.principal) == ("archive", "system")
    assert "not used for 11.0 days" in passage.reason
    alice.restore(cold.id)
    assert alice.search("the moon")[0].cube.id == cold.id
    scheduler.tick()
    assert alice.get(cold.id).state is State.ACTIVATED, "brought back, it stays for a while"


def test_what_outlived_its_lifespan_expires(
    scheduler: MemScheduler, alice: MemorySession, clock: FakeClock
) -> None:
    [cube] = alice.add("a parking ticket", expires_at=clock.now() + timedelta(hours=1))
    scheduler.tick()
    clock.advance(hours=2)
    scheduler.tick()
    assert alice.get(cube.id).state is State.EXPIRED
    assert scheduler.tick().jobs == ()


def test_important_and_frozen_memories_are_never_archived(
    scheduler: MemScheduler, alice: MemorySession, clock: FakeClock
) -> None:
    [important], [frozen] = alice.add("blood type A", priority=9), alice.add("a treaty")
    alice.freeze(frozen.id)
    scheduler.tick()
    clock.advance(days=100)
    assert scheduler.tick().jobs == ()
    assert alice.get(important.id).state is not State.ARCHIVED


def test_frozen_later_it_is_left_alone_too(
    scheduler: MemScheduler, alice: MemorySession, clock: FakeClock
) -> None:
    [treaty], [note] = alice.add("a treaty"), alice.add("a note")
    scheduler.tick()
    alice.freeze(treaty.id)
    clock.advance(days=100)
    assert [job.cube_id for job in scheduler.tick().jobs] == [note.id]
    alice.unfreeze(treaty.id)
    clock.advance(days=100)
    scheduler.tick()
    assert alice.get(treaty.id).state is State.ARCHIVED


def test_a_frozen_memory_does_not_expire(
    scheduler: MemScheduler, alice: MemorySession, clock: FakeClock
) -> None:
    [cube] = alice.add("a parking ticket", expires_at=clock.now() + timedelta(hours=1))
    scheduler.tick()
    alice.freeze(cube.id)
    clock.advance(hours=2)
    assert scheduler.tick().jobs == () and alice.tidy()["expire"] == []
    assert alice.get(cube.id).state is State.FROZEN
    alice.unfreeze(cube.id)
    assert [job.status for job in scheduler.tick().jobs] == ["done"]
    assert alice.get(cube.id).state is State.EXPIRED


def test_a_life_that_a_use_prolonged_does_not_end(
    memory: MemOS, scheduler: MemScheduler, clock: FakeClock
) -> None:
    """A use that prolongs a life is no activity: the scheduler looks before it ends one."""
    alice = memory.session("alice")
    shelf = alice.shelf("drafts")
    shelf.write([shelf.draft((), "k", ["a parking ticket"], ttl=timedelta(hours=1))])
    scheduler.tick()
    clock.advance(minutes=50)
    ticket = shelf.get((), "k")
    assert ticket is not None
    shelf.prolong([ticket])
    clock.advance(minutes=50)
    assert scheduler.tick().jobs == ()
    clock.advance(minutes=50)
    [job] = scheduler.tick().jobs
    assert (job.kind, job.status) == ("Expire", "done")


def test_an_expiry_that_was_decided_too_soon_is_skipped(
    scheduler: MemScheduler, alice: MemorySession, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    [cube] = alice.add("a parking ticket", expires_at=clock.now() + timedelta(hours=1))
    scheduler.tick()
    clock.advance(hours=2)

    def prolong(name: str) -> None:
        if name == "jobs-written":
            monkeypatch.undo()
            alice.update(cube.id, expires_at=clock.now() + timedelta(hours=1))

    monkeypatch.setattr(crashpoints, "hook", prolong)
    [job] = scheduler.tick().jobs
    assert (job.status, job.outcome) == ("skipped", "its lifespan was prolonged meanwhile")
    assert alice.get(cube.id).state is State.GENERATED
    clock.advance(hours=2)
    assert [job.status for job in scheduler.tick().jobs] == ["done"]
    assert alice.get(cube.id).state is State.EXPIRED


def test_memory_is_short(memory: MemOS, alice: MemorySession, clock: FakeClock) -> None:
    shelf = Shelf()
    scheduler = memory.scheduler(caches=shelf, rules=RULES)
    cubes = [alice.add(f"fact number {n}")[0] for n in range(3)]
    for n, cube in enumerate(cubes):
        for use in range(n + 1):
            clock.advance(minutes=1)
            show(alice, cube, prompt=f"{n}-{use}")
    scheduler.tick()
    assert len(shelf.held) == 3
    [job] = scheduler.press(Tier.ACTIVATION, 1).jobs
    assert (job.cube_id, job.kind, job.status) == (cubes[0].id, "Demote", "done")
    assert set(shelf.held) == {cubes[1].id, cubes[2].id}
    assert "memory is short" in job.reason
    show(alice, cubes[0], prompt="again")
    scheduler.tick()
    assert cubes[0].id not in shelf.held, "the tier is not filled again at once"
    scheduler.press("plaintext", 1)
    assert [alice.get(cube.id).state for cube in cubes].count(State.ARCHIVED) == 1
    for wrong in (("archive", 1), ("activation", -1), ("activation", True), ("ram", 1)):
        with pytest.raises(InvalidInputError, match="give plaintext"):
            scheduler.press(*wrong)  # type: ignore[arg-type]


def test_used_memories_get_caches_within_the_budget(
    memory: MemOS, alice: MemorySession, clock: FakeClock
) -> None:
    shelf = Shelf()
    cubes = [alice.add(f"fact number {n}")[0] for n in range(3)]
    size = len(cubes[0].model_dump_json())
    scheduler = memory.scheduler(
        caches=shelf, rules=RULES, budgets=Budgets(activation=2 * size + 200)
    )
    for n, cube in enumerate(cubes):
        for use in range(n + 1):
            clock.advance(minutes=1)
            show(alice, cube, prompt=f"{n}-{use}")
    scheduler.tick()
    assert set(shelf.held) <= {cube.id for cube in cubes}
    assert len(shelf.held) == 2
    assert cubes[2].id in shelf.held
    found = scheduler.explain(cubes[2].id)
    assert found is not None
    assert found.tier is Tier.ACTIVATION
    assert "used" in str(found)
    alice.update(cubes[2].id, "fact number two")
    scheduler.tick()
    assert cubes[2].id not in shelf.held, "what was made of the old words is let go"


def test_what_cannot_be_built_is_recorded_and_skipped(
    memory: MemOS, alice: MemorySession, clock: FakeClock
) -> None:
    shelf = Shelf()
    shelf.refuses = "no model is loaded"
    scheduler = memory.scheduler(caches=shelf, rules=RULES)
    [cube] = alice.add("the moon is far")
    show(alice, cube)
    [job] = scheduler.tick().jobs
    assert (job.status, job.outcome) == ("skipped", "no model is loaded")
    found = scheduler.explain(cube.id)
    assert found is not None
    assert found.tier is Tier.PLAINTEXT
    assert "no model is loaded" in str(found)


def test_what_fails_is_tried_three_times(
    memory: MemOS, alice: MemorySession, clock: FakeClock
) -> None:
    shelf = Shelf()
    shelf.fails = True
    scheduler = memory.scheduler(caches=shelf, rules=RULES)
    [cube] = alice.add("the moon is far")
    show(alice, cube)
    states = []
    for _ in range(4):
        scheduler.tick()
        [job] = scheduler.jobs(cube.id)
        states.append((job.status, job.attempts))
    assert states == [("waiting", 1), ("waiting", 2), ("failed", 3), ("failed", 3)]
    assert "the cache is broken" in scheduler.jobs(cube.id)[0].outcome


def test_without_caches_nothing_is_promoted(scheduler: MemScheduler, alice: MemorySession) -> None:
    [cube] = alice.add("the moon is far")
    show(alice, cube)
    assert scheduler.tick().jobs == ()
    found = scheduler.explain(cube.id)
    assert found is not None
    assert "nothing can hold it in activation memory" in found.waits


def test_a_new_scheduler_knows_what_the_old_one_knew(
    memory: MemOS, alice: MemorySession, clock: FakeClock
) -> None:
    cubes = [alice.add(f"fact number {n}")[0] for n in range(4)]
    old = memory.scheduler(rules=RULES)
    for n in range(6):
        clock.advance(hours=5)
        show(alice, *cubes[: 1 + n % 3], prompt=f"{n}")
        old.tick()
    alice.delete(cubes[0].id)
    old.tick()
    new = memory.scheduler(rules=RULES)
    for cube in cubes[1:]:
        was, now = old.explain(cube.id), new.explain(cube.id)
        assert was is not None and now is not None
        assert (now.tier, now.shown) == (was.tier, was.shown)
        assert now.heat == pytest.approx(was.heat)
    assert new.explain(cubes[0].id) is old.explain(cubes[0].id) is None
    assert new.tick().events == 0


def test_a_tick_that_fails_decides_again(
    scheduler: MemScheduler, alice: MemorySession, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    [cube] = alice.add("the moon is far")
    scheduler.tick()
    clock.advance(days=11)

    def fail(name: str) -> None:
        if name == "jobs-decided":
            raise StoreError("the disk is full")

    monkeypatch.setattr(crashpoints, "hook", fail)
    with pytest.raises(StoreError):
        scheduler.tick()
    monkeypatch.undo()
    assert scheduler.jobs() == []
    assert [job.status for job in scheduler.tick().jobs] == ["done"]
    assert alice.get(cube.id).state is State.ARCHIVED


def test_a_memory_that_changed_under_a_decision_is_left_alone(
    scheduler: MemScheduler, alice: MemorySession, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    [cube] = alice.add("the moon is far")
    scheduler.tick()
    clock.advance(days=11)

    def freeze(name: str) -> None:
        if name == "jobs-written":
            monkeypatch.undo()
            alice.freeze(cube.id)

    monkeypatch.setattr(crashpoints, "hook", freeze)
    [job] = scheduler.tick().jobs
    assert job.status == "skipped"
    assert "frozen" in job.outcome
    assert alice.get(cube.id).state is State.FROZEN


def test_every_namespace_is_seen(memory: MemOS, alice: MemorySession, clock: FakeClock) -> None:
    bob = memory.session("bob")
    [hers], [his] = alice.add("the moon is far"), bob.add("the moon is near")
    scheduler = memory.scheduler(rules=RULES)
    clock.advance(days=11)
    scheduler.tick()
    assert alice.get(hers.id).state is bob.get(his.id).state is State.ARCHIVED


def test_it_runs_by_itself_and_drains_on_exit(open_store: Opener) -> None:
    memory = open_store()
    alice = memory.session("alice")
    shelf = Shelf()
    with memory.scheduler(caches=shelf, every=0.05) as scheduler:
        assert scheduler.is_running
        scheduler.start()
        [first] = alice.add("the moon is far")
        show(alice, first)
        done = threading.Event()
        for _ in range(200):
            if shelf.held:
                break
            done.wait(0.05)
        assert shelf.held == [first.id]
        [second] = alice.add("the sun is near")
        show(alice, second)
    assert not scheduler.is_running
    assert second.id in shelf.held, "the last tick saw what came before the end"
    scheduler.stop()


def test_a_store_that_closes_first_is_no_trouble(open_store: Opener) -> None:
    memory = open_store()
    scheduler = memory.scheduler(every=0.05)
    scheduler.start()
    memory.close()
    scheduler.stop()
    assert not scheduler.is_running


@pytest.mark.parametrize("every", [0, -1, True, "1", None])
def test_every_is_a_positive_number(memory: MemOS, every: object) -> None:
    with pytest.raises(InvalidInputError):
        memory.scheduler(every=every)  # type: ignore[arg-type]
