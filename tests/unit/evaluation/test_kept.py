"""Kept answers (``benchmarks/locomo_retrieval.py --keep``): asked once, joined, never stale."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memos_integrations.evaluation.labelled import Asked, Conversation, Turn
from memos_integrations.evaluation.rows import Row, Search

TALK = Conversation(
    "a/b", tuple(Turn(str(i), f"word {i}") for i in range(3)), (Asked("word?", frozenset({"1"})),)
)


@pytest.fixture
def keep(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Row]]:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks"))
    module: Any = importlib.import_module("_kept")
    kept: Callable[..., dict[str, Row]] = module.kept
    return kept


class Counted:
    """A row that counts how often it was filled."""

    def __init__(self) -> None:
        self.filled = 0

    def __call__(self, conversation: Conversation) -> Search:
        self.filled += 1
        ids = [turn.id for turn in conversation.turns]
        return lambda question, limit: ids[:limit]


def test_asked_once(keep: Callable[..., dict[str, Row]], tmp_path: Path) -> None:
    row = Counted()
    for _ in range(2):
        assert keep({"one (two)": row}, tmp_path)["one (two)"](TALK)("word?", 10) == ["0", "1", "2"]
    assert row.filled == 1
    longer = replace(TALK, turns=(*TALK.turns, Turn("3", "word 3")))
    assert keep({"one (two)": row}, tmp_path)["one (two)"](longer)("word?", 100)[-1] == "3"
    assert row.filled == 2


def test_what_was_interrupted_is_asked_again(
    keep: Callable[..., dict[str, Row]], tmp_path: Path
) -> None:
    def broken(conversation: Conversation) -> Search:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keep({"row": broken}, tmp_path)["row"](TALK)
    row = Counted()
    assert keep({"row": row}, tmp_path)["row"](TALK)("word?", 10)
    assert row.filled == 1


def test_rows_from_elsewhere(keep: Callable[..., dict[str, Row]], tmp_path: Path) -> None:
    keep({"there": Counted()}, tmp_path)["there"](TALK)
    rows = keep({}, tmp_path, elsewhere=["there", "never"])
    assert list(rows) == ["there"]
    assert rows["there"](TALK)("word?", 10) == ["0", "1", "2"]
    with pytest.raises(SystemExit, match="c was not kept"):
        rows["there"](replace(TALK, id="c"))
