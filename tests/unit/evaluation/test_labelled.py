"""Labelled data: LoCoMo, LongMemEval and one's own, and what is wrong in a file."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from memos_integrations.errors import InvalidInputError
from memos_integrations.evaluation.labelled import Labelled
from memos_integrations.evaluation.loading import load

LOCOMO: list[dict[str, Any]] = [
    {
        "sample_id": "conv-1",
        "conversation": {
            "speaker_a": "Ann",
            "speaker_b": "Bo",
            "session_1_date_time": "1:56 pm on 8 May, 2023",
            "session_1": [
                {"speaker": "Ann", "dia_id": "D1:1", "text": "I bought a kayak"},
                {
                    "speaker": "Bo",
                    "dia_id": "D1:2",
                    "text": "Look!",
                    "blip_caption": "a photo of a red door",
                },
            ],
        },
        "qa": [
            {"question": "What did Ann buy?", "evidence": ["D1:01"], "category": 4},
            {"question": "Which door?", "evidence": ["D1:2; D9:9"], "category": 1},
            {"question": "Nothing?", "evidence": ["D7:7"], "category": 2},
            {"question": "No id?", "evidence": ["somewhere"], "category": 2},
            {"question": "Unanswerable?", "evidence": ["D1:1"], "category": 5},
        ],
    }
]
LONGMEMEVAL: list[dict[str, Any]] = [
    {
        "question_id": "q1",
        "question_type": "single-session-user",
        "question": "Which tea?",
        "haystack_dates": ["2023/05/20 (Sat) 02:21", "2023/05/21 (Sun) 10:00"],
        "haystack_session_ids": ["s1", "s2"],
        "haystack_sessions": [
            [{"role": "user", "content": "I drink sencha", "has_answer": True}],
            [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}],
        ],
        "answer_session_ids": ["s1"],
    },
    {
        "question_id": "q2",
        "question_type": "multi-session",
        "question": "Whom did I greet?",
        "haystack_dates": ["2023/05/21 (Sun) 10:00"],
        "haystack_session_ids": ["s2"],
        "haystack_sessions": [
            [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
        ],
        "answer_session_ids": ["s2"],
    },
    {"question_id": "q3_abs"},
]
OWN: dict[str, Any] = {
    "name": "mine",
    "conversations": [
        {
            "id": "c",
            "turns": [{"id": "1", "text": "plums", "said_at": "2026-01-02T10:00:00Z"}],
            "questions": [{"text": "fruit?", "evidence": ["1"]}],
        }
    ],
}


def read(tmp_path: Path, raw: Any) -> Labelled:
    path = tmp_path / "data.json"
    path.write_text(raw if isinstance(raw, str) else json.dumps(raw))
    return load(path)


def test_locomo(tmp_path: Path) -> None:
    found = read(tmp_path, LOCOMO)
    [talk] = found.conversations
    assert [turn.text for turn in talk.turns] == [
        "I bought a kayak",
        "Look! [a photo of a red door]",
    ]
    assert talk.turns[0].said_at == datetime(2023, 5, 8, 13, 56, tzinfo=UTC)
    assert talk.turns[0].line == "- 2023-05-08 Ann: I bought a kayak"
    assert [(one.category, set(one.evidence)) for one in talk.questions] == [
        ("single-hop", {"D1:1"}),
        ("multi-hop", {"D1:2"}),
    ]
    assert found.skipped == {
        "questions without usable evidence": 2,
        "evidence ids that do not exist": 2,
        "evidence without an id": 1,
    }


def test_longmemeval(tmp_path: Path) -> None:
    found = read(tmp_path, LONGMEMEVAL)
    first, second = found.conversations
    assert first.questions[0].evidence == {"s1:1"}
    assert [turn.session for turn in first.turns] == ["s1", "s2", "s2"]
    assert second.questions[0].evidence == {"s2:1"}
    assert found.skipped == {"questions without an answer": 1}
    assert (found.turns, found.questions) == (5, 2)


def test_ones_own(tmp_path: Path) -> None:
    found = read(tmp_path, OWN)
    assert (found.name, found.categories) == ("mine", ["all"])
    assert found.conversations[0].turns[0].line == "- 2026-01-02 user: plums"


def changed(**changes: Any) -> dict[str, Any]:
    return {"conversations": [{**OWN["conversations"][0], **changes}]}


TURN = OWN["conversations"][0]["turns"][0]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("{", "no JSON"),
        ([], "neither LoCoMo"),
        ({"turns": []}, "neither LoCoMo"),
        ({"conversations": []}, "conversations"),
        (changed(turns=[]), r"conversations.0.turns"),
        (changed(turns=[{**TURN, "who": "x"}]), r"turns.0.who"),
        (changed(turns=[{**TURN, "said_at": "2026-01-02T10:00:00"}]), r"turns.0.said_at"),
        (changed(turns=[TURN, TURN]), "two turns"),
        (changed(questions=[]), "no question"),
        (changed(questions=[{"text": "?", "evidence": ["2"]}]), "no turn has the id '2'"),
        ({"conversations": OWN["conversations"] * 2}, "two conversations"),
        ([{"conversation": {}, "qa": [{}]}], "not complete"),
        ([{"conversation": {}, "qa": []}], "not complete|no question"),
        ([{**LONGMEMEVAL[0], "haystack_dates": ["yesterday"] * 2}], "not complete"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, raw: Any, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        read(tmp_path, raw)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read"):
        load(tmp_path / "none.json")
