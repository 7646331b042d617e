"""Search over turns: who is named, what follows a question; and what the gate keeps out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from memos_integrations import MemorySession, SearchPolicy

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def talk(session: MemorySession, *said: tuple[str, str]) -> list[str]:
    turns = [{"role": "user", "name": name, "content": text} for name, text in said]
    return [cube.id for cube in session.add(turns)]


def test_what_the_named_one_says_goes_before_what_is_said_to_her(alice: MemorySession) -> None:
    talk(alice, ("Jonas", "Maya, have a trumpet"), ("Maya", "I own a trumpet"))
    first = alice.search("Which trumpet does Maya own?")[0]
    assert first.cube.header.descriptive.speaker == "Maya"
    assert first.parts["speaker"] == 1.0
    assert "said by Maya" in first.why


def test_an_answer_is_found_by_its_question(alice: MemorySession) -> None:
    ids = talk(
        alice,
        ("Jonas", "rain again"),
        ("Jonas", "which instrument do you play?"),
        ("Maya", "clarinet since school"),
        ("Jonas", "snow again"),
    )
    hits = {hit.cube.id: hit for hit in alice.search("instrument")}
    assert hits[ids[2]].parts["neighbours"] > 1
    assert hits[ids[2]].score > hits[ids[0]].score
    off = alice.search("instrument", policy=SearchPolicy(neighbours=0))
    assert not any("neighbours" in hit.parts for hit in off)


def test_what_comes_before_a_turn_that_fits_counts_too(alice: MemorySession) -> None:
    ids = talk(
        alice,
        ("Maya", "clarinet since school"),
        ("Jonas", "so that is your instrument"),
        ("Jonas", "rain again"),
    )
    hits = {hit.cube.id: hit for hit in alice.search("instrument")}
    assert hits[ids[0]].parts["neighbours"] > hits[ids[2]].parts.get("neighbours", 0) * 0.99
    assert "beside what fits" in hits[ids[0]].why


def test_a_turn_counts_more_in_a_talk_that_fits(alice: MemorySession) -> None:
    """Both say the same about the question; the first stands in a talk about it."""
    ids = []
    for hour, text in [(0, "the regatta was lovely"), (0, "we sang"), (5, "we sang, too")]:
        said = {"role": "user", "content": text, "timestamp": NOON + timedelta(hours=hour)}
        ids.append(alice.add(said)[0].id)
    alone = SearchPolicy(neighbours=0.0)
    hits = {hit.cube.id: hit for hit in alice.search("regatta", policy=alone)}
    assert hits[ids[0]].parts["talk"] == hits[ids[1]].parts["talk"] == 1.0
    assert hits[ids[2]].parts.get("talk", 0.0) < 1.0
    assert hits[ids[1]].score > hits[ids[2]].score
    off = alice.search("regatta", policy=SearchPolicy(talk=0.0))
    assert not any("talk" in hit.parts for hit in off)


def test_facts_alone_are_no_talk_and_beside_turns_lose_nothing(alice: MemorySession) -> None:
    fact = alice.add("the regatta is in June")[0]
    assert "talk" not in alice.search("regatta in June")[0].parts
    talk(alice, ("Maya", "hello"), ("Jonas", "which regatta?"))
    first = alice.search("regatta in June")[0]
    assert first.cube.id == fact.id
    assert first.parts["talk"] == 1.0


def test_a_fact_about_the_one_who_is_named_counts_as_hers(alice: MemorySession) -> None:
    """Names of speakers are not looked for as words: they stand in all that they said."""
    alice.add(["Maya likes tea in the morning", "Jonas likes tea in the morning, too"])
    talk(alice, ("Maya", "good morning"), ("Jonas", "hello"))
    first = alice.search("Does Jonas like tea?")[0]
    assert first.cube.text.startswith("Jonas")
    assert first.parts["speaker"] == 1.0
    assert "about the one named" in first.why
    assert first.why.count("jonas") == 0


def test_facts_have_no_neighbours(alice: MemorySession) -> None:
    alice.add(["which instrument do you play?", "clarinet since school"])
    assert not any("neighbours" in hit.parts for hit in alice.search("instrument"))


def test_neighbours_pass_the_gate_and_the_filters(alice: MemorySession) -> None:
    ids = talk(
        alice, ("Jonas", "which instrument?"), ("Maya", "clarinet"), ("Maya", "and a trombone")
    )
    alice.delete(ids[1])
    words = SearchPolicy(dense=0.0)
    assert ids[1] not in {hit.cube.id for hit in alice.search("instrument", policy=words)}
    only = alice.search("instrument", policy=words, filters={"speaker": "Jonas"})
    assert {hit.cube.id for hit in only} == {ids[0]}


def test_an_earlier_moment_knows_its_own_neighbours(alice: MemorySession) -> None:
    ids = talk(alice, ("Jonas", "which instrument?"), ("Maya", "clarinet"))
    alice.snapshot("before")
    alice.delete(ids[1])
    then = {hit.cube.id: hit for hit in alice.as_of("before").search("instrument")}
    assert then[ids[1]].parts["neighbours"] > 0


def test_diverse_hits_come_before_more_of_the_same(alice: MemorySession) -> None:
    alice.add(["the boat is red", "the boat is red today", "the boat leaks"])
    plain = [hit.cube.text for hit in alice.search("boat red")]
    assert plain == ["the boat is red", "the boat is red today", "the boat leaks"]
    spread = alice.search("boat red", policy=SearchPolicy(diverse=3.0))
    assert [hit.cube.text for hit in spread] == [plain[0], plain[2], plain[1]]
    words = SearchPolicy(dense=0.0, diverse=3.0)
    assert {hit.cube.text for hit in alice.search("boat red", policy=words)} == set(plain)
