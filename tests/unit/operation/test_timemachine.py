"""Moments: read, named, compared, returned to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from memos_integrations import MemorySession, MemOS
from memos_integrations.cube import State
from memos_integrations.errors import (
    CubeNotFoundError,
    FrozenCubeError,
    InvalidInputError,
    MomentNotFoundError,
    ReadOnlyMomentError,
)
from memos_integrations.infrastructure.index_keeper import IndexPolicy
from memos_integrations.operation import lifecycle
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


def texts(session: MemorySession, question: str, **options: object) -> list[str]:
    return [hit.cube.text for hit in session.search(question, **options)]  # type: ignore[arg-type]


def test_yesterday_a_fact_says_what_it_said(maya: MemorySession, clock: FakeClock) -> None:
    home = maya.add("Maya lives in Oslo")[0]
    boat = maya.add("Maya has a red boat")[0]
    yesterday = clock.now()
    clock.advance(days=1)
    maya.update(home.id, "Maya lives in Bergen", tags=["home"])
    maya.delete(boat.id)
    maya.add("Maya likes walnuts")
    then = maya.as_of(yesterday)
    assert texts(then, "Who lives in Oslo?", limit=1) == ["Maya lives in Oslo"]
    assert texts(then, "a red boat", limit=1) == ["Maya has a red boat"]
    assert "Maya likes walnuts" not in texts(then, "walnuts")
    assert [cube.text for cube in then.list()] == ["Maya lives in Oslo", "Maya has a red boat"]
    assert then.count() == 2 and then.count({"tags": "home"}) == 0
    assert texts(then, "Maya", filters={"tags": "home"}) == []
    assert then.get(home.id).text == "Maya lives in Oslo" and len(then.history(home.id)) == 1
    assert [cube.id for cube in then.get_many([boat.id, home.id])] == [boat.id, home.id]
    assert maya.get(home.id).header.behaviour.uses == 0  # the past counts no uses
    with pytest.raises(CubeNotFoundError):
        maya.as_of(yesterday - timedelta(days=1)).get(home.id)
    assert maya.as_of(datetime(2000, 1, 1, tzinfo=UTC)).search("Maya") == []


def test_states_and_lifespans_are_those_of_then(maya: MemorySession, clock: FakeClock) -> None:
    lamp = maya.add("The lamp is old")[0]
    short = maya.add("The shop is open", expires_at=clock.now() + timedelta(hours=1))[0]
    moment = clock.now()
    clock.advance(hours=2)
    maya.archive(lamp.id)
    archived = clock.now()
    clock.advance(hours=2)
    maya.restore(lamp.id)
    assert maya.as_of(moment).get(lamp.id).state is State.GENERATED
    assert set(texts(maya.as_of(moment), "old lamp, open shop")) == {lamp.text, short.text}
    assert maya.as_of(archived).get(lamp.id).state is State.ARCHIVED
    assert texts(maya.as_of(archived), "old lamp, open shop") == []


def test_the_past_through_an_index(tmp_path: Path, clock: FakeClock) -> None:
    policy = IndexPolicy(exact_below=20)
    with MemOS.open(tmp_path, embedder=WordEmbedder(), clock=clock, index_policy=policy) as memos:
        maya = memos.session("maya")
        cubes = maya.add([f"The boat of number {i} is red" for i in range(60)])
        moment = maya.snapshot("red")
        for changed in (0, 10, 60):  # none, few, all of them have changed
            for cube in cubes[:changed]:
                maya.update(cube.id, f"{cube.text} no more")
            assert memos.vault.wait_for_index()
            for i in (0, 9, 30, 59):
                found = maya.as_of("red").search(f"boat of number {i}", limit=60)
                assert len(found) == 60 and found[0].cube.text == cubes[i].text
            assert maya.as_of(moment).count() == 60


@pytest.mark.parametrize("changed", [0, 30, 59, 60])
def test_a_moment_reads_the_same_whatever_is_written_later(
    tmp_path: Path, clock: FakeClock, changed: int
) -> None:
    """What is remembered of a moment between two searches is right for the second, too."""
    policy = IndexPolicy(exact_below=20)
    with MemOS.open(tmp_path, embedder=WordEmbedder(), clock=clock, index_policy=policy) as memos:
        maya = memos.session("maya")
        cubes = maya.add([f"The boat of number {i} is red" for i in range(60)])
        maya.snapshot("red")
        for cube in cubes[:changed]:
            maya.update(cube.id, f"{cube.text} no more")
        maya.snapshot("later")
        assert memos.vault.wait_for_index()

        def found(name: str) -> dict[str, str]:
            hits = maya.as_of(name).search("boat of number 59", limit=60)
            assert hits[0].cube.id == cubes[59].id
            return {hit.cube.id: hit.cube.text for hit in hits}

        red, later = found("red"), found("later")
        assert red == {cube.id: cube.text for cube in cubes}
        maya.update(cubes[59].id, "The boat of number 59 is blue")
        maya.delete(cubes[58].id)
        maya.archive(cubes[57].id)
        maya.add([f"The boat of number {i} is green" for i in range(60, 160)])
        assert found("red") == red and found("later") == later
        maya.forget(cubes[56].id)
        del red[cubes[56].id], later[cubes[56].id]
        assert found("red") == red and found("later") == later
        maya.rollback("red", ids=[cubes[59].id, cubes[58].id])
        assert found("red") == red and found("later") == later


def test_names(maya: MemorySession, memos: MemOS) -> None:
    maya.add("Maya lives in Oslo")
    first, second = maya.snapshot("first"), maya.snapshot("second")
    assert maya.snapshots() == [first, second] and first.name == "first"
    assert memos.session("jonas").snapshots() == []
    with pytest.raises(InvalidInputError, match="another name"):
        maya.snapshot("first")
    maya.forget_snapshot("first")
    for call in (maya.as_of, maya.diff, maya.rollback, maya.forget_snapshot):
        with pytest.raises(MomentNotFoundError, match="no snapshot 'first'"):
            call("first")
    with pytest.raises(MomentNotFoundError):
        memos.session("jonas").as_of("second")
    for wrong in (7, None, datetime(2026, 1, 1)):
        with pytest.raises(InvalidInputError):
            maya.as_of(wrong)  # type: ignore[arg-type]


def test_what_changed(maya: MemorySession) -> None:
    home, boat = maya.add(["Maya lives in Oslo", "Maya has a red boat"])
    maya.snapshot("before")
    maya.update(home.id, "Maya lives in Bergen")
    maya.delete(boat.id)
    new = maya.add("Maya likes walnuts")[0]
    maya.search("Maya")  # a use is no change
    changes = {change.id: change for change in maya.diff("before")}
    assert {id: change.kind for id, change in changes.items()} == {
        home.id: "changed",
        boat.id: "deleted",
        new.id: "added",
    }
    assert changes[home.id].before is not None and changes[home.id].after is not None
    assert changes[home.id].before.text == "Maya lives in Oslo"
    assert changes[home.id].after.text == "Maya lives in Bergen"
    maya.snapshot("after")
    maya.update(home.id, "Maya lives in Rome")
    assert len(maya.diff("before", "after")) == 3 and len(maya.diff("after")) == 1
    assert maya.diff("before", "before") == []


def test_going_back_and_forth(maya: MemorySession) -> None:
    home, boat = maya.add(["Maya lives in Oslo", "Maya has a red boat"])
    maya.snapshot("before")
    maya.update(home.id, "Maya lives in Bergen")
    maya.delete(boat.id)
    new = maya.add("Maya likes walnuts")[0]
    maya.snapshot("after")
    assert len(maya.rollback("before")) == 3
    assert [cube.text for cube in maya.list()] == ["Maya lives in Oslo", "Maya has a red boat"]
    assert texts(maya, "red boat", limit=1) == ["Maya has a red boat"]
    assert [cube.text for cube in maya.history(home.id)] == [
        "Maya lives in Oslo",
        "Maya lives in Bergen",
        "Maya lives in Oslo",
    ]
    graph = maya.lineage(home.id)
    assert graph.edges[f"{home.id}@3", f"{home.id}@1"]["relation"] == "wasDerivedFrom"
    verbs = {graph.nodes[node]["verb"] for node in graph if graph.nodes[node]["kind"] == "activity"}
    assert verbs == {"add", "update", "rollback"}
    assert maya.diff("before") == [] and maya.rollback("before") == []
    # The way there can be gone back, too.
    assert {one.kind for one in maya.rollback("after")} == {"changed", "added", "deleted"}
    assert [cube.text for cube in maya.list()] == ["Maya lives in Bergen", "Maya likes walnuts"]
    assert [cube.text for cube in maya.as_of("before").list()] == [home.text, boat.text]
    assert maya.rollback("before", ids=[new.id])[0].kind == "deleted"
    assert [cube.text for cube in maya.list()] == ["Maya lives in Bergen"]
    with pytest.raises(CubeNotFoundError):
        maya.rollback("before", ids=["01890a5d-ac96-774b-bcce-b302099a8057"])


def test_what_is_frozen_stays(maya: MemorySession) -> None:
    home, boat = maya.add(["Maya lives in Oslo", "Maya has a red boat"])
    maya.snapshot("before")
    for cube in (home, boat):
        maya.update(cube.id, "Something else")
    maya.freeze(home.id)
    with pytest.raises(FrozenCubeError):
        maya.rollback("before", ids=[home.id])
    assert [change.id for change in maya.rollback("before")] == [boat.id]
    assert [cube.text for cube in maya.list()] == ["Something else", "Maya has a red boat"]


def test_the_past_cannot_be_written(maya: MemorySession) -> None:
    home = maya.add("Maya lives in Oslo")[0]
    then = maya.as_of(maya.snapshot("now"))
    calls: list[Callable[[], object]] = [
        lambda: then.add("x"),
        lambda: then.update(home.id, "x"),
        lambda: then.append(home.id, "x"),
        lambda: then.delete(home.id),
        lambda: then.merge([home.id, home.id]),
        lambda: then.archive(home.id),
        lambda: then.restore(home.id),
        lambda: then.freeze(home.id),
        lambda: then.unfreeze(home.id),
        lambda: then.tidy(),
        lambda: then.snapshot("x"),
        lambda: then.rollback("now"),
        lambda: then.record_uses([home], prompt="p"),
        lambda: then.shelf("s"),
    ]
    for call in calls:
        with pytest.raises(ReadOnlyMomentError, match="session of today"):
            call()
    assert maya.list() == [home]


async def test_in_asyncio(maya: MemorySession) -> None:
    home = (await maya.aadd("Maya lives in Oslo"))[0]
    await maya.asnapshot("before")
    await maya.aappend(home.id, "and in Rome")
    then = await maya.aas_of("before")
    assert (await then.asearch("Oslo"))[0].cube.text == "Maya lives in Oslo"
    assert len(await maya.adiff("before")) == 1 and len(await maya.arollback("before")) == 1
    assert (await maya.aget(home.id)).text == "Maya lives in Oslo"
    assert (await maya.aarchive(home.id)).state is State.ARCHIVED
    assert (await maya.arestore(home.id)).state is State.ACTIVATED
    assert [one.verb for one in await maya.alife(home.id)][-2:] == ["archive", "restore"]
    assert len(await maya.asnapshots()) == 1 and await maya.atidy() is not None


def test_after_a_reindex_the_past_is_found_by_its_words(tmp_path: Path) -> None:
    with MemOS.open(tmp_path, embedder=WordEmbedder()) as memos:
        maya = memos.session("maya")
        home = maya.add("Maya lives in Oslo")[0]
        maya.snapshot("before")
        maya.update(home.id, "Maya lives in Bergen")
    other = WordEmbedder(32, revision="2")
    MemOS.reindex(tmp_path, embedder=other)
    with MemOS.open(tmp_path, embedder=other) as memos:
        maya = memos.session("maya")
        assert texts(maya.as_of("before"), "Who lives in Oslo?") == ["Maya lives in Oslo"]
        maya.snapshot("between")
        maya.update(home.id, "Maya lives in Rome")
        assert texts(maya.as_of("between"), "Bergen") == ["Maya lives in Bergen"]
        assert texts(maya.as_of("before"), "Oslo") == ["Maya lives in Oslo"]


def test_the_docs_show_the_table() -> None:
    page = (Path(__file__).parents[3] / "docs" / "lifecycle.md").read_text()
    assert lifecycle.mermaid() in page
