"""Who did what, when, to which memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from memos_integrations import MemOS
from memos_integrations.errors import AccessDeniedError, InvalidInputError
from memos_integrations.testing import FakeClock, WordEmbedder


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def memos(tmp_path: Path, clock: FakeClock) -> Iterator[MemOS]:
    with MemOS.open(tmp_path, embedder=WordEmbedder(), clock=clock) as memos:
        yield memos


def test_every_verb_leaves_its_entry(memos: MemOS, clock: FakeClock) -> None:
    maya, agent = memos.session("maya"), memos.session("agent", namespace="maya")
    one, two = maya.add(["The boat is red", "The lamp is old"], idempotency_key="k")
    clock.advance(hours=1)
    noon = clock.now()
    agent.update(one.id, "The boat is blue")
    merged = agent.merge([one.id, two.id])
    clock.advance(hours=1)
    maya.archive(merged.id)
    maya.restore(merged.id)
    maya.delete(merged.id)
    entries = maya.log()
    assert [(entry.verb, entry.principal) for entry in entries] == [
        ("delete", "maya"),
        ("restore", "maya"),
        ("archive", "maya"),
        ("merge", "agent"),
        ("update", "agent"),
        ("add", "maya"),
    ]
    touched = {entry.verb: dict(entry.memories) for entry in entries}
    assert touched["add"] == {one.id: 1, two.id: 1} and touched["update"] == {one.id: 2}
    assert touched["merge"] == {one.id: None, two.id: None, merged.id: 1}
    assert touched["archive"] == touched["delete"] == {merged.id: None}
    assert entries[-1].idempotency_key == "k"
    # Every filter alone, and together.
    assert [entry.verb for entry in maya.log(principal="agent")] == ["merge", "update"]
    assert [entry.verb for entry in maya.log(verb=["add", "merge"])] == ["merge", "add"]
    assert [entry.verb for entry in maya.log(memory_id=two.id)] == ["merge", "add"]
    assert [entry.verb for entry in maya.log(memory_id=merged.id, verb="delete")] == ["delete"]
    assert len(maya.log(since=noon)) == 5 and len(maya.log(until=noon)) == 1
    assert len(maya.log(since=noon, until=clock.now())) == 2
    # Pages.
    first = maya.log(limit=4)
    assert [*first, *maya.log(limit=4, after=first[-1].id)] == entries


def test_the_first_use_stands_in_it(memos: MemOS) -> None:
    maya = memos.session("maya")
    boat = maya.add("The boat is red")[0]
    maya.search("a red boat")
    maya.count({"uses": 1})  # which writes the counters
    assert [(one.verb, one.principal) for one in maya.log(memory_id=boat.id)] == [
        ("activate", "system"),
        ("add", "maya"),
    ]


def test_no_other_namespace(memos: MemOS) -> None:
    boat = memos.session("maya").add("The boat is red")[0]
    jonas = memos.session("jonas")
    assert jonas.log() == [] and jonas.log(memory_id=boat.id) == []
    jonas.add("The lamp is old")
    assert len(jonas.log()) == 1 and jonas.log(memory_id=boat.id) == []


def test_by_type_and_in_namespaces_below(memos: MemOS) -> None:
    team = memos.session("maya", namespace=("team",))
    likes = team.add("Maya likes walnuts", semantic_type="preference")[0]
    boat = team.add("The boat is red", semantic_type="fact")[0]
    both = team.add("The lamp is old", semantic_type="fact")[0]
    team.archive(likes.id)
    team.delete(boat.id)
    team.update(both.id, semantic_type="preference")
    assert [one.verb for one in team.log(semantic_type="preference")] == [
        "update",
        "archive",
        "add",
    ]
    assert [one.verb for one in team.log(semantic_type="fact")] == ["delete", "add", "add"]
    assert len(team.log(semantic_type=["fact", "preference"])) == 6
    assert team.log(semantic_type="event") == []
    inner = team.below("boats")
    inner.add("The sail is white")
    memos.session("jonas", namespace=("teams",)).add("Elsewhere")
    assert [one.namespace for one in team.log(below=True, limit=2)] == [
        ("team", "boats"),
        ("team",),
    ]
    assert len(team.log(below=True)) == 7 and len(team.log()) == 6 and len(inner.log()) == 1
    assert [
        one.verb for one in memos.session("x", namespace=("team", "none")).log(below=True)
    ] == []


def test_below_shows_only_what_may_be_read(memos: MemOS) -> None:
    memos.govern("root", homes=[("homes", "{principal}")])
    root = memos.session("root", namespace=("team",))
    root.add("The boat is red")
    root.below("boats").add("The sail is white")
    root.below("boats").grant("jonas", "read")
    jonas = memos.session("jonas", namespace=("team",))
    with pytest.raises(AccessDeniedError):
        jonas.log(below=True)
    seen = {one.namespace for one in jonas.below("boats").log(below=True)}
    assert seen == {("team", "boats")}
    assert {one.namespace for one in root.log(below=True)} == {("team",), ("team", "boats")}


def test_the_log_of_a_moment_ends_there(memos: MemOS) -> None:
    maya = memos.session("maya")
    boat = maya.add("The boat is red")[0]
    maya.archive(boat.id)
    maya.snapshot("then")
    maya.restore(boat.id)
    then = maya.as_of("then")
    assert [one.verb for one in then.log()] == ["snapshot", "archive", "add"]
    assert [one.verb for one in then.life(boat.id)] == ["archive"]
    assert [one.verb for one in maya.life(boat.id)] == ["archive", "restore"]


def test_growth_and_hit_rates(memos: MemOS, clock: FakeClock) -> None:
    maya = memos.session("maya")
    boat, lamp, piano, note = maya.add(["A red boat", "An old lamp", "A piano", "A note"])
    first = clock.now().date().isoformat()
    clock.advance(days=2)
    maya.delete(note.id)
    maya.delete(piano.id)
    maya.add("A walnut")
    maya.update(lamp.id, "A very old lamp")
    second = clock.now().date().isoformat()
    maya.search("a red boat", limit=1)
    maya.record_uses([boat, lamp], prompt="p")
    found = maya.summary()
    assert found["growth"] == {first: 4, second: 3}
    assert found["hit_rates"] == {"recalled": 0.3333, "shown": 0.6667}
    assert memos.session("jonas").summary()["growth"] == {}


def test_a_summary(memos: MemOS, clock: FakeClock) -> None:
    maya = memos.session("maya")
    assert maya.summary()["hottest"] == []
    boat, lamp = maya.add(["The boat is red", "The lamp is old"])
    clock.advance(days=1)
    maya.update(lamp.id, "The lamp is very old")
    maya.archive(lamp.id)
    for _ in range(3):
        maya.search("a red boat", limit=1)
    found = maya.summary()
    assert found["verbs"] == {"activate": 1, "add": 1, "archive": 1, "update": 1}
    assert found["use"] == {
        "recalls": 3,
        "memories_recalled": 1,
        "appearances": 0,
        "prompts": 0,
    }
    assert list(found["days"].values()) == [1, 3]
    assert found["principals"] == {"maya": 3, "system": 1}
    assert found["states"] == {"activated": 1, "archived": 1}
    assert [(one["id"], one["uses"]) for one in found["hottest"]] == [(boat.id, 3)]
    json.dumps(found)


def test_what_cannot_be_asked(memos: MemOS) -> None:
    maya = memos.session("maya")
    for wrong in ({"limit": 0}, {"memory_id": "x"}, {"since": 7}, {"verb": [1]}, {"after": 3}):
        with pytest.raises(InvalidInputError):
            maya.log(**wrong)  # type: ignore[arg-type]
    for wrong in ({"principal": 7}, {"semantic_type": 7}, {"below": "yes"}):
        with pytest.raises(InvalidInputError):
            maya.log(**wrong)  # type: ignore[arg-type]
