"""MemReader, the rule version: messages and documents become drafts, a question a memory call.

It is the MemReader of the MemOS paper (arXiv 2507.03724) without a language model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from memos_integrations.checks import check_time, freeze_json
from memos_integrations.cube import Access, Draft, Plaintext
from memos_integrations.errors import InvalidInputError
from memos_integrations.interface.content import Item, read_items
from memos_integrations.interface.dates import scan_times
from memos_integrations.interface.questions import read_question
from memos_integrations.interface.semantic_types import semantic_type as type_of
from memos_integrations.query import MemoryCall, TimeWindow

_YEAR = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class _Given:
    """What the caller said about all items; it goes before what an item says of itself."""

    event_time: datetime | None
    said_at: datetime | None
    semantic_type: str | None
    origin: str | None
    speaker: str | None
    source: str | None
    metadata: Mapping[str, Any]
    rest: Mapping[str, Any]
    now: datetime


class MemReader:
    """Reads by rules. It holds no state, so threads may share one.

    ``chunk_chars`` is the longest text, in characters, of one memory: the default keeps within the
    256 tokens that MiniLM reads.
    """

    def __init__(self, *, chunk_chars: int = 1000) -> None:
        if isinstance(chunk_chars, bool) or not isinstance(chunk_chars, int) or chunk_chars < 1:
            raise InvalidInputError(f"chunk_chars must be a positive integer, not {chunk_chars!r}")
        self.chunk_chars = chunk_chars

    def read(
        self,
        content: object,
        *,
        now: datetime,
        event_time: datetime | None = None,
        said_at: datetime | None = None,
        tags: Sequence[str] = (),
        semantic_type: str | None = None,
        origin: str | None = None,
        speaker: str | None = None,
        source: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        priority: int = 5,
        expires_at: datetime | None = None,
        access: Access | None = None,
        sensitivity: Sequence[str] = (),
    ) -> list[Draft]:
        """Return one draft for each message or document, or several where the text is long.

        ``content``: a string, a message or document of LangChain, LlamaIndex or as a dict, or a
        list of these. A keyword goes before what an item says of itself; ``metadata`` is merged,
        keyword last. Times are aware datetimes.

        ``event_time`` of a draft is, in this order: the keyword, the item's own, the start of the
        first time phrase in its text (read against ``said_at``, else ``now``; in a document
        without a time of its own, only dates with a year), ``said_at``, or none. Phrases of a
        year or longer that hold that reference, such as "this year", are passed over.

        A long text is cut into chunks that, joined, are the text; each is read for its own time
        and type, has ``chunk`` (from 0) and ``chunks`` in its metadata, and has the item's
        ``source`` or one made from the whole text: ``text:`` and 16 hex digits.

        Raises :class:`InvalidInputError`, for the first item that cannot be stored as it is.
        """
        given = _Given(
            _checked_time(event_time, "event_time"),
            _checked_time(said_at, "said_at"),
            semantic_type,
            origin,
            speaker,
            source,
            _checked_metadata(metadata),
            {
                "tags": _checked_labels(tags, "tags"),
                "priority": priority,
                "expires_at": _checked_time(expires_at, "expires_at"),
                "access": access,
                "sensitivity": _checked_labels(sensitivity, "sensitivity"),
            },
            check_time(now, what="now"),
        )
        return [draft for item in read_items(content) for draft in self._drafts(item, given)]

    def ask(self, question: str, *, now: datetime) -> MemoryCall:
        """Return what ``question`` asks for: its words, time window and names.

        Raises :class:`InvalidInputError` for an empty question or a ``now`` without a zone.
        """
        return read_question(question, now=now)

    def _drafts(self, item: Item, given: _Given) -> Iterator[Draft]:
        source = given.source or item.source
        metadata = freeze_json({**item.metadata, **given.metadata})
        if len(item.text) <= self.chunk_chars:
            yield _draft(item.text, item, given, source, metadata)
            return
        from memos_integrations.interface.chunks import split  # a compiled library, seldom needed

        chunks = split(item.text, self.chunk_chars)
        source = source or f"text:{hashlib.sha256(item.text.encode()).hexdigest()[:16]}"
        for i, chunk in enumerate(chunks):
            place = {"chunk": i, "chunks": len(chunks)}
            yield _draft(chunk, item, given, source, {**metadata, **place})


def _draft(
    text: str, item: Item, given: _Given, source: str | None, metadata: Mapping[str, Any]
) -> Draft:
    said_at = given.said_at or item.said_at
    reference = said_at or (None if item.is_document else given.now)
    phrase, moment = _when(text, reference)
    event_time = given.event_time or item.event_time or moment or said_at
    kind = given.semantic_type
    if kind is None:
        kind = "fact" if item.is_document else type_of(text, phrase=phrase)
    try:
        return Draft(
            payload=Plaintext(text=text),
            event_time=event_time,
            said_at=said_at,
            origin=given.origin or item.origin,
            role=item.role,
            speaker=item.speaker if given.speaker is None else given.speaker,
            source=source,
            semantic_type=kind,
            metadata=metadata,
            **given.rest,
        )
    except ValidationError as error:
        raise InvalidInputError(_one_line(error)) from None


def _when(text: str, reference: datetime | None) -> tuple[str, datetime | None]:
    """The first time phrase of ``text``, and the start of the first one that dates it.

    A year or more with ``reference`` in it dates nothing: "the first person this year" speaks of
    the day it was said.
    """
    phrase = ""
    for found, window in scan_times(text, reference):
        phrase = phrase or found.group()
        if reference is None or reference not in window or not _is_long(window):
            return phrase, window.start
    return phrase, None


def _is_long(window: TimeWindow) -> bool:
    bounds = window.start, window.end
    return bounds[0] is None or bounds[1] is None or bounds[1] - bounds[0] >= _YEAR


def _one_line(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    return f"{'.'.join(map(str, first['loc']))}: {message} (got {first['input']!r:.80})"


def _checked_time(moment: datetime | None, what: str) -> datetime | None:
    return None if moment is None else check_time(moment, what=what)


def _checked_metadata(metadata: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if metadata is not None and not isinstance(metadata, Mapping):
        raise InvalidInputError(f"metadata is a {type(metadata).__name__}: give a dict")
    return metadata or {}


def _checked_labels(labels: object, what: str) -> tuple[str, ...]:
    if isinstance(labels, str) or not isinstance(labels, Sequence | Set):
        raise InvalidInputError(f"{what} must be a list of strings, not {labels!r:.80}")
    return tuple(labels)
