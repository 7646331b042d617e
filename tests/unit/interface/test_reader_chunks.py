"""Long texts: every character stays, in chunks that can each be a memory."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from langchain_core.documents import Document

from memos_integrations.errors import InvalidInputError
from memos_integrations.interface import MemReader
from memos_integrations.interface.chunks import split

NOW = datetime(2023, 5, 10, 12, 0, tzinfo=UTC)
STORY = "".join(f"On day {day} the herons came back to the harbour.\n\n" for day in range(90))

PIECES = st.sampled_from(
    [
        "word ",
        "x" * 30,
        "\n\n",
        " " * 40,
        "\r\n",
        "Stop. ",
        "e\u0301",
        "👩‍👩‍👧",
        "\u200f",
        "\u2028",
        "。",
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=9), max_size=60).map("".join)


@given(TEXTS.filter(str.strip), st.integers(1, 60))
@example(" " * 200 + "x", 10)
@example("x" + " " * 200, 10)
@example("x" + " " * 200 + "y", 10)
@example("e" + "\u0301" * 200, 10)
def test_the_chunks_joined_are_the_text(text: str, longest: int) -> None:
    chunks = split(text, longest)
    assert "".join(chunks) == text
    assert all(chunk.strip() for chunk in chunks)


@given(st.lists(st.sampled_from(["word ", "Stop. ", "\n\n", "\n"]), max_size=90).map("".join))
def test_chunks_are_no_longer_than_asked_but_for_white_space(text: str) -> None:
    for chunk in split(text, 20):
        assert len(chunk.strip()) <= 20 or not text.strip()


def test_a_short_text_is_left_whole() -> None:
    (draft,) = MemReader(chunk_chars=5).read("abcde", now=NOW)
    assert (draft.payload.text, dict(draft.metadata), draft.source) == ("abcde", {}, None)  # type: ignore[union-attr]


def test_chunks_are_numbered_and_share_their_source() -> None:
    drafts = MemReader().read(STORY, now=NOW, metadata={"book": "Herons"})
    texts = [draft.payload.text for draft in drafts]  # type: ignore[union-attr]
    assert "".join(texts) == STORY
    assert len(texts) > 3 and max(map(len, texts)) <= 1000
    assert [dict(draft.metadata) for draft in drafts] == [
        {"book": "Herons", "chunk": i, "chunks": len(drafts)} for i in range(len(drafts))
    ]
    digest = hashlib.sha256(STORY.encode()).hexdigest()[:16]
    assert {draft.source for draft in drafts} == {f"text:{digest}"}


def test_a_source_that_is_known_is_kept() -> None:
    for content, options in (
        (Document(STORY, metadata={"source": "herons.txt"}), {}),
        (STORY, {"source": "herons.txt"}),
    ):
        drafts = MemReader().read(content, now=NOW, **options)  # type: ignore[arg-type]
        assert {draft.source for draft in drafts} == {"herons.txt"}


def test_each_chunk_has_its_own_time() -> None:
    text = "Founded in 1990 by Ann.\n\n" + "Nothing of note. " * 8 + "\n\nSold in 2005 to Bob."
    drafts = MemReader(chunk_chars=80).read({"text": text}, now=NOW)
    assert [draft.event_time and draft.event_time.year for draft in drafts] == [
        1990,
        *[None] * (len(drafts) - 2),
        2005,
    ]


@pytest.mark.parametrize("size", [0, -1, 2.5, True, None])
def test_a_chunk_size_is_a_positive_integer(size: object) -> None:
    with pytest.raises(InvalidInputError, match="chunk_chars"):
        MemReader(chunk_chars=size)  # type: ignore[arg-type]
