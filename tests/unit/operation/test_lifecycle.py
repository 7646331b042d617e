"""The table of states, and the verbs that take memories along it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from memos_integrations import MemCube, MemorySession, MemOS
from memos_integrations.cube import State
from memos_integrations.errors import (
    CubeNotFoundError,
    FrozenCubeError,
    IllegalTransitionError,
    InvalidInputError,
    VersionConflictError,
)
from memos_integrations.operation import lifecycle
from memos_integrations.operation.lifecycle import TRANSITIONS
from memos_integrations.testing import FakeClock, WordEmbedder


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def memos(tmp_path: Path, clock: FakeClock) -> Iterator[MemOS]:
    with MemOS.open(tmp_path, embedder=WordEmbedder(), clock=clock) as memos:
        yield memos


@pytest.fixture
def maya(memos: MemOS) -> MemorySession:
    return memos.session("maya")


def brought_to(session: MemorySession, clock: FakeClock, state: State) -> MemCube:
    """A memory in a state."""
    until = clock.now() + timedelta(hours=1) if state is State.EXPIRED else None
    cube = session.add(f"The boat of number {session.count()} is red", expires_at=until)[0]
    if state is State.ACTIVATED:
        session.search(cube.text)
        session.count({"state": "activated"})  # which writes the counters
    elif state is State.MERGED:
        session.merge([cube.id, session.add(f"{cube.text}, too")[0].id])
    elif state is State.ARCHIVED:
        session.archive(cube.id)
    elif state is State.FROZEN:
        session.freeze(cube.id)
    elif state is State.EXPIRED:
        clock.advance(hours=2)
        session.tidy()
    return session.get(cube.id)


VERBS: dict[str, Callable[[MemorySession, FakeClock, str], object]] = {
    "merge": lambda s, _, id: s.merge([id, s.add("Another memory of a lamp")[0].id]),
    "archive": lambda s, _, id: s.archive(id),
    "restore": lambda s, c, id: s.restore(id, expires_at=c.now() + timedelta(days=1)),
    "freeze": lambda s, _, id: s.freeze(id),
    "unfreeze": lambda s, _, id: s.unfreeze(id),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("state", State)
def test_only_what_the_table_allows(
    maya: MemorySession, clock: FakeClock, state: State, verb: str
) -> None:
    cube = brought_to(maya, clock, state)
    assert cube.state is state
    [transition] = [one for one in TRANSITIONS if one.verb == verb]
    before = maya.life(cube.id)
    if state in transition.sources:
        VERBS[verb](maya, clock, cube.id)
        assert maya.get(cube.id).state is transition.target
        passage = maya.life(cube.id)[-1]
        assert (passage.verb, passage.principal) == (verb, "maya")
        assert (passage.before, passage.after) == (state, transition.target)
        assert passage.at == clock.now() and passage.reason
    else:
        with pytest.raises(IllegalTransitionError) as raised:
            VERBS[verb](maya, clock, cube.id)
        legal = [one.verb for one in lifecycle.legal(state)]
        assert raised.value.legal == legal and all(one in str(raised.value) for one in legal)
        assert maya.get(cube.id).state is state and maya.life(cube.id) == before
    assert maya.get(cube.id).version == 1  # no state is a version


def test_the_first_use_activates(tmp_path: Path, clock: FakeClock) -> None:
    with MemOS.open(tmp_path, embedder=WordEmbedder(), clock=clock) as memos:
        maya = memos.session("maya")
        cube = maya.add("Maya lives in Oslo")[0]
        assert cube.state is State.GENERATED and maya.count({"state": "activated"}) == 0
        maya.search("Where does Maya live?")
        assert maya.get(cube.id).state is State.ACTIVATED
        assert maya.count({"state": "activated"}) == 1  # which writes the counters
        maya.search("Where does Maya live?")
    with MemOS.open(tmp_path, embedder=WordEmbedder(), clock=clock) as memos:
        [passage] = memos.session("maya").life(cube.id)
        assert (passage.verb, passage.principal, passage.reason) == (
            "activate",
            "system",
            "first use",
        )


@pytest.mark.parametrize("away", [State.ARCHIVED, State.MERGED, State.EXPIRED])
def test_what_is_put_away_is_not_found_and_stays_readable(
    maya: MemorySession, clock: FakeClock, away: State
) -> None:
    cube = brought_to(maya, clock, away)
    assert cube.id not in [hit.cube.id for hit in maya.search(cube.text)]
    assert maya.get(cube.id).text == cube.text and maya.get_many([cube.id]) == []
    maya.restore(cube.id, expires_at=clock.now() + timedelta(days=1))
    assert cube.id in [hit.cube.id for hit in maya.search(cube.text, policy=None)]


def test_an_expired_memory_needs_a_new_lifespan(maya: MemorySession, clock: FakeClock) -> None:
    cube = brought_to(maya, clock, State.EXPIRED)
    with pytest.raises(InvalidInputError, match="later expires_at"):
        maya.restore(cube.id)
    assert maya.restore(cube.id, expires_at=clock.now() + timedelta(hours=1)).state == "activated"
    clock.advance(hours=2)
    assert maya.tidy()["expire"] == [cube.id]


def test_a_frozen_memory_does_not_change(maya: MemorySession, clock: FakeClock) -> None:
    cube = brought_to(maya, clock, State.FROZEN)
    for change in (
        lambda: maya.update(cube.id, "other words"),
        lambda: maya.append(cube.id, "more words"),
        lambda: maya.delete(cube.id),
    ):
        with pytest.raises(FrozenCubeError):
            change()
    assert maya.search(cube.text)[0].cube.id == cube.id
    assert [one.text for one in maya.history(cube.id)] == [cube.text]
    maya.unfreeze(cube.id)
    assert maya.update(cube.id, "other words").version == 2


def test_merging(maya: MemorySession) -> None:
    one = maya.add("Maya has a red boat", tags=["boat"], priority=3)[0]
    two = maya.add("Maya has a red boat\nIt lies in Oslo", tags=["oslo"], priority=7)[0]
    merged = maya.merge([two, one.id])
    assert merged.text == "Maya has a red boat\nIt lies in Oslo"
    assert merged.tags == ("boat", "oslo") and merged.header.governance.priority == 7
    assert [hit.cube.id for hit in maya.search("red boat in Oslo")] == [merged.id]
    graph = maya.lineage(merged.id, direction="sources")
    sources = {f"{cube.id}@1" for cube in (one, two)}
    came_from = graph.successors(f"{merged.id}@1")
    assert sources <= set(came_from)
    assert maya.merge([merged.id, maya.add("The lamp is old")[0].id], "All at once").text == (
        "All at once"
    )


def test_merging_what_has_changed(maya: MemorySession) -> None:
    one, two = maya.add(["Maya has a boat", "Maya has a lamp"])
    maya.update(one.id, "Maya has two boats")
    with pytest.raises(VersionConflictError):
        maya.merge([one, two])
    assert {cube.state for cube in maya.list()} == {State.GENERATED}
    assert maya.merge([one.id, two.id]).text == "Maya has two boats\nMaya has a lamp"
    for wrong in ([], [one.id], [one.id, one.id], one.id):
        with pytest.raises(InvalidInputError, match="two memories"):
            maya.merge(wrong)
    with pytest.raises(CubeNotFoundError):
        maya.merge([one.id, "01890a5d-ac96-774b-bcce-b302099a8057"])


def test_appending(maya: MemorySession) -> None:
    cube = maya.add("Maya has a boat")[0]
    after = maya.append(cube.id, "It is red", expected_version=1)
    assert (after.text, after.version) == ("Maya has a boat\nIt is red", 2)
    assert maya.search("what is red?")[0].cube.id == cube.id
    with pytest.raises(VersionConflictError):
        maya.append(cube.id, "It is old", expected_version=1)


def test_what_is_cold_is_archived(maya: MemorySession, clock: FakeClock) -> None:
    cold = maya.add("The lamp was old")[0]
    kept = maya.add("Maya is allergic to walnuts", priority=9)[0]
    used = maya.add("Maya has a red boat")[0]
    clock.advance(days=89)
    assert maya.tidy() == {"expire": [], "archive": []}
    maya.search("red boat", limit=1)
    clock.advance(days=30)
    assert maya.tidy()["archive"] == [cold.id]
    assert maya.tidy() == {"expire": [], "archive": []}
    assert maya.life(cold.id)[-1].principal == "system"
    assert {one.id for one in maya.list(filters={"state": {"$ne": "archived"}})} == {
        kept.id,
        used.id,
    }


def test_no_other_namespace(memos: MemOS, maya: MemorySession) -> None:
    cube = maya.add("Maya has a red boat")[0]
    jonas = memos.session("jonas")
    for verb in (jonas.archive, jonas.restore, jonas.freeze, jonas.unfreeze, jonas.life):
        with pytest.raises(CubeNotFoundError):
            verb(cube.id)


def test_the_table_as_a_picture() -> None:
    picture = lifecycle.mermaid()
    assert picture.startswith("stateDiagram-v2")
    for one in TRANSITIONS:
        assert all(f"{source} --> {one.target}: {one.verb}" in picture for source in one.sources)
    reached = {State.GENERATED} | {one.target for one in TRANSITIONS}
    assert reached == set(State)
