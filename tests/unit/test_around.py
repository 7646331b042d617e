"""The turns around a memory: which they are, who sees them, and what a recall does with them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from memos_integrations import MemorySession, MemOS
from memos_integrations.errors import InvalidInputError
from memos_integrations.memories.block import block
from memos_integrations.recall import Recall, RecallPolicy, about_tokens

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SAID = ("good day", "which boat?", "the kayak", "it leaks", "and now?", "we swim")


@pytest.fixture
def said(alice: MemorySession) -> list[str]:
    """Six turns, the last of them the next day."""
    times = [NOON + timedelta(minutes=n) for n in range(5)] + [NOON + timedelta(days=1)]
    turns = [
        {"role": "user", "content": text, "timestamp": time}
        for text, time in zip(SAID, times, strict=True)
    ]
    return [cube.id for cube in alice.add(turns)]


def near(session: MemorySession, id: str, turns: int = 1) -> list[str]:
    return [cube.text for cube in session.around([id], turns=turns)[0]]


def test_before_and_after_in_one_talk(alice: MemorySession, said: list[str]) -> None:
    assert near(alice, said[2]) == ["which boat?", "it leaks"]
    assert near(alice, said[2], 2) == ["good day", "which boat?", "it leaks", "and now?"]
    assert near(alice, said[0]) == ["which boat?"]
    assert near(alice, said[4]) == ["it leaks"]  # what comes next is of another day
    assert near(alice, said[5]) == []
    both = alice.around([said[4], said[0], said[4]])
    assert [[cube.text for cube in each] for each in both] == [
        ["it leaks"],
        ["which boat?"],
        ["it leaks"],
    ]
    assert alice.around([]) == []


def test_facts_stand_alone(alice: MemorySession) -> None:
    one, _ = alice.add(["a fact", "another"])
    assert alice.around([one.id]) == [[]]


def test_they_pass_the_gate_and_the_filters(
    memory: MemOS, alice: MemorySession, said: list[str]
) -> None:
    alice.delete(said[1])
    assert near(alice, said[2], 2) == ["good day", "it leaks", "and now?"]
    only = alice.around([said[2]], turns=2, filters={"id": said[3]})
    assert [cube.text for cube in only[0]] == ["it leaks"]
    alice.archive(said[2])
    assert alice.around([said[2]]) == [[]]
    assert memory.session("bob").around([said[3]]) == [[]]


def test_what_may_not_be_read_is_not_shown(
    memory: MemOS, alice: MemorySession, said: list[str]
) -> None:
    memory.govern("root", homes=[("{principal}",)])
    alice.grant("bob", "read", id=said[2])
    alice.grant("bob", "read", id=said[3])
    bob = memory.session("bob", namespace=alice.namespace)
    assert [cube.text for cube in bob.around([said[2]], turns=2)[0]] == ["it leaks"]
    assert bob.around([said[1]]) == [[]]


def test_the_past_has_its_own(alice: MemorySession, said: list[str]) -> None:
    alice.snapshot("then")
    alice.delete(said[1])
    assert near(alice.as_of("then"), said[2]) == ["which boat?", "it leaks"]


@pytest.mark.parametrize("turns", [0, 3, True, "1"])
def test_how_many(alice: MemorySession, said: list[str], turns: int) -> None:
    with pytest.raises(InvalidInputError, match="turns"):
        alice.around([said[0]], turns=turns)
    with pytest.raises(InvalidInputError, match="around"):
        RecallPolicy(around=turns if turns else 9)


async def test_the_twin(alice: MemorySession, said: list[str]) -> None:
    assert await alice.aaround(said, turns=2) == alice.around(said, turns=2)


def texts(session: MemorySession, **policy: int) -> list[str]:
    found = Recall(RecallPolicy(limit=1, leave_out=(), **policy)).find(session, "the kayak")
    return [cube.text for cube in found]


def test_a_recall_shows_them_within_its_budget(alice: MemorySession, said: list[str]) -> None:
    assert texts(alice) == ["the kayak"]
    assert texts(alice, around=1) == ["which boat?", "the kayak", "it leaks"]
    least = about_tokens(block(alice.get_many([said[2]]))) + 12
    few = Recall(RecallPolicy(limit=1, around=2, token_budget=least, leave_out=()))
    found = few.find(alice, "the kayak")
    assert "the kayak" in {cube.text for cube in found} and len(found) < 5
    assert about_tokens(block(found)) <= least


def test_a_recall_leaves_out_around_what_it_leaves_out_else(
    alice: MemorySession, said: list[str]
) -> None:
    recall = Recall(RecallPolicy(limit=1, around=1))
    assert [cube.text for cube in recall.find(alice, "the kayak")] == ["the kayak", "it leaks"]
    again = recall.find(alice, "the kayak", seen=[said[3]])
    assert [cube.text for cube in again] == ["the kayak"]
    roomy = recall.find(alice, "the kayak", room=lambda cubes: len(cubes) < 2)
    assert [cube.text for cube in roomy] == ["the kayak"]
