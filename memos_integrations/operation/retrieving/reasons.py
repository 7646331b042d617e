"""Reasons: why a memory came back, in one line."""

from __future__ import annotations

from collections.abc import Mapping

from memos_integrations.cube import MemCube
from memos_integrations.infrastructure.lexical import telling_words
from memos_integrations.operation.retrieving.question import Question


def explain(
    cube: MemCube, ranks: Mapping[str, int], parts: Mapping[str, float], question: Question
) -> str:
    """Where each source had it, and what else spoke for it."""
    call = question.call
    reasons = []
    if "dense" in ranks:
        reasons.append(f"meaning #{ranks['dense']} (cosine {parts['dense']:.2f})")
    if "lexical" in ranks:
        shared = shared_words(question.words, cube)
        words = f": {', '.join(shared)}" if shared else ""
        reasons.append(f"words #{ranks['lexical']}{words}")
    if "links" in parts:
        reasons.append("linked to a better one")
    if "speaker" in parts:
        about = cube.header.descriptive.speaker
        reasons.append(f"said by {about}" if about else "about the one named")
    if "time" in parts:
        reasons.append(f"time: {call.phrase}" if call.phrase else "time")
    if "neighbours" in parts:
        reasons.append("beside what fits")
    if "talk" in parts and not ranks:
        reasons.append("in a talk that fits")
    return "; ".join(reasons) or "near one that was found"


def shared_words(question: str, cube: MemCube) -> list[str]:
    """The telling words that question and memory share, as the question has them (five at most)."""
    said = f"{cube.header.descriptive.speaker or ''} {cube.text}".lower()
    return [word for word in telling_words(question) if word[:5] in said][:5]
