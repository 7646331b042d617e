"""Rankers learned from labelled conversations: none learns from what it is examined on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from memos_integrations.cli import app
from memos_integrations.errors import FeedbackError
from memos_integrations.evaluation import ranking
from memos_integrations.evaluation.labelled import Asked, Conversation, Labelled, Turn
from memos_integrations.evaluation.ranking import RANKER, judged, learn, left_out
from memos_integrations.evaluation.remembering import RememberingEmbedder
from memos_integrations.evaluation.rows import DEFAULT, ours, store
from memos_integrations.evaluation.running import evaluate
from memos_integrations.evaluation.tokens import by_rule
from memos_integrations.models.ranker import Ranker
from memos_integrations.models.ranking.judged import Judged
from memos_integrations.testing import WordEmbedder

THINGS = ["kayak", "piano", "lamp", "teapot", "bicycle", "anchor", "ladder", "mirror"]


def talk(name: str) -> Conversation:
    """Of each thing an opinion and a number; the questions ask for numbers."""
    turns, questions = [], []
    for i, thing in enumerate(THINGS):
        turns.append(Turn(f"{i}a", f"The {thing} in the cellar is lovely", "Ann"))
        turns.append(Turn(f"{i}b", f"Seven of {thing} stand in some cellar, so many", "Ann"))
        evidence = frozenset({f"{i}b"})
        questions.append(Asked(f"How many {thing} are in the cellar?", evidence))
        questions.append(Asked(f"How many of {thing} has {name}?", evidence))
    return Conversation(name, tuple(turns), tuple(questions))


def house(count: int = 3) -> Labelled:
    return Labelled("houses", tuple(talk(f"c{i}") for i in range(count)))


@pytest.fixture
def embedder() -> RememberingEmbedder:
    return RememberingEmbedder(WordEmbedder())


def test_the_row_learns_from_the_others_alone(
    embedder: RememberingEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, seen = house(), []
    learned = Ranker.train

    def watched(feedback: list[Judged]) -> Ranker:
        seen.append(len(feedback))
        return learned(feedback)

    monkeypatch.setattr(ranking.Ranker, "train", watched)
    with ours(embedder, {}, left_out(data)) as rows:
        report = evaluate(data, rows, count=by_rule, embedder=embedder)
    assert list(report.rows) == [RANKER]
    assert seen == [32, 32, 32], "of 48 questions, those of the two others"
    assert report.mean(RANKER, "recall@1") == 1.0


def test_one_conversation_has_no_other(embedder: RememberingEmbedder) -> None:
    data = house(1)
    with (
        ours(embedder, {}, left_out(data)) as rows,
        pytest.raises(FeedbackError, match="no other"),
    ):
        evaluate(data, rows, count=by_rule)


def test_every_memory_of_a_long_turn_is_right(embedder: RememberingEmbedder) -> None:
    long = " ".join(f"The kayak number {i} is blue, and it floats very well." for i in range(200))
    turns = (Turn("1", long), Turn("2", "rain"))
    one = Conversation("c", turns, (Asked("kayak", frozenset({"1"})),))
    with store(embedder) as fill:
        [found] = judged(fill(one), one)
        assert found.wanted == fill(one).count() - 1 > 1


def test_learning_from_all(embedder: RememberingEmbedder) -> None:
    with store(embedder) as fill:
        assert learn(house(2), fill).questions == 32


def _file(folder: Path, data: Labelled) -> Path:
    plain: list[dict[str, Any]] = [
        {
            "id": one.id,
            "turns": [{"id": t.id, "text": t.text, "speaker": t.speaker} for t in one.turns],
            "questions": [{"text": q.text, "evidence": list(q.evidence)} for q in one.questions],
        }
        for one in data.conversations
    ]
    path = folder / "houses.json"
    path.write_text(json.dumps({"conversations": plain}))
    return path


def test_the_command_trains_and_checks(tmp_path: Path) -> None:
    data, out = str(_file(tmp_path, house())), tmp_path / "ranker.json"
    done = CliRunner().invoke(app, ["rank", "train", "--data", data, "--out", str(out), "--json"])
    assert json.loads(done.stdout) == {"written": str(out), "questions": 48}
    assert Ranker.load(out).questions == 48
    done = CliRunner().invoke(app, ["rank", "check", "--data", data, "--json"])
    assert set(json.loads(done.stdout)["rows"]) == {DEFAULT, RANKER}


def test_the_command_says_that_there_is_too_little(tmp_path: Path) -> None:
    data = str(_file(tmp_path, house(1)))
    out = tmp_path / "ranker.json"
    done = CliRunner().invoke(app, ["rank", "train", "--data", data, "--out", str(out)])
    assert done.exit_code != 0
    assert "it takes 20" in done.output
    assert not out.exists()
