"""Rankers learned from labelled conversations; and how good they are where they learned nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping

from memos_integrations.errors import FeedbackError
from memos_integrations.evaluation.labelled import Conversation, Labelled
from memos_integrations.evaluation.rows import Fill, Row, Search, searching
from memos_integrations.models.ranker import Ranker
from memos_integrations.models.ranking.judged import Judged
from memos_integrations.session import MemorySession

RANKER = "ranker, one left out"
"""The row: each conversation is searched with what the others have taught."""

_PAGE = 1_000


def left_out(data: Labelled) -> Callable[[Fill], Mapping[str, Row]]:
    """The row :data:`RANKER`, for :func:`memos_integrations.evaluation.rows.ours`."""

    def rows(fill: Fill) -> Mapping[str, Row]:
        known: dict[str, list[Judged]] = {}

        def row(conversation: Conversation) -> Search:
            others = [one for one in data.conversations if one.id != conversation.id]
            if not others:
                raise FeedbackError("one conversation alone: there is no other to learn from")
            for one in others:
                if one.id not in known:
                    known[one.id] = judged(fill(one), one)
            ranker = Ranker.train([each for one in others for each in known[one.id]])
            return searching(fill(conversation), reranker=ranker)

        return {RANKER: row}

    return rows


def learn(data: Labelled, fill: Fill) -> Ranker:
    """From all conversations."""
    return Ranker.train([each for one in data.conversations for each in judged(fill(one), one)])


def judged(session: MemorySession, conversation: Conversation) -> list[Judged]:
    """Its questions; a long turn stands in several memories, and all of them are right."""
    made_of = _made_of(session)
    return session.judge(
        (asked.text, [one for turn in sorted(asked.evidence) for one in made_of[turn]])
        for asked in conversation.questions
    )


def _made_of(session: MemorySession) -> Mapping[str, list[str]]:
    """The ids of the memories that were made of each turn."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    page = session.list(limit=_PAGE)
    while page:
        for cube in page:
            found[cube.header.descriptive.source or ""].append(cube.id)
        page = session.list(limit=_PAGE, after=page[-1].id)
    return found
