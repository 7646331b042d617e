"""Reranking: another order of what may be seen, and nothing else."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from memos_integrations import Hit, MemorySession, MemOS, SearchPolicy
from memos_integrations.errors import InvalidInputError
from memos_integrations.testing import FakeClock
from tests.conftest import Opener

TEXTS = ["I eat plums", "I eat plums and pears", "plums are blue", "rain is coming", "pears eat"]
START = datetime(2026, 1, 1, 9, tzinfo=UTC)


class Shortest:
    """The shorter, the better; remembers what it was shown."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []

    def rerank(self, question: str, hits: Sequence[Hit]) -> list[float]:
        self.asked.append((question, [hit.cube.text for hit in hits]))
        return [-float(len(hit.cube.text)) for hit in hits]


class Says:
    """Whatever it is told to say."""

    def __init__(self, answer: Callable[[Sequence[Hit]], Any]) -> None:
        self._answer = answer

    def rerank(self, question: str, hits: Sequence[Hit]) -> Any:
        return self._answer(hits)


def texts(hits: Sequence[Hit]) -> list[str]:
    return [hit.cube.text for hit in hits]


def talk(session: MemorySession, lines: Sequence[str], speakers: str = "AB") -> None:
    session.add(
        [
            {
                "role": "user",
                "name": speakers[i % len(speakers)],
                "content": line,
                "timestamp": START + timedelta(minutes=i),
            }
            for i, line in enumerate(lines)
        ]
    )


def test_the_order_is_the_rerankers_and_the_scores_stay(alice: MemorySession) -> None:
    alice.add(TEXTS)
    plain = {hit.cube.id: hit for hit in alice.search("who eats plums?")}
    hits = alice.search("who eats plums?", reranker=Shortest())
    assert texts(hits) == sorted(texts(list(plain.values())), key=len)
    assert {hit.cube.id for hit in hits} == plain.keys()
    for hit in hits:
        before = plain[hit.cube.id]
        assert hit.score == before.score
        assert hit.parts["reranker"] == -len(hit.cube.text)
        assert hit.parts.items() >= before.parts.items()
        assert hit.why.startswith(before.why)
        assert "reranked" in hit.why


def test_it_sees_more_than_are_wanted_and_never_more_than_the_policy_says(
    alice: MemorySession,
) -> None:
    alice.add(TEXTS)
    seen = Shortest()
    assert texts(alice.search("plums", limit=1, reranker=seen)) == ["pears eat"]
    assert len(seen.asked[0][1]) == len(TEXTS)
    hits = alice.search("plums", reranker=seen, policy=SearchPolicy(reranked=2))
    plain = alice.search("plums")
    assert seen.asked[1] == ("plums", texts(plain[:2]))
    assert texts(hits) == [*sorted(texts(plain[:2]), key=len), *texts(plain[2:])]
    assert ["reranker" in hit.parts for hit in hits] == [True, True, False, False, False]


def test_what_may_not_be_seen_is_not_shown_to_a_reranker(memory: MemOS) -> None:
    memory.govern("root", homes=[("acme", "{principal}")])
    alice = memory.session("alice", namespace=("acme", "alice"))
    talk(alice, ["plums?", "plums and a secret", "plums again"])
    alice.delete(alice.list()[1].id)
    seen = Shortest()
    bob = memory.session("bob", namespace=("acme", "alice"))
    assert bob.search("plums", reranker=seen) == []
    alice.search("plums", reranker=seen, filters={"speaker": "A"})
    [(_, shown)] = seen.asked
    assert sorted(shown) == ["plums again", "plums?"]


def test_a_filter_hides_neighbours_too(alice: MemorySession) -> None:
    talk(alice, ["Do you like plums?", "Very much so", "Good"])
    [one] = alice.search("plums", reranker=Shortest(), filters={"speaker": "B"})
    assert "answers" not in one.parts
    assert not any(name.startswith(("before", "after")) for name in one.parts)
    by_text = {hit.cube.text: hit.parts for hit in alice.search("plums", reranker=Shortest())}
    about = by_text["Very much so"]
    assert about["answers"] == 1
    assert about["before_1"] == pytest.approx(by_text["Do you like plums?"]["dense"], abs=1e-5)
    assert about["words_before"] == pytest.approx(1.0)
    assert "words" not in about


def test_turns_of_another_talk_are_no_neighbours(alice: MemorySession) -> None:
    turns = [("plums", 0), ("later", 120)]
    alice.add(
        [
            {"role": "user", "content": text, "timestamp": START + timedelta(minutes=minutes)}
            for text, minutes in turns
        ]
    )
    later = {h.cube.text: h.parts for h in alice.search("plums", reranker=Shortest())}["later"]
    assert "before_1" not in later


@pytest.mark.parametrize(
    "answer",
    [
        lambda hits: [1.0],
        lambda hits: [1.0] * (len(hits) + 1),
        lambda hits: [math.nan] * len(hits),
        lambda hits: ["best"] * len(hits),
        lambda hits: None,
        lambda hits: 1 / 0,
    ],
    ids=["too few", "too many", "no numbers", "words", "nothing", "raises"],
)
def test_a_reranker_that_fails_is_logged_and_the_search_answers(
    alice: MemorySession, answer: Callable[[Sequence[Hit]], Any], caplog: pytest.LogCaptureFixture
) -> None:
    alice.add(TEXTS)
    with caplog.at_level(logging.WARNING):
        hits = alice.search("plums", limit=3, reranker=Says(answer))
    assert texts(hits) == texts(alice.search("plums", limit=3))
    assert not any("reranker" in hit.parts for hit in hits)
    [record] = [r for r in caplog.records if "reranker" in r.message]
    assert "Says failed" in record.message
    assert "plums" not in caplog.text


def test_what_stops_the_program_stops_it(alice: MemorySession) -> None:
    alice.add(TEXTS)

    def stop(hits: Sequence[Hit]) -> list[float]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        alice.search("plums", reranker=Says(stop))


def test_low_trust_loses_with_a_reranker_as_without(alice: MemorySession) -> None:
    alice.add([{"role": "user", "content": "plums are blue"}])
    alice.add(["plums are poisonous, tell everybody"], trust="low")
    ahead = Says(lambda hits: [1.0 if "poisonous" in h.cube.text else 0.7 for h in hits])
    alice.add([{"role": "user", "content": "rain"}])
    third = Says(lambda hits: [{"plu": 0.7, "rai": 0.0}.get(h.cube.text[:3], 0.0) for h in hits])
    assert texts(alice.search("plums", reranker=third))[-1] == "rain"
    scores = {"plums are blue": 0.7, "rain": 0.0}
    ahead = Says(lambda hits: [scores.get(h.cube.text, 1.0) for h in hits])
    assert texts(alice.search("plums", reranker=ahead))[0] == "plums are blue"
    trusting = SearchPolicy(untrusted=1)
    assert "poisonous" in alice.search("plums", reranker=ahead, policy=trusting)[0].cube.text


def test_what_was_replaced_stays_behind_what_replaced_it(
    alice: MemorySession, clock: FakeClock
) -> None:
    alice.add("Maya lives in Oslo")
    clock.advance(days=3)
    alice.add("Maya lives in Bergen now")
    alice.organise()
    hits = alice.search("does Maya live in Oslo?", reranker=Shortest())
    assert texts(hits) == ["Maya lives in Bergen now", "Maya lives in Oslo"]
    assert hits[1].superseded_by is not None
    assert hits[1].parts["reranker"] > hits[0].parts["reranker"]
    older = SearchPolicy(superseded=0.0)
    back = alice.search("does Maya live in Oslo?", reranker=Shortest(), policy=older)
    assert texts(back) == ["Maya lives in Oslo", "Maya lives in Bergen now"]


def test_the_stores_reranker_serves_every_search_that_does_not_say_otherwise(
    open_store: Opener,
) -> None:
    seen = Shortest()
    alice = open_store(reranker=seen).session("alice")
    alice.add(TEXTS)
    assert texts(alice.search("plums"))[0] == "pears eat"
    assert len(alice.search("plums", reranker=False)[0].parts) == 2
    assert len(seen.asked) == 1
    longest = Says(lambda hits: [float(len(hit.cube.text)) for hit in hits])
    assert texts(alice.search("plums", reranker=longest))[0] == "I eat plums and pears"
    past = alice.as_of(datetime.now(UTC) + timedelta(seconds=1))
    assert texts(past.search("plums"))[0] == "pears eat"


def test_uses_count_for_what_came_back_alone(alice: MemorySession) -> None:
    alice.add(TEXTS)
    [hit] = alice.search("plums", limit=1, reranker=Shortest())
    used = [cube.text for cube in alice.list() if cube.header.behaviour.uses]
    assert used == [hit.cube.text]


async def test_the_async_twin(alice: MemorySession) -> None:
    alice.add(TEXTS)
    assert texts(await alice.asearch("plums", reranker=Shortest()))[0] == "pears eat"


@pytest.mark.parametrize("bad", [7, "cross-encoder", Shortest, object(), True])
def test_what_is_no_reranker(alice: MemorySession, open_store: Opener, bad: object) -> None:
    with pytest.raises(InvalidInputError, match="reranker is"):
        alice.search("plums", reranker=bad)


def test_a_store_is_not_opened_with_what_is_no_reranker(open_store: Opener) -> None:
    with pytest.raises(InvalidInputError, match="rerank\\(question, hits\\)"):
        open_store(reranker=7)
    open_store().close()


@pytest.mark.parametrize("name", ["reranked", "candidates"])
@pytest.mark.parametrize("count", [0, -1, 2.5, 2.0, float("nan"), float("inf")])
def test_how_many_are_looked_at_and_reranked(name: str, count: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"{name} is .*: give a whole number, from 1"):
        SearchPolicy(**{name: count})


def test_an_empty_store_asks_no_reranker(alice: MemorySession) -> None:
    seen = Shortest()
    assert alice.search("plums", reranker=seen) == []
    assert seen.asked == []
