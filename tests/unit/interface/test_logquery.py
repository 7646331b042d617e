"""Who did what, when, to which memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from memos_integrations import MemOS
from memos_integrations.errors import InvalidInputError
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
