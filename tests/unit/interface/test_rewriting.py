"""What a caller's model or function makes of a question, well or badly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from memos_integrations import MemorySession, SearchPolicy
from memos_integrations.errors import InvalidInputError, ModelError
from memos_integrations.interface.rewriting import LONGEST, MOST, wordings
from memos_integrations.recall import Recall, RecallPolicy


@dataclass
class Message:
    content: Any


@dataclass
class Completion:
    text: str


class ChatModel:
    """As LangChain's: ``invoke``, and a message with ``content``."""

    def __init__(self, content: Any) -> None:
        self.content, self.asked = content, []  # type: ignore[var-annotated]

    def invoke(self, prompt: str) -> Message:
        self.asked.append(prompt)
        return Message(self.content)


class Llm:
    """As LlamaIndex's: ``complete``, and a completion with ``text``."""

    def complete(self, prompt: str, formatted: bool) -> Completion:
        assert formatted
        return Completion(f"1. {prompt.splitlines()[-1].removeprefix('Question: ').upper()}!\n")


def test_a_chat_model_an_llm_and_a_function() -> None:
    chat = ChatModel("- her boat\n\n* her boat\n2) the sea\n")
    assert wordings(chat, "what?") == ("her boat", "the sea")
    assert chat.asked[0].endswith("Question: what?\n")
    assert wordings(ChatModel([{"type": "text", "text": "a boat"}]), "what?") == ("a boat",)
    assert wordings(Llm(), "what?") == ("WHAT?!",)
    assert wordings(lambda question: [f"{question} again"], "what") == ("what again",)
    assert wordings(lambda _: "one\ntwo", "what") == ("one", "two")


def test_what_cannot_be_searched_is_left_out() -> None:
    def odd(_: str) -> list[Any]:
        long = "x" * (LONGEST + 1)
        return ["", " ", "What?", long, 7, None, "a\x00b\ud800", *(f"w{n}" for n in range(9))]

    assert wordings(odd, "what?") == ("a b", "w0", "w1", "w2")
    assert len(wordings(odd, "what?")) == MOST


def test_faults_have_one_type_and_say_what_to_do() -> None:
    def broken(_: str) -> list[str]:
        raise TimeoutError("no answer")

    with pytest.raises(ModelError, match=r"TimeoutError: no answer.*without `rewrite`"):
        wordings(broken, "what?")

    async def late(_: str) -> list[str]:
        return ["too late"]

    for wrong in (7, "a model", late):
        with pytest.raises(InvalidInputError, match="LangChain chat model"):
            wordings(wrong, "what?")
    with pytest.raises(InvalidInputError, match="give strings"):
        wordings(lambda _: 7, "what?")


@pytest.fixture
def fleet(alice: MemorySession) -> MemorySession:
    alice.add(["plums ripen in autumn", "the kayak leaks", "rain again", "snow again"])
    return alice


def test_a_memory_counts_by_the_best_wording(fleet: MemorySession) -> None:
    words = SearchPolicy(dense=0.0)
    assert fleet.search("vessel", policy=words) == []
    [hit] = fleet.search("vessel", policy=words, rewrite=lambda _: ["kayak", "nothing"])
    assert hit.cube.text == "the kayak leaks"
    assert hit.why.endswith("; asked as 'kayak'")
    same = fleet.search("kayak", policy=words, rewrite=lambda _: ["plums"], limit=1)
    assert [one.cube.text for one in same] in (["the kayak leaks"], ["plums ripen in autumn"])
    with pytest.raises(ModelError):
        fleet.search("kayak", rewrite=lambda _: 1 / 0)


def test_a_question_of_two_parts_finds_both(fleet: MemorySession) -> None:
    question = "When do plums ripen and what does the kayak do? Who said snow again?"
    words = SearchPolicy(dense=0.0, two_parts=1.0)
    hits = fleet.search(question, policy=words, limit=3)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert all(hit.score == 1.0 for hit in hits)
    assert all(
        0 < hit.score <= 1 for hit in fleet.search(question, policy=SearchPolicy(two_parts=0.5))
    )


def test_a_part_counts_no_more_than_the_whole() -> None:
    with pytest.raises(InvalidInputError, match="two_parts"):
        SearchPolicy(two_parts=1.5)


def test_the_past_is_asked_in_other_words_too(fleet: MemorySession) -> None:
    fleet.snapshot("then")
    fleet.add("the kayak is mended")
    words = SearchPolicy(dense=0.0)
    then = fleet.as_of("then").search("vessel", policy=words, rewrite=lambda _: ["kayak"])
    assert [hit.cube.text for hit in then] == ["the kayak leaks"]


def test_recall_asks_once_and_goes_on_without(
    fleet: MemorySession, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []

    def rewrite(question: str) -> list[str]:
        asked.append(question)
        return ["kayak"]

    found = Recall(RecallPolicy(limit=2, rewrite=rewrite)).find(fleet, "vessel")
    assert "the kayak leaks" in {cube.text for cube in found}
    assert asked == ["vessel"]

    def broken(_: str) -> list[str]:
        raise OSError("down")

    found = Recall(RecallPolicy(limit=1, rewrite=broken)).find(fleet, "kayak")
    assert [cube.text for cube in found] == ["the kayak leaks"]
    assert "rewriting failed" in caplog.text
