"""Weights that are chosen on other conversations than the one that they are shown on."""

from __future__ import annotations

import pytest

from memos_integrations import SearchPolicy
from memos_integrations.evaluation.held_out import (
    GRID,
    NEUTRAL,
    SHOWN,
    HeldOut,
    leave_one_out,
)
from memos_integrations.evaluation.labelled import Asked, Conversation, Labelled, Turn
from memos_integrations.evaluation.remembering import RememberingEmbedder
from memos_integrations.evaluation.rows import Search, any_policy
from memos_integrations.evaluation.tables import held_out
from memos_integrations.evaluation.tokens import by_rule
from memos_integrations.testing import WordEmbedder


def talk(id: str) -> Conversation:
    turns = tuple(Turn(str(i), f"{id} {i}") for i in range(4))
    return Conversation(id, turns, (Asked(f"of {id}", frozenset({"3"})),))


DATA = Labelled("three", (talk("a"), talk("b"), talk("c"), Conversation("silent", (), ())))


def folds(likes: dict[str, float], asked: list[tuple[str, SearchPolicy]]) -> list[HeldOut]:
    """A search that finds the answer first only if the talk's own weight of ``dated`` is used."""

    def row_of(policy: SearchPolicy):  # type: ignore[no-untyped-def]
        def row(conversation: Conversation) -> Search:
            asked.append((conversation.id, policy))
            right = policy.dated == likes[conversation.id]
            return lambda question, limit: ["3", "0"] if right else ["0", "3"]

        return row

    return leave_one_out(DATA, row_of, by_rule, SearchPolicy())


def test_the_one_left_out_has_no_say() -> None:
    asked: list[tuple[str, SearchPolicy]] = []
    found = folds({"a": 0.3, "b": 0.15, "c": 0.15}, asked)
    assert [one.conversation for one in found] == ["a", "b", "c"]
    assert found[0].chosen["dated"] == 0.15  # b and c chose, and a is not served by it
    assert found[0].figures["chosen on the others"]["mrr"] == 0.5
    assert found[0].figures.keys() == {"plain hybrid", "chosen on the others", "default"}
    assert len(asked) == len(set(asked))  # nothing is asked twice


def test_where_nothing_helps_the_plain_hybrid_stays() -> None:
    found = folds(dict.fromkeys("abc", 9.0), [])
    assert all(one.chosen == {name: getattr(NEUTRAL, name) for name in GRID} for one in found)


def test_the_plain_hybrid_is_one() -> None:
    weights = {name: getattr(NEUTRAL, name) for name in GRID}
    assert {name for name, weight in weights.items() if weight} == {"lexical"}
    assert NEUTRAL.dense == NEUTRAL.lexical == 1.0


def test_with_a_store_and_as_tables() -> None:
    with any_policy(RememberingEmbedder(WordEmbedder())) as row_of:
        found = leave_one_out(DATA, row_of, by_rule, SearchPolicy())
    figures, chosen = held_out(found)
    assert len(figures.rows) == 9 and len(chosen.rows) == 3
    assert figures.columns[2:] == list(SHOWN)
    assert figures.rows[0][2] == pytest.approx(1.0)
