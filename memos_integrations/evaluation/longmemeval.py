"""LongMemEval (Wu et al., ICLR 2025): each question has a history of its own.

Evidence are the turns marked ``has_answer``, else all user turns of the answering sessions.
Questions that have no answer (``_abs``) are left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from memos_integrations.evaluation.labelled import Asked, Conversation, Labelled, Turn


def is_longmemeval(raw: Any) -> bool:
    """Whether this JSON looks like a file of LongMemEval."""
    return isinstance(raw, list) and bool(raw) and "haystack_sessions" in raw[0]


def longmemeval(raw: list[dict[str, Any]]) -> Labelled:
    """The questions of a file, each as a conversation."""
    skipped: Counter[str] = Counter()
    found = []
    for one in raw:
        if str(one["question_id"]).endswith("_abs"):
            skipped["questions without an answer"] += 1
        elif (conversation := _conversation(one)) is not None:
            found.append(conversation)
        else:
            skipped["questions without usable evidence"] += 1
    return Labelled("LongMemEval", tuple(found), skipped)


def _conversation(raw: dict[str, Any]) -> Conversation | None:
    turns = list(_turns(raw))
    sessions = set(map(str, raw["answer_session_ids"]))
    evidence = frozenset(turn.id for turn, answers in turns if answers)
    if not evidence:
        evidence = frozenset(
            turn.id for turn, _ in turns if turn.session in sessions and turn.role == "user"
        )
    if not evidence:
        return None
    asked = Asked(raw["question"], evidence, raw["question_type"])
    return Conversation(str(raw["question_id"]), tuple(turn for turn, _ in turns), (asked,))


def _turns(raw: dict[str, Any]) -> Iterator[tuple[Turn, bool]]:
    sessions, dates = raw["haystack_sessions"], raw["haystack_dates"]
    for name, at, said in zip(raw["haystack_session_ids"], dates, sessions, strict=True):
        day = re.sub(r"\s*\(\w+\)", "", at)
        moment = datetime.strptime(day, "%Y/%m/%d %H:%M").replace(tzinfo=UTC)
        for number, turn in enumerate(said, 1):
            made = Turn(
                id=f"{name}:{number}",
                text=turn["content"],
                role=turn["role"],
                said_at=moment,
                session=str(name),
            )
            yield made, bool(turn.get("has_answer"))
