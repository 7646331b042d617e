"""The verbs of the lifecycle from several threads at once, and with what cannot be asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from memos_integrations import MemorySession, MemOS
from memos_integrations.cube import State
from memos_integrations.errors import MemOSError
from memos_integrations.operation import lifecycle

THREADS = 6


def together(*calls: Callable[[], object]) -> list[object]:
    """What each call returned, or the typed error that it raised; all begin at once."""
    gate, found = threading.Barrier(len(calls)), list[object]()

    def run(call: Callable[[], object]) -> None:
        gate.wait()
        try:
            found.append(call())
        except MemOSError as error:
            found.append(error)

    threads = [threading.Thread(target=run, args=[call]) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(calls)
    return found


def won(found: list[object]) -> list[object]:
    return [one for one in found if not isinstance(one, MemOSError)]


def test_no_addition_is_lost(alice: MemorySession) -> None:
    [cube] = alice.add("first line")
    calls = [lambda n=n: alice.append(cube.id, f"line {n}") for n in range(THREADS)]
    done = len(won(together(*calls)))
    lines = alice.get(cube.id).text.splitlines()
    assert len(lines) == len(set(lines)) == 1 + done
    assert [one.version for one in alice.history(cube.id)] == list(range(1, done + 2))


def test_of_those_who_expect_a_version_one_wins(alice: MemorySession) -> None:
    [cube] = alice.add("first line")
    calls = [lambda n=n: alice.update(cube.id, f"{n}", expected_version=1) for n in range(THREADS)]
    assert len(won(together(*calls))) == 1
    assert alice.get(cube.id).version == 2


def test_memories_are_merged_once(alice: MemorySession) -> None:
    cubes = alice.add(["a red boat", "an old lamp"])
    assert len(won(together(*[lambda: alice.merge(cubes)] * THREADS))) == 1
    assert alice.count() == 3
    assert {alice.get(cube.id).state for cube in cubes} == {State.MERGED}


def test_each_step_begins_where_the_last_one_ended(alice: MemorySession, memory: MemOS) -> None:
    [cube] = alice.add("a red boat")
    for _ in range(5):
        together(
            lambda: alice.archive(cube.id),
            lambda: alice.restore(cube.id),
            lambda: alice.freeze(cube.id),
            lambda: alice.unfreeze(cube.id),
            lambda: alice.tidy(idle=timedelta(0), below=1e9),
            lambda: memory.scheduler().tick(),
            lambda: alice.search("boat"),
        )
    state = State.GENERATED.value
    for passage in alice.life(cube.id):
        legal = {one.verb: one.target.value for one in lifecycle.legal(State(state))}
        assert (passage.before, passage.after) == (state, legal[passage.verb])
        state = passage.after
    assert alice.get(cube.id).state.value in (state, State.ACTIVATED.value)


def test_a_rollback_and_a_writer(alice: MemorySession) -> None:
    """All of a rollback, or nothing."""
    cubes = alice.add([f"fact number {n}" for n in range(20)])
    alice.snapshot("then")
    for cube in cubes:
        alice.update(cube.id, f"{cube.text}, changed")
    before = {one.id: one.version for one in alice.list()}
    found = together(
        lambda: alice.rollback("then"), lambda: alice.update(cubes[7].id, "by somebody else")
    )
    now = {one.id: one.version for one in alice.list()}
    moved = {one for one in now if now[one] > before[one]}
    assert moved in ({cubes[7].id}, set(now)) and len(won(found)) in (1, 2)


def test_a_name_is_given_once(alice: MemorySession) -> None:
    alice.add("a red boat")
    assert len(won(together(*[lambda: alice.snapshot("now")] * THREADS))) == 1
    assert len(alice.snapshots()) == 1


@pytest.fixture
def kept(alice: MemorySession) -> Iterator[str]:
    """A memory that must be afterwards as it was."""
    [cube] = alice.add("a red boat")
    alice.snapshot("then")
    yield cube.id
    assert alice.list() == [cube] and alice.life(cube.id) == []
    assert [one.name for one in alice.snapshots()] == ["then"] and alice.branches() == []


Act = Callable[[MemorySession, str], object]
ABSENT = "01890a5d-ac96-774b-bcce-b302099a8057"
WRONG: list[tuple[str, Act]] = [
    ("append nothing", lambda s, id: s.append(id, " ")),
    ("append to no id", lambda s, id: s.append("x", "words")),
    ("append expecting words", lambda s, id: s.append(id, "words", expected_version="1")),  # type: ignore[arg-type]
    ("update expecting words", lambda s, id: s.update(id, "words", expected_version="1")),  # type: ignore[arg-type]
    ("update what is not there", lambda s, id: s.update(ABSENT, "words")),
    ("merge with nothing", lambda s, id: s.merge([id])),
    ("merge with what is not there", lambda s, id: s.merge([id, ABSENT])),
    ("merge numbers", lambda s, id: s.merge([1, 2])),  # type: ignore[list-item]
    ("merge no list", lambda s, id: s.merge(7)),  # type: ignore[arg-type]
    ("archive without a reason", lambda s, id: s.archive(id, reason="")),
    ("archive no id", lambda s, id: s.archive(7)),  # type: ignore[arg-type]
    ("restore until no time", lambda s, id: s.restore(id, expires_at=datetime(2030, 1, 1))),
    ("freeze what is not there", lambda s, id: s.freeze(ABSENT)),
    ("unfreeze what is not frozen", lambda s, id: s.unfreeze(id)),
    ("tidy for less than no time", lambda s, id: s.tidy(idle=timedelta(-1))),
    ("tidy below words", lambda s, id: s.tidy(below="cold")),  # type: ignore[arg-type]
    ("tidy below no number", lambda s, id: s.tidy(below=float("nan"))),
    ("life of no id", lambda s, id: s.life("x")),
    ("as of a number", lambda s, id: s.as_of(7)),  # type: ignore[arg-type]
    ("as of an unknown name", lambda s, id: s.as_of("never")),
    ("a name that is taken", lambda s, id: s.snapshot("then")),
    ("a name that is none", lambda s, id: s.snapshot("")),
    ("forget an unknown name", lambda s, id: s.forget_snapshot("never")),
    ("diff from nothing", lambda s, id: s.diff(None)),  # type: ignore[arg-type]
    ("roll words back", lambda s, id: s.rollback("then", ids=id)),
    ("roll back what is not there", lambda s, id: s.rollback("then", ids=[ABSENT])),
    ("a branch without a name", lambda s, id: s.branch("")),
    ("merge no branch", lambda s, id: s.merge_branch("never")),
    ("drop no branch", lambda s, id: s.drop_branch("never")),
    ("lineage upwards", lambda s, id: s.lineage(id, direction="up")),  # type: ignore[arg-type]
    ("lineage of less than nothing", lambda s, id: s.lineage(id, depth=-1)),
    ("why a number", lambda s, id: s.why(7)),  # type: ignore[arg-type]
    ("blame what is not said", lambda s, id: s.blame(id, "walnuts")),
    ("impact of what is not there", lambda s, id: s.impact(ABSENT)),
    ("compare with version 9", lambda s, id: s.compare(id, 9)),
    ("links of no id", lambda s, id: s.links("x")),
    ("topics by an unknown field", lambda s, id: s.topics({"colour": "red"})),
    ("organise by a number", lambda s, id: s.organise(judge=7)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("name", "act"), WRONG, ids=[name for name, _ in WRONG])
def test_what_cannot_be_asked(alice: MemorySession, kept: str, name: str, act: Any) -> None:
    with pytest.raises(MemOSError) as raised:
        act(alice, kept)
    assert str(raised.value)
