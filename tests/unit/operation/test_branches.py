"""Branches: a what-if that is merged or dropped, and two agents who changed the same memory."""

from __future__ import annotations

import threading

import networkx as nx
import pytest

from memos_integrations import MemorySession, MemOS
from memos_integrations.cube import State
from memos_integrations.errors import (
    BranchConflictError,
    BranchNotFoundError,
    InvalidInputError,
    ReadOnlyMomentError,
    VersionConflictError,
)
from memos_integrations.testing import FakeClock


def said(session: MemorySession) -> set[str]:
    return {cube.text for cube in session.list()}


def test_a_branch_begins_as_a_copy_and_is_seen_by_nobody(alice: MemorySession) -> None:
    alice.add(["the moon is far", "the sun is near"])
    what_if = alice.branch("what if")
    assert said(what_if) == said(alice)
    assert what_if.search("moon")[0].cube.text == "the moon is far"
    [moon] = [cube for cube in what_if.list() if "moon" in cube.text]
    what_if.update(moon.id, "the moon is gone")
    what_if.add("it is dark")
    assert said(alice) == {"the moon is far", "the sun is near"}
    assert alice.search("moon gone dark")[0].cube.text != "the moon is gone"
    assert said(what_if) == {"the moon is gone", "the sun is near", "it is dark"}


def test_a_merge_brings_what_changed_and_ends_the_branch(alice: MemorySession) -> None:
    moon, sun, star = alice.add(["the moon is far", "the sun is near", "a star fell"])
    branch = alice.branch("b")
    ids = {cube.text: cube.id for cube in branch.list()}
    branch.update(ids["the moon is far"], "the moon is gone", tags=["sky"])
    branch.delete(ids["a star fell"])
    branch.archive(ids["the sun is near"])
    branch.add("it is dark")
    changes = alice.merge_branch("b")
    assert sorted(change.kind for change in changes) == ["added", "changed", "changed", "deleted"]
    assert said(alice) == {"the moon is gone", "the sun is near", "it is dark"}
    now = alice.get(moon.id)
    assert (now.version, now.tags) == (2, ("sky",))
    assert alice.get(sun.id).state is State.ARCHIVED
    assert alice.search("moon gone")[0].cube.id == moon.id
    assert alice.search("dark")[0].cube.text == "it is dark"
    assert not [hit for hit in alice.search("far") if "far" in hit.cube.text]
    assert alice.branches() == []
    assert branch.list() == []
    graph = alice.lineage(moon.id)
    assert nx.is_directed_acyclic_graph(graph)
    assert any(
        data["relation"] == "wasDerivedFrom" for _, _, data in graph.out_edges(f"{moon.id}@2", True)
    )
    assert [entry.verb for entry in alice.log(limit=1)] == ["merge_branch"]
    assert alice.history(star.id)[0].text == "a star fell"


def test_what_only_changed_above_stays(alice: MemorySession) -> None:
    [moon] = alice.add("the moon is far")
    alice.branch("b").add("it is dark")
    alice.update(moon.id, "the moon is near")
    alice.merge_branch("b")
    assert said(alice) == {"the moon is near", "it is dark"}


def test_two_agents_changed_the_same_memory(alice: MemorySession) -> None:
    [moon] = alice.add("the moon is far")
    for agent, words in (
        ("ada", "the moon is made of cheese"),
        ("bea", "the moon is made of rock"),
    ):
        branch = alice.branch(agent)
        branch.update(branch.list()[0].id, words)
    alice.merge_branch("ada")
    with pytest.raises(BranchConflictError) as caught:
        alice.merge_branch("bea")
    [conflict] = caught.value.conflicts
    assert (conflict.was.text, conflict.main.text, conflict.branch.text) == (
        "the moon is far",
        "the moon is made of cheese",
        "the moon is made of rock",
    )
    assert "cheese" in str(caught.value) and "rock" in str(caught.value)
    assert said(alice) == {"the moon is made of cheese"}, "nothing was merged"
    alice.merge_branch("bea", prefer="branch")
    assert [cube.text for cube in alice.history(moon.id)] == [
        "the moon is far",
        "the moon is made of cheese",
        "the moon is made of rock",
    ]


def test_main_can_be_preferred(alice: MemorySession) -> None:
    [moon] = alice.add("the moon is far")
    branch = alice.branch("b")
    branch.update(branch.list()[0].id, "the moon is gone")
    branch.add("it is dark")
    alice.update(moon.id, "the moon is near")
    alice.merge_branch("b", prefer="main")
    assert said(alice) == {"the moon is near", "it is dark"}


def test_deleted_on_one_side_and_changed_on_the_other_is_a_conflict(alice: MemorySession) -> None:
    [moon] = alice.add("the moon is far")
    branch = alice.branch("b")
    branch.update(branch.list()[0].id, "the moon is gone")
    alice.delete(moon.id)
    with pytest.raises(BranchConflictError, match="nothing \\(deleted\\)"):
        alice.merge_branch("b")
    alice.merge_branch("b", prefer="branch")
    assert said(alice) == {"the moon is gone"}


def test_the_same_change_on_both_sides_is_no_conflict(alice: MemorySession) -> None:
    [moon] = alice.add("the moon is far")
    branch = alice.branch("b")
    branch.update(branch.list()[0].id, "the moon is gone")
    alice.update(moon.id, "the moon is gone")
    assert alice.merge_branch("b") == []
    assert alice.get(moon.id).version == 2


def test_a_use_is_no_change(alice: MemorySession) -> None:
    [moon] = alice.add("the moon is far")
    branch = alice.branch("b")
    assert branch.search("moon")
    assert alice.search("moon")
    branch.update(branch.list()[0].id, "the moon is gone")
    alice.merge_branch("b")
    assert alice.get(moon.id).text == "the moon is gone"


def test_a_dropped_branch_leaves_nothing(alice: MemorySession) -> None:
    alice.add("the moon is far")
    branch = alice.branch("b")
    branch.add("it is dark")
    assert alice.drop_branch("b") == 2
    assert branch.list() == []
    assert said(alice) == {"the moon is far"}
    with pytest.raises(BranchNotFoundError):
        alice.drop_branch("b")
    again = alice.branch("b")
    assert said(again) == {"the moon is far"}
    again.add("it is light")
    alice.merge_branch("b")
    assert said(alice) == {"the moon is far", "it is light"}, "what was dropped stays dropped"


def test_branches_are_listed_and_opened_again(alice: MemorySession, clock: FakeClock) -> None:
    alice.branch("one").add("only here")
    clock.advance(minutes=1)
    alice.branch("two")
    assert [(one.name, one.began) for one in alice.branches()] == [
        ("one", clock.now().replace(minute=clock.now().minute - 1)),
        ("two", clock.now()),
    ]
    assert said(alice.branch("one")) == {"only here"}
    assert alice.snapshots() == alice.branch("one").snapshots() == []


def test_a_branch_of_a_branch(alice: MemorySession) -> None:
    alice.add("the moon is far")
    outer = alice.branch("outer")
    inner = outer.branch("inner")
    inner.update(inner.list()[0].id, "the moon is gone")
    assert [one.name for one in alice.branches()] == ["outer"]
    assert [one.name for one in outer.branches()] == ["inner"]
    outer.merge_branch("inner")
    alice.merge_branch("outer")
    assert said(alice) == {"the moon is gone"}


def test_long_texts_are_found_by_all_their_parts(alice: MemorySession) -> None:
    shelf = alice.shelf("messages")
    assert shelf is not None
    alice.add("the moon is far. " * 30 + "walnuts and pianos. " * 60)
    branch = alice.branch("b")
    assert branch.search("piano walnut")[0].cube.text == alice.search("piano walnut")[0].cube.text


def test_many_memories(memory: MemOS) -> None:
    bob = memory.session("bob")
    bob.add([f"fact number {n}" for n in range(1_203)])
    branch = bob.branch("b")
    assert branch.count() == 1_203
    branch.update(branch.list(limit=1)[0].id, "fact number one million")
    assert len(bob.merge_branch("b")) == 1
    assert bob.count() == 1_203


def test_two_merges_at_once(alice: MemorySession) -> None:
    alice.add("the moon is far")
    alice.branch("b").add("it is dark")
    outcomes: list[object] = []

    def merge() -> None:
        try:
            outcomes.append(len(alice.merge_branch("b")))
        except BranchNotFoundError as error:
            outcomes.append(type(error))

    threads = [threading.Thread(target=merge) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes)) == sorted([*[str(BranchNotFoundError)] * 5, "1"])
    assert said(alice) == {"the moon is far", "it is dark"}


def test_bad_input(alice: MemorySession) -> None:
    with pytest.raises(BranchNotFoundError):
        alice.merge_branch("nowhere")
    for name in ("", "x" * 300, None, 7):
        with pytest.raises(InvalidInputError):
            alice.branch(name)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError):
            alice.drop_branch(name)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError):
        alice.merge_branch("b", prefer="mine")  # type: ignore[arg-type]
    moment = alice.snapshot("now")
    with pytest.raises(ReadOnlyMomentError):
        alice.as_of(moment).branch("b")


def test_an_expected_version_is_still_checked_after_a_merge(alice: MemorySession) -> None:
    [moon] = alice.add("the moon is far")
    branch = alice.branch("b")
    branch.update(branch.list()[0].id, "the moon is gone")
    alice.merge_branch("b")
    with pytest.raises(VersionConflictError):
        alice.update(moon.id, "the moon is back", expected_version=1)
