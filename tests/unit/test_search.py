"""Search: what comes back, in which order, with which reasons, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memos_integrations import IndexPolicy, MemorySession, MemOS, SearchPolicy, TimeWindow
from memos_integrations.errors import InvalidInputError
from memos_integrations.protocols import Vectors
from memos_integrations.testing import CountingIds, FakeClock, WordEmbedder

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
Opener = Callable[..., MemOS]

DENSE, LEXICAL = SearchPolicy(lexical=0), SearchPolicy(dense=0)


def texts(session: MemorySession, query: str, **options: Any) -> list[str]:
    return [hit.cube.text for hit in session.search(query, **options)]


# The question's own vector -----------------------------------------------------------------------


def test_a_vector_in_hand_is_not_made_again(open_store: Opener) -> None:
    class Counting(WordEmbedder):
        asked = 0

        def embed_query(self, text: str) -> Vectors:
            self.asked += 1
            return super().embed_query(text)

    embedder = Counting()
    alice = open_store(embedder=embedder).session("alice")
    alice.add(["Maya eats walnuts", "Jonas plays the trumpet"])
    embedder.asked = 0  # a WordEmbedder asks itself for documents too
    vector = alice.embed("trumpet")
    assert vector.shape == (embedder.fingerprint.dimension,)
    given = [hit.parts["dense"] for hit in alice.search("trumpet", vector=3 * vector)]
    assert embedder.asked == 1
    own = [hit.parts["dense"] for hit in alice.search("trumpet")]
    assert given == pytest.approx(own, abs=1e-6)
    assert embedder.asked == 2


@pytest.mark.parametrize(
    "vector", [[], [1.0], "1.0", [[1.0]], [float("nan")] * 64, [0.0] * 64, object()]
)
def test_what_is_no_vector(alice: MemorySession, vector: Any) -> None:
    with pytest.raises(InvalidInputError, match="vector: give finite numbers of shape"):
        alice.search("trumpet", vector=vector)


# Scores and reasons ----------------------------------------------------------------------------


def test_hits_say_why(alice: MemorySession) -> None:
    alice.add(["Maya eats walnuts", "Jonas plays the trumpet", "rain is coming"])
    hits = alice.search("who plays the trumpet?")
    assert hits[0].cube.text == "Jonas plays the trumpet"
    assert hits[0].score == 1.0
    assert set(hits[0].parts) == {"dense", "lexical"}
    assert hits[0].why.startswith("meaning #1 (cosine 0.")
    assert hits[0].why.endswith("; words #1: plays, trumpet")
    assert [hit.parts.keys() for hit in hits[1:]] == [{"dense"}, {"dense"}]
    assert all("\n" not in hit.why for hit in hits)


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    query=st.lists(st.sampled_from(["plums", "trumpet", "Oslo", "the", "?", "in May"]), min_size=1),
    limit=st.integers(1, 30),
    policy=st.builds(
        SearchPolicy,
        dense=st.floats(0, 3),
        lexical=st.floats(0.1, 3),
        recency=st.floats(0, 3),
        event_time=st.floats(0, 3),
        neighbours=st.floats(0, 3),
        talk=st.floats(0, 3),
        brief=st.floats(0, 3),
        candidates=st.integers(1, 60),
    ),
)
def test_scores_are_between_0_and_1_and_best_first(
    a_few: MemorySession, query: list[str], limit: int, policy: SearchPolicy
) -> None:
    hits = a_few.search(" ".join(query), limit=limit, policy=policy)
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 + 1e-9 for score in scores)
    assert len({hit.cube.id for hit in hits}) == len(hits) <= limit
    for hit in hits:
        assert hit.parts
        assert hit.why
        assert -1 - 1e-6 <= hit.parts.get("dense", 0) <= 1 + 1e-6


@pytest.fixture
def a_few(alice: MemorySession) -> MemorySession:
    for i, said in enumerate(["plums", "a trumpet", "Oslo in May", "plums in Oslo", "rain"]):
        for n in range(3):
            alice.add(f"{said} {'again ' * n}", event_time=NOON - timedelta(days=30 * i))
    return alice


def test_the_cosine_is_that_of_the_embedder(alice: MemorySession) -> None:
    alice.add("the trumpet")
    embedder = WordEmbedder()
    one, two = embedder.embed_query("the trumpet"), embedder.embed_query("a trumpet")
    cosine = float(one @ two / ((one @ one) ** 0.5 * (two @ two) ** 0.5))
    assert alice.search("a trumpet")[0].parts["dense"] == pytest.approx(cosine, abs=1e-6)


def test_a_memory_is_found_by_who_said_it_and_when(alice: MemorySession) -> None:
    alice.add({"role": "user", "content": "plums", "speaker": "Maya", "timestamp": NOON})
    alice.add("plums and pears and apples")
    assert alice.search("Maya", limit=1)[0].parts.keys() == {
        "dense",
        "lexical",
        "talk",
        "speaker",
    }
    assert texts(alice, "what about 1 January 2026?", limit=1, policy=DENSE) == ["plums"]


def test_min_score(a_few: MemorySession) -> None:
    everything = a_few.search("plums in Oslo", limit=50)
    for least in (0.0, 0.5, everything[3].score, 1.0):
        kept = a_few.search("plums in Oslo", limit=50, min_score=least)
        assert [hit.cube.id for hit in kept] == [
            hit.cube.id for hit in everything if hit.score >= least
        ]


def test_memory_type(alice: MemorySession) -> None:
    alice.add("plums")
    assert texts(alice, "plums", memory_type="plaintext") == ["plums"]
    assert texts(alice, "plums", memory_type="activation") == []
    assert texts(alice, "plums", memory_type="parameter", filters={"priority": 5}) == []


def test_nothing_there_gives_nothing(alice: MemorySession) -> None:
    assert alice.search("anything") == []
    alice.delete(alice.add("anything")[0].id)
    assert alice.search("anything", filters={"priority": 5}) == []


def test_searching_is_read_your_own_writes(alice: MemorySession) -> None:
    for i in range(15):
        cube = alice.add(f"canary{i}")[0]
        assert alice.search(f"canary{i}", limit=1)[0].cube.id == cube.id


# Weights ---------------------------------------------------------------------------------------


def test_a_weight_of_0_turns_a_source_off(a_few: MemorySession) -> None:
    for policy, source in ((LEXICAL, "lexical"), (DENSE, "dense")):
        hits = a_few.search("plums", policy=policy)
        assert {tuple(hit.parts) for hit in hits} == {(source,)}
        assert hits[0].score == 1.0


def test_without_meaning_the_embedder_is_not_asked(open_store: Opener) -> None:
    class Silent(WordEmbedder):
        def embed_query(self, text: str) -> Any:
            if text == "plums":
                raise AssertionError("asked")
            return super().embed_query(text)

    session = open_store(embedder=Silent(), search_policy=LEXICAL).session("alice")
    session.add("plums and pears")
    assert texts(session, "plums") == ["plums and pears"]


def test_weights_decide_between_words_and_meaning(alice: MemorySession) -> None:
    """ "plum" is a word of the first for the stemmer; the second shares the word "eat"."""
    alice.add(["plums", "eat"])
    query = "plum eat eat"
    assert texts(alice, query, policy=SearchPolicy(dense=5, lexical=0.1))[0] == "eat"
    assert alice.search(query, policy=LEXICAL)[0].parts.keys() == {"lexical"}


def test_recency_prefers_the_new(alice: MemorySession, clock: FakeClock) -> None:
    alice.add("we meet on Monday in the library")
    clock.advance(days=90)
    alice.add("we meet on Friday in the library")
    query = "when do we meet in the library"
    for policy in (SearchPolicy(recency=1.0), SearchPolicy(recency=0.1, half_life_days=1)):
        newest, oldest = alice.search(query, policy=policy)
        assert newest.cube.text == "we meet on Friday in the library"
        assert newest.score > oldest.score


def test_recency_by_hand(alice: MemorySession, clock: FakeClock) -> None:
    alice.add("plums", event_time=NOON - timedelta(days=30))
    hit = alice.search("plums", policy=SearchPolicy(recency=1.0, half_life_days=30))[0]
    assert hit.score == pytest.approx((1.0 + 0.5) / 2)
    future = alice.add("pears", event_time=NOON + timedelta(days=300))[0]
    hit = alice.search("pears", limit=1, policy=SearchPolicy(recency=3.0))[0]
    assert hit.cube.id == future.id
    assert hit.score == pytest.approx(1.0), "what is to come is as new as today"


# Time ------------------------------------------------------------------------------------------


def test_time_in_a_question_raises_and_drops_nothing(alice: MemorySession) -> None:
    may, june = (datetime(2025, month, 15, tzinfo=UTC) for month in (5, 6))
    alice.add("we went hiking in the hills", event_time=june)
    alice.add("we went hiking by the lake", event_time=may)
    alice.add("we went hiking, I do not know when")
    asked = alice.search("where did we go hiking in May 2025?")
    assert asked[0].cube.event_time == may
    assert len(asked) == 3
    assert [("time: in May 2025" in hit.why) for hit in asked] == [True, False, False]
    off = alice.search("where did we go hiking in May 2025?", policy=SearchPolicy(event_time=0))
    assert {hit.cube.id for hit in off} == {hit.cube.id for hit in asked}


def test_when_it_was_said_counts_as_its_time_too(alice: MemorySession) -> None:
    said = datetime(2025, 5, 15, tzinfo=UTC)
    alice.add({"role": "user", "content": "we will hike on 3 June 2027", "timestamp": said})
    hit = alice.search("what hike did we talk about in May 2025?")[0]
    assert hit.cube.event_time != said
    assert "time: in May 2025" in hit.why


def test_a_window_drops_what_lies_outside(alice: MemorySession) -> None:
    for day in range(5):
        alice.add(f"hike on day {day}", event_time=NOON + timedelta(days=day))
    alice.add("hike on no day", event_time=None)
    window = TimeWindow(NOON + timedelta(days=1), NOON + timedelta(days=3))
    assert sorted(texts(alice, "hike", window=window)) == ["hike on day 1", "hike on day 2"]
    assert texts(alice, "hike", window=TimeWindow(end=NOON)) == []
    assert len(texts(alice, "hike", window=TimeWindow(start=NOON))) == 5
    assert len(texts(alice, "hike", window=TimeWindow())) == 6
    # The time in the question still only ranks.
    assert len(texts(alice, "hike on 2 January 2026", window=window)) == 2


# Repeats ---------------------------------------------------------------------------------------


def test_what_says_the_same_is_listed_once(alice: MemorySession) -> None:
    alice.add(["Maya is allergic to walnuts.", "maya is  allergic to WALNUTS", "Maya likes plums"])
    assert len(alice.search("Maya walnuts plums")) == 2
    alice.add("Maya is allergic to walnuts.", speaker="Jonas")
    assert len(alice.search("Maya walnuts plums")) == 3, "another says so, too"


def test_nearly_the_same_words_are_listed_once(alice: MemorySession) -> None:
    long = " ".join(f"word{i}" for i in range(30))
    alice.add([long, f"{long} indeed", "plums"])
    found = texts(alice, "word3 word4")
    assert (len(found), found[0].startswith(long), found[1]) == (2, True, "plums")
    policy = SearchPolicy(same_words=1.0)
    assert len(texts(alice, "word3 word4", policy=policy)) == 3


def test_repeats_do_not_take_the_place_of_others(alice: MemorySession) -> None:
    """A turn that was said fifty times leaves room for what else there is."""
    alice.add(["the walnuts"] * 50 + ["walnuts make Maya ill", "she eats walnuts never"])
    assert len(texts(alice, "the walnuts", limit=3)) == 3


def test_the_best_of_the_repeats_is_the_one_listed(alice: MemorySession) -> None:
    first = alice.add("Maya moved to Oslo")[0]
    alice.add("Maya moved to Oslo")
    assert [hit.cube.id for hit in alice.search("Maya Oslo")] == [first.id]
    alice.delete(first.id)
    assert len(alice.search("Maya Oslo")) == 1


# Uses ------------------------------------------------------------------------------------------


def uses(session: MemorySession) -> dict[str, int]:
    return {cube.text: cube.header.behaviour.uses for cube in session.list()}


def test_a_use_is_a_hit_that_was_returned(alice: MemorySession) -> None:
    alice.add(["plums and pears", "plums", "rain"])
    alice.search("plums", limit=1)
    assert uses(alice) == {"plums and pears": 0, "plums": 1, "rain": 0}
    alice.search("plums", limit=2)
    assert uses(alice) == {"plums and pears": 1, "plums": 2, "rain": 0}
    alice.search("plums", min_score=1.0)
    assert uses(alice) == {"plums and pears": 1, "plums": 3, "rain": 0}
    assert [hit.cube.header.behaviour.uses for hit in alice.search("plums", limit=1)] == [3], (
        "as it stood when it was read"
    )


def test_reading_by_other_verbs_is_no_use(alice: MemorySession) -> None:
    cube = alice.add("plums")[0]
    for _ in range(3):
        alice.get(cube.id), alice.list(), alice.count(), alice.history(cube.id)
    assert uses(alice) == {"plums": 0}
    assert alice.get(cube.id).header.behaviour.last_used_at is None


def test_uses_survive_and_cool(
    alice: MemorySession, memory: MemOS, open_store: Opener, clock: FakeClock
) -> None:
    cube = alice.add("the trumpet")[0]
    for _ in range(3):
        alice.search("trumpet")
    used = alice.get(cube.id)
    assert (used.header.behaviour.uses, used.version) == (3, 1)
    assert used.header.behaviour.last_used_at == NOON
    assert used.header.behaviour.heat == 3.0
    memory.close()
    clock.advance(days=7)
    again = open_store(clock=clock).session("alice")
    assert again.get(cube.id).header.behaviour.uses == 3
    assert again.get(cube.id).header.behaviour.heat == pytest.approx(1.5)
    assert again.count({"uses": {"$gte": 3}}) == 1
    again.search("trumpet")
    assert again.get(cube.id).header.behaviour.heat == pytest.approx(2.5)
    assert again.get(cube.id).header.behaviour.last_used_at == NOON + timedelta(days=7)


def test_an_update_keeps_the_counters_and_the_version_chain(alice: MemorySession) -> None:
    cube = alice.add("the trumpet")[0]
    alice.search("trumpet")
    after = alice.update(cube.id, "the tuba")
    assert alice.get(cube.id).header.behaviour.uses == 1
    assert after.header.behaviour.previous_version == 1


# Index and scan --------------------------------------------------------------------------------


@pytest.fixture
def both(open_store: Opener, tmp_path: Path) -> tuple[MemorySession, MemorySession]:
    """The same history in a store that scans and in one with an index."""
    policies = IndexPolicy(), IndexPolicy(exact_below=10, check_every=0.1)
    scanned, indexed = (
        open_store(tmp_path / str(i), clock=FakeClock(), ids=CountingIds(), index_policy=policy)
        for i, policy in enumerate(policies)
    )
    for memory in (scanned, indexed):
        session = memory.session("alice")
        memory.session("bob").add([f"word{i}" for i in range(30)])
        added = session.add(
            [f"word{i % 13} word{i % 7} number{i}" for i in range(120)], tags=["all"]
        )
        for cube in added[::5]:
            session.update(cube.id, f"{cube.text} changed", tags=["all", "changed"])
        for cube in added[3::7]:
            session.delete(cube.id)
    assert indexed.vault.wait_for_index(60)
    assert (scanned.vault.index_state, indexed.vault.index_state) == ("idle", "ready")
    assert indexed.vault.audit_index() == ""
    return scanned.session("alice"), indexed.session("alice")


@pytest.mark.parametrize("query", ["word3 word5", "number40", "word12 word6 changed", "nothing"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"policy": DENSE},
        {"filters": {"tags": "changed"}},
        {"filters": {"tags": "all"}},
        {"filters": {"version": {"$gt": 1}}, "limit": 3},
        {"limit": 500},
    ],
    ids=repr,
)
def test_index_and_scan_give_the_same_hits(
    both: tuple[MemorySession, MemorySession], query: str, options: dict[str, Any]
) -> None:
    scanned, indexed = (session.search(query, **options) for session in both)
    assert [hit.cube.id for hit in scanned] == [hit.cube.id for hit in indexed]
    for one, other in zip(scanned, indexed, strict=True):
        assert one.cube == other.cube
        assert one.score == pytest.approx(other.score)
        assert one.parts == pytest.approx(other.parts, abs=1e-3)


def test_what_the_index_has_not_seen_yet_is_found(indexed: MemOS) -> None:
    alice = indexed.session("alice")
    added = alice.add([f"word{i}" for i in range(20)])
    assert indexed.vault.wait_for_index(60)
    for i in range(5):  # at once, whether the index followed or not
        cube = alice.add(f"canary{i}")[0]
        assert alice.search(f"canary{i}", limit=1, policy=DENSE)[0].cube.id == cube.id
        alice.delete(added[i].id)
        assert f"word{i}" not in texts(alice, f"word{i}", policy=DENSE)
        alice.update(added[i + 5].id, f"changed{i}")
        assert texts(alice, f"changed{i}", limit=1, policy=DENSE) == [f"changed{i}"]


def test_a_namespace_with_an_index_gives_no_hits_to_another(indexed: MemOS) -> None:
    indexed.session("alice").add([f"plums {i}" for i in range(20)])
    indexed.session("bob").add([f"pears {i}" for i in range(20)])
    assert indexed.vault.wait_for_index(60)
    found = indexed.session("bob").search("plums 7", limit=50)
    assert {hit.cube.namespace for hit in found} == {("bob",)}
    assert len(found) == 20


def test_of_equal_ranks_the_nearer_meaning_comes_first(alice: MemorySession) -> None:
    """First by meaning and second by words ties with second and first."""
    for said in (["plum plum pear", "plum"], ["plum", "plum plum pear"]):
        session = alice.below(str(said))
        session.add([*said, "rain"])
        hits = session.search("plum", limit=2)
        if hits[0].score == hits[1].score:
            assert hits[0].parts["dense"] >= hits[1].parts["dense"]
        assert hits[0].cube.text == "plum"
