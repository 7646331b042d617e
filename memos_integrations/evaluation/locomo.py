"""LoCoMo (Maharana et al., ACL 2024): sessions of two people, questions with evidence ids.

Categories 1 to 4; those of category 5 have no answer. Images count as their captions.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from memos_integrations.evaluation.labelled import Asked, Conversation, Labelled, Turn

CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop"}
_ID = re.compile(r"D:?(\d+):(\d+)")


def is_locomo(raw: Any) -> bool:
    """Whether this JSON looks like ``locomo10.json``."""
    return isinstance(raw, list) and bool(raw) and {"conversation", "qa"} <= set(raw[0])


def locomo(raw: list[dict[str, Any]]) -> Labelled:
    """The conversations of ``locomo10.json``, and what cannot be used of it."""
    skipped: Counter[str] = Counter()
    return Labelled("LoCoMo", tuple(_conversation(one, skipped) for one in raw), skipped)


def _conversation(sample: dict[str, Any], skipped: Counter[str]) -> Conversation:
    turns = tuple(_turns(sample["conversation"]))
    known = {turn.id for turn in turns}
    asked = [_asked(one, known, skipped) for one in sample["qa"] if one["category"] in CATEGORIES]
    return Conversation(sample["sample_id"], turns, tuple(one for one in asked if one))


def _turns(raw: dict[str, Any]) -> Iterator[Turn]:
    for number in sorted(int(k[8:]) for k in raw if re.fullmatch(r"session_\d+", k)):
        at = datetime.strptime(raw[f"session_{number}_date_time"], "%I:%M %p on %d %B, %Y")
        for said in raw[f"session_{number}"]:
            caption = said.get("blip_caption")
            yield Turn(
                id=said["dia_id"],
                text=said["text"] + (f" [{caption}]" if caption else ""),
                speaker=said["speaker"],
                said_at=at.replace(tzinfo=UTC),
                session=str(number),
            )


def _asked(raw: dict[str, Any], known: set[str], skipped: Counter[str]) -> Asked | None:
    ids: set[str] = set()
    for evidence in raw.get("evidence", []):
        named = {f"D{int(a)}:{int(b)}" for a, b in _ID.findall(str(evidence))}
        skipped["evidence without an id"] += not named
        ids |= named
    skipped["evidence ids that do not exist"] += len(ids - known)
    if not ids & known:
        skipped["questions without usable evidence"] += 1
        return None
    return Asked(str(raw["question"]), frozenset(ids & known), CATEGORIES[raw["category"]])
