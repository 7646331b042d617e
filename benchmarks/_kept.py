"""Answers of other memories kept in a folder: a run goes on where it stopped, or elsewhere.

One JSON file a row and conversation. So a memory that needs an environment of its own answers
there, and stands in one table with all the others here. Answers that were kept take no time:
the milliseconds of these rows are not those of a search. The folder knows other data by itself,
but no other version of a memory or an embedder: give each a folder of its own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from memos_integrations.evaluation.labelled import Conversation
from memos_integrations.evaluation.rows import Row, Search
from memos_integrations.evaluation.scoring import LONG, SHORT

_Answers = dict[str, dict[str, list[str]]]
"""A question to a limit to the ids of turns."""


def kept(rows: Mapping[str, Row], folder: Path, elsewhere: Iterable[str] = ()) -> dict[str, Row]:
    """The rows, each conversation asked once; and those of ``elsewhere`` that were kept."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {name for name in elsewhere if any(folder.glob(f"{_slug(name)}.*.json"))}
    return {
        **{name: _row(name, row, folder) for name, row in rows.items()},
        **{name: _row(name, _nowhere(name), folder) for name in elsewhere if name in known},
    }


def _row(name: str, row: Row, folder: Path) -> Row:
    def fill(conversation: Conversation) -> Search:
        path = folder / f"{_slug(name)}.{_slug(conversation.id)}.{_digest(conversation)}.json"
        if not path.exists():
            _write(path, _answers(conversation, row(conversation)))
        answers: _Answers = json.loads(path.read_text())
        return lambda question, limit: answers[question][str(limit)]

    return fill


def _answers(conversation: Conversation, search: Search) -> _Answers:
    return {
        asked.text: {str(limit): search(asked.text, limit) for limit in (SHORT, LONG)}
        for asked in conversation.questions
    }


def _write(path: Path, answers: _Answers) -> None:
    """Whole or not at all."""
    half = path.with_suffix(".half")
    half.write_text(json.dumps(answers))
    half.replace(path)


def _nowhere(name: str) -> Row:
    def fill(conversation: Conversation) -> Search:
        raise SystemExit(f"{name}: conversation {conversation.id} was not kept; run it there")

    return fill


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _digest(conversation: Conversation) -> str:
    """Of all that is said and asked: other data are other answers."""
    whole = repr((conversation.turns, [asked.text for asked in conversation.questions]))
    return hashlib.sha256(whole.encode()).hexdigest()[:12]
