"""The organiser at work in a store: what it links, and what searches make of that."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from memos_integrations import MemorySession, MemOS
from memos_integrations.cube import State
from memos_integrations.errors import CubeNotFoundError, InvalidInputError, ReadOnlyMomentError
from memos_integrations.operation.organising.memo import Memo
from memos_integrations.operation.organising.relations import Found, Relation
from memos_integrations.operation.retrieval import SearchPolicy
from memos_integrations.testing import FakeClock
from tests.conftest import Opener


def test_the_newer_supersedes_the_older_and_the_hit_says_so(
    alice: MemorySession, clock: FakeClock
) -> None:
    [old] = alice.add("Maya lives in Oslo")
    clock.advance(days=3)
    [new] = alice.add("Maya lives in Bergen now")
    done = alice.organise()
    assert done.compared == 2
    [link] = done.links
    assert (link.subject, link.relation, link.object) == (new.id, "supersedes", old.id)
    assert "supersedes" in str(done)
    hits = alice.search("does Maya live in Oslo?")
    assert [hit.cube.id for hit in hits] == [new.id, old.id]
    assert hits[1].superseded_by is not None
    assert hits[1].superseded_by.id == new.id
    assert "superseded on 2026-01-04: 'Maya lives in Bergen now'" in hits[1].why
    assert hits[1].metadata()["superseded_by"] == new.id
    assert hits[1].metadata()["valid_until"].startswith("2026-01-04")
    assert hits[0].superseded_by is None
    assert hits[0].score >= hits[1].score
    assert alice.get(old.id).text == "Maya lives in Oslo", "both stay readable"


def test_what_replaced_a_memory_is_brought_in(alice: MemorySession) -> None:
    [old] = alice.add("Maya lives in Oslo")
    [new] = alice.add("Maya lives in Bergen now")
    alice.organise()
    [hit] = alice.search("Oslo", limit=1)
    assert hit.cube.id == new.id
    [hit] = alice.search("Oslo", limit=1, policy=SearchPolicy(superseded=0.0))
    assert (hit.cube.id, hit.superseded_by) == (old.id, None)
    assert [hit.cube.id for hit in alice.search("Oslo", filters={"tags": "home"})] == []


def test_what_still_holds_in_part_is_not_replaced(alice: MemorySession) -> None:
    [old] = alice.add("Maya lives in Oslo. Her dog Rex is old. She works at the harbour.")
    alice.add("Maya lives in Bergen now.")
    [link] = alice.organise().links
    assert link.relation == "supersedes" and link.score < 0.7
    [hit] = alice.search("dog Rex harbour", limit=1)
    assert (hit.cube.id, hit.superseded_by) == (old.id, None)


def test_a_filter_holds_for_what_is_brought_in(alice: MemorySession) -> None:
    [old] = alice.add("Maya lives in Oslo", tags=["home"])
    alice.add("Maya lives in Bergen now")
    alice.organise()
    [hit] = alice.search("Oslo", filters={"tags": "home"})
    assert hit.cube.id == old.id


def test_what_happened_later_is_newer_whenever_it_was_written(alice: MemorySession) -> None:
    [now] = alice.add("Maya lives in Bergen", event_time=datetime(2025, 5, 1, tzinfo=UTC))
    [then] = alice.add("Maya lives in Oslo", event_time=datetime(2024, 5, 1, tzinfo=UTC))
    [link] = alice.organise().links
    assert (link.subject, link.relation, link.object) == (then.id, "superseded_by", now.id)
    assert alice.search("Oslo", limit=1)[0].cube.id == now.id


def test_a_link_is_silent_once_a_side_has_changed(alice: MemorySession) -> None:
    [old] = alice.add("Maya lives in Oslo")
    [new] = alice.add("Maya lives in Bergen now")
    alice.organise()
    alice.update(old.id, "Oslo is the capital of Norway")
    assert alice.search("Oslo", limit=1)[0].cube.id == old.id
    alice.organise()
    alice.delete(new.id)
    assert alice.links() == []


def test_a_deleted_successor_does_not_come_back(alice: MemorySession) -> None:
    [old] = alice.add("Maya lives in Oslo")
    [new] = alice.add("Maya lives in Bergen now")
    alice.organise()
    for verb in (alice.archive, alice.delete):
        verb(new.id)
        [hit] = alice.search("Oslo")
        assert (hit.cube.id, hit.superseded_by) == (old.id, None)
        if verb == alice.archive:
            alice.restore(new.id)


def test_a_chain_leads_to_the_newest(alice: MemorySession) -> None:
    for city in ("Oslo", "Bergen", "Tromsø"):
        alice.add(f"Maya lives in {city} now")
    alice.organise()
    assert alice.search("Maya lives in Oslo", limit=1)[0].cube.text == "Maya lives in Tromsø now"


def test_duplicates_are_linked_and_merged_on_request(alice: MemorySession) -> None:
    alice.add("Maya is allergic to peanuts.")
    alice.add("The moon is far.")
    alice.add("maya is allergic to peanuts")
    done = alice.organise()
    assert [link.relation for link in done.links] == ["duplicate"]
    assert done.merged == ()
    assert alice.count({"state": "generated"}) == 3
    [made] = alice.organise(merge_duplicates=True).merged
    assert alice.get(made).text == "maya is allergic to peanuts"
    assert alice.count({"state": "merged"}) == 2
    assert alice.organise(merge_duplicates=True).merged == ()
    assert alice.count({"state": {"$in": [State.GENERATED.value, State.ACTIVATED.value]}}) == 2


def test_only_what_is_new_is_compared(alice: MemorySession) -> None:
    alice.add("Maya lives in Oslo")
    assert alice.organise().compared == 1
    assert alice.organise().compared == 0
    alice.add("Maya lives in Bergen now")
    assert alice.organise().compared == 1
    assert [entry.verb for entry in alice.log(verb="organise")] == ["organise"]


def test_namespaces_are_kept_apart(memory: MemOS) -> None:
    memory.session("alice").add("Maya lives in Oslo")
    bob = memory.session("bob")
    bob.add("Maya lives in Bergen now")
    assert bob.organise().links == ()


def test_at_add_if_the_store_is_opened_so(open_store: Opener) -> None:
    alice = open_store(organise=True).session("alice")
    alice.add("Maya lives in Oslo")
    alice.add("Maya lives in Bergen now")
    assert [link.relation for link in alice.links()] == ["supersedes"]
    assert alice.below("notes").add("x")


def test_another_judge(open_store: Opener) -> None:
    asked = []

    def judge(new: Memo, old: Memo, cosine: float) -> Found | None:
        asked.append((new.text, old.text))
        assert -1.001 <= cosine <= 1.001
        return Found(Relation.ELABORATES, 0.5, "it seems so")

    alice = open_store(organise=judge).session("alice")
    alice.add("the moon is far")
    alice.add("the sun is near")
    assert asked == [("the sun is near", "the moon is far")]
    assert alice.links()[0].because == "it seems so"


def test_links_of_one_memory(alice: MemorySession) -> None:
    [old] = alice.add("Maya lives in Oslo")
    [other] = alice.add("the moon is far")
    alice.add("Maya lives in Bergen now")
    alice.organise()
    assert len(alice.links(old.id)) == 1
    assert alice.links(other.id) == []


def test_a_search_can_follow_links(alice: MemorySession) -> None:
    def judge(new: Memo, old: Memo, cosine: float) -> Found | None:
        return Found(Relation.SAME_EVENT, 0.9, "both of the trip") if "boat" in new.text else None

    [one] = alice.add("walnut harvest in autumn")
    alice.add(["piano lamp", "bicycle letter"])
    [two] = alice.add("boat")
    alice.organise(judge=judge)
    policy = SearchPolicy(dense=0.0, links=0.5)
    assert [hit.cube.id for hit in alice.search("walnut", policy=SearchPolicy(dense=0.0))] == [
        one.id
    ]
    hits = alice.search("walnut", policy=policy)
    assert [hit.cube.id for hit in hits] == [one.id, two.id]
    assert hits[1].why == "linked to a better one"


def test_topics_are_a_tree_over_all_memories(alice: MemorySession) -> None:
    cubes = alice.add(
        ["Maya lives in Oslo", "Maya works at the harbour", "Bob likes tea", "Bob has a dog"]
    )
    graph = alice.topics()
    facts = {node for node, kind in graph.nodes(data="kind") if kind == "fact"}
    assert facts == {cube.id for cube in cubes}
    assert all(graph.in_degree(fact) == 1 for fact in facts)
    labels = " ".join(
        label for node, label in graph.nodes(data="label") if graph.nodes[node]["kind"] == "topic"
    )
    assert "maya" in labels.lower() and "bob" in labels.lower()


def test_the_past_knows_no_links_of_today(alice: MemorySession) -> None:
    [old] = alice.add("Maya lives in Oslo")
    alice.snapshot("then")
    alice.add("Maya lives in Bergen now")
    alice.organise()
    [hit] = alice.as_of("then").search("Oslo")
    assert (hit.cube.id, hit.superseded_by) == (old.id, None)
    with pytest.raises(ReadOnlyMomentError):
        alice.as_of("then").organise()
    assert alice.links() and alice.as_of("then").links() == []
    facts = [
        name for name, kind in alice.as_of("then").topics().nodes(data="kind") if kind == "fact"
    ]
    assert facts == [old.id]


def test_a_rest_of_a_crash_is_organised_later(open_store: Opener) -> None:
    memory = open_store()
    memory.session("alice").add(["Maya lives in Oslo", "Maya lives in Bergen now"])
    memory.close()
    alice = open_store(organise=True).session("alice")
    alice.add("the moon is far")
    assert [link.relation for link in alice.links()] == ["supersedes"]


def test_bad_input(alice: MemorySession) -> None:
    with pytest.raises(InvalidInputError):
        alice.organise(judge="me")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError):
        alice.links("nope")
    with pytest.raises(CubeNotFoundError):
        alice.links("00000000-0000-7000-8000-0000000000ff")
    assert alice.organise().links == ()
    assert alice.topics().number_of_nodes() == 0
