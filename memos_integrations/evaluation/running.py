"""Every row over every conversation: each question is asked twice, shortly and at length."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping

from memos_integrations.evaluation.labelled import Conversation, Labelled
from memos_integrations.evaluation.remembering import RememberingEmbedder
from memos_integrations.evaluation.report import Report, Scores
from memos_integrations.evaluation.rows import Row
from memos_integrations.evaluation.scoring import LONG, SHORT, Count, Figures, score

Progress = Callable[[str, str], None]
"""Called with a conversation and a row, before it is asked."""


def evaluate(
    data: Labelled,
    rows: Mapping[str, Row],
    *,
    count: Count,
    embedder: RememberingEmbedder | None = None,
    progress: Progress | None = None,
) -> Report:
    """All rows. ``count``: the tokens of a text. ``embedder``: whose work is no search's time."""
    figures: dict[str, list[Figures]] = defaultdict(list)
    took: dict[str, list[float]] = defaultdict(list)
    for conversation in data.conversations:
        for asked in conversation.questions if embedder is not None else ():
            assert embedder is not None
            embedder.embed_query(asked.text)
        for name, row in rows.items():
            if progress is not None:
                progress(conversation.id, name)
            found, milliseconds = _ask(conversation, row, count)
            figures[name] += found
            took[name] += milliseconds
    categories = [one.category for talk in data.conversations for one in talk.questions]
    talks = [talk.id for talk in data.conversations for _ in talk.questions]
    scores = {name: Scores.of(figures[name], took[name]) for name in rows}
    return Report(data, tuple(categories), tuple(talks), scores)


def _ask(conversation: Conversation, row: Row, count: Count) -> tuple[list[Figures], list[float]]:
    search = row(conversation)
    turns = {turn.id: turn for turn in conversation.turns}
    costs = {turn.id: count(turn.line) for turn in conversation.turns}
    figures, took = [], []
    for asked in conversation.questions:
        long = search(asked.text, LONG)
        started = time.perf_counter()
        short = search(asked.text, SHORT)
        took.append((time.perf_counter() - started) * 1_000)
        figures.append(score(short, long, asked, turns, costs.__getitem__))
    return figures, took
