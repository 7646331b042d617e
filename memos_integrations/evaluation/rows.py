"""The rows of a table: ways to search a conversation, each under a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from memos_integrations.evaluation.labelled import Conversation, Turn
from memos_integrations.evaluation.remembering import RememberingEmbedder
from memos_integrations.memos import MemOS
from memos_integrations.operation.retrieving.policy import SearchPolicy
from memos_integrations.session import MemorySession

Search = Callable[[str, int], list[str]]
"""A question and a limit to the ids of turns, best first."""
Row = Callable[[Conversation], Search]
"""Fills a memory of its own with a conversation, and searches it."""
Fill = Callable[[Conversation], MemorySession]
"""The session in which a conversation stands."""

DEFAULT = "default"
"""The row that others are compared with."""

_PARTS: dict[str, dict[str, Any]] = {
    "meaning": {"dense": 0.0},
    "words": {"lexical": 0.0},
    "neighbours": {"neighbours": 0.0},
    "talk": {"talk": 0.0},
    "speaker": {"speaker": 0.0},
    "event time": {"event_time": 0.0},
    "dated": {"dated": 0.0},
    "question": {"question": 0.0},
    "brief": {"brief": 0.0},
}

_OFF: dict[str, dict[str, Any]] = {
    "question": {"question": 0.1},
    "brief": {"brief": 0.2},
    "two parts": {"two_parts": 1.0},
}
"""What is off in the default, and how it is turned on."""


def policies() -> dict[str, SearchPolicy]:
    """The default, and its two sources alone, without any other part."""
    bare: dict[str, Any] = {part: 0.0 for off in _PARTS.values() for part in off}
    return {
        DEFAULT: SearchPolicy(),
        "meaning alone": SearchPolicy(**{**bare, "dense": 1.0}),
        "words alone (BM25)": SearchPolicy(**{**bare, "lexical": 1.0}),
    }


def ablation(policy: SearchPolicy | None = None) -> dict[str, SearchPolicy]:
    """A policy, and the same without each part that is on in it, and with each that is off."""
    whole = policy or SearchPolicy()
    known = {field.name for field in fields(SearchPolicy)}
    rows = {DEFAULT: whole}
    for name, off in _PARTS.items():
        if off.keys() <= known and any(getattr(whole, part) for part in off):
            rows[f"without {name}"] = replace(whole, **off)
    for name, on in _OFF.items():
        if not any(getattr(whole, part) for part in on):
            rows[f"with {name}"] = replace(whole, **on)
    return rows


@contextmanager
def store(embedder: RememberingEmbedder) -> Iterator[Fill]:
    """A store for the time of an evaluation; each conversation stands in it once."""
    with TemporaryDirectory() as folder, MemOS.open(Path(folder), embedder=embedder) as memory:
        filled: dict[str, MemorySession] = {}

        def fill(conversation: Conversation) -> MemorySession:
            if conversation.id not in filled:
                filled[conversation.id] = _filled(memory, conversation)
            return filled[conversation.id]

        yield fill


@contextmanager
def ours(
    embedder: RememberingEmbedder,
    rows: Mapping[str, SearchPolicy],
    learned: Callable[[Fill], Mapping[str, Row]] | None = None,
) -> Iterator[dict[str, Row]]:
    """Rows over one :func:`store`.

    ``learned``: further rows over it, see :mod:`memos_integrations.evaluation.ranking`.
    """
    with store(embedder) as fill:
        made = {name: _row(fill, policy) for name, policy in rows.items()}
        yield {**made, **(learned(fill) if learned is not None else {})}


@contextmanager
def any_policy(embedder: RememberingEmbedder) -> Iterator[Callable[[SearchPolicy], Row]]:
    """The same, for policies that come up later."""
    with store(embedder) as fill:
        yield partial(_row, fill)


def _row(fill: Fill, policy: SearchPolicy) -> Row:
    return lambda conversation: searching(fill(conversation), policy=policy)


def _filled(memory: MemOS, conversation: Conversation) -> MemorySession:
    session = memory.session("evaluation", namespace=("evaluation", conversation.id))
    session.add([_message(turn) for turn in conversation.turns])
    return session


def _message(turn: Turn) -> dict[str, Any]:
    message = {"role": turn.role, "content": turn.text, "id": turn.id}
    if turn.speaker is not None:
        message["name"] = turn.speaker
    return message if turn.said_at is None else {**message, "timestamp": turn.said_at}


def searching(session: MemorySession, **options: Any) -> Search:
    """A search with these options of :meth:`MemorySession.search`."""

    def search(question: str, limit: int) -> list[str]:
        hits = session.search(question, limit=limit, **options)
        found = [hit.cube.header.descriptive.source for hit in hits]
        return list(dict.fromkeys(one for one in found if one is not None))

    return search
