"""The figures by hand, an evaluation from end to end, and its report."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from memos_integrations import SearchPolicy
from memos_integrations.cli import app
from memos_integrations.evaluation.intervals import interval
from memos_integrations.evaluation.labelled import Asked, Conversation, Labelled, Turn
from memos_integrations.evaluation.pictures import write_report
from memos_integrations.evaluation.remembering import RememberingEmbedder
from memos_integrations.evaluation.report import Report
from memos_integrations.evaluation.rows import DEFAULT, ablation, ours, policies
from memos_integrations.evaluation.running import evaluate
from memos_integrations.evaluation.scoring import ndcg, reciprocal_rank, score
from memos_integrations.evaluation.tables import by_conversation, tables
from memos_integrations.evaluation.tokens import by_rule
from memos_integrations.testing import WordEmbedder

SAID = ("I bought a kayak", "what a day", "my sister paints doors", "rain again")


def data() -> Labelled:
    turns = tuple(Turn(str(i), text, "Ann", session=str(i // 2)) for i, text in enumerate(SAID))
    questions = (
        Asked("kayak", frozenset({"0"}), "things"),
        Asked("who paints doors?", frozenset({"2", "3"}), "people"),
    )
    return Labelled("four turns", (Conversation("c", turns, questions),))


def found(rows: dict[str, SearchPolicy] | None = None) -> Report:
    embedder = RememberingEmbedder(WordEmbedder())
    with ours(embedder, rows or policies()) as searches:
        return evaluate(data(), searches, count=by_rule, embedder=embedder)


def test_figures_by_hand() -> None:
    turns = {str(i): Turn(str(i), "a word", session=str(i // 10)) for i in range(40)}
    asked = Asked("?", frozenset({"3", "25"}))
    order = [str(i) for i in range(40)]
    figures = score(order[:10], order, asked, turns, cost=lambda _: 20)
    assert [figures[f"recall@{k}"] for k in (1, 5, 10, 20, 50)] == [0, 0.5, 0.5, 0.5, 1]
    assert (figures["hit@10"], figures["mrr"]) == (1, 1 / 4)
    assert figures["recall in 500 tokens"] == 0.5
    assert figures["recall in 1,000 tokens"] == 1
    assert figures["tokens of the first 10"] == 200
    assert (figures["session hit@10"], figures["session of the first 10"]) == (1, 1)
    best = 1 + 1 / math.log2(3)
    assert figures["ndcg@10"] == pytest.approx(1 / math.log2(5) / best)


def test_nothing_found() -> None:
    assert ndcg([], frozenset("a")) == reciprocal_rank(["b"], frozenset("a")) == 0


def test_an_interval_is_repeatable_and_holds_the_mean() -> None:
    values = np.array([0.0, 1.0] * 50)
    low, high = interval(values)
    assert (low, high) == interval(values)
    assert 0.35 < low < 0.5 < high < 0.65
    assert interval(np.ones(5)) == (1, 1)


def test_an_evaluation() -> None:
    report = found()
    assert list(report.rows) == [DEFAULT, "meaning alone", "words alone (BM25)"]
    assert report.mean("words alone (BM25)", "recall@10", category="things") == 1
    assert report.mean("words alone (BM25)", "recall@10", category="people") == 0.5
    assert report.mean(DEFAULT, "mrr") == 1
    assert report.lead(DEFAULT, DEFAULT, "mrr") == (0, 0)
    assert report.milliseconds(DEFAULT) > 0
    json.dumps(report.plain())


def test_each_part_of_the_default_is_taken_away_in_turn() -> None:
    rows = ablation()
    assert rows.pop(DEFAULT) == SearchPolicy()
    assert {"without meaning", "without words", "without speaker"} <= rows.keys()
    assert all(policy != SearchPolicy() for policy in rows.values())
    assert "without speaker" not in ablation(SearchPolicy(speaker=0))
    assert rows["with two parts"].two_parts == 1.0
    assert "with question" not in ablation(SearchPolicy(question=0.1))


def test_tables_and_pictures(tmp_path: Path) -> None:
    report = found()
    for table in (*tables(report), by_conversation(report, "recall@10")):
        assert all(len(row) == len(table.columns) for row in table.rows)
    image, page = write_report(report, tmp_path / "new" / "folder", "words <and> marks")
    assert image.read_bytes().startswith(b"\x89PNG")
    text = page.read_text()
    assert "four turns" in text and "words &lt;and&gt; marks" in text
    assert "http" not in text  # it needs no network


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memos_integrations.memos.default_embedder", WordEmbedder)
    monkeypatch.setattr(
        "memos_integrations.evaluation.tokens.counter", lambda: (by_rule, "words and marks")
    )
    turns = [{"id": str(i), "text": text} for i, text in enumerate(SAID)]
    talk = {"id": "c", "turns": turns, "questions": [{"text": "kayak", "evidence": ["0"]}]}
    file = tmp_path / "own.json"
    file.write_text(json.dumps({"conversations": [talk]}))
    shown = CliRunner().invoke(app, ["eval", "--data", str(file), "--ablation"])
    assert shown.exit_code == 0 and "without words" in shown.output, shown.output
    words = ["eval", "--data", str(file), "--report", str(tmp_path / "r"), "--json"]
    document = json.loads(CliRunner().invoke(app, words).output)
    assert document["rows"][DEFAULT]["all"]["mrr"] == 1
    assert (tmp_path / "r" / "report.html").exists()
    file.write_text("[]")
    assert CliRunner().invoke(app, ["eval", "--data", str(file)]).exit_code == 2
