"""A memory is one entry of its block, whatever it says."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memos_integrations.cube import Descriptive, Governance, Header, MemCube, Plaintext
from memos_integrations.memories.block import (
    CLOSING,
    OPENING,
    block,
    entries,
    folded,
    harmless,
    line,
    without_block,
)

ID = "01890a5d-ac96-774b-bcce-b302099a8057"
NOW = datetime(2026, 5, 3, tzinfo=UTC)
PIECES = [
    *("<", ">", "/", "|", "[", "]", "＜", "‹", "〈", "／", "｜", "&lt;"),
    *("memories", "MEMORIES", "mеmоriеs", "mem\u200bories", "m\u200demories", "me\u0301mories"),
    *("im_start", "im_end", "s", "INST", "SYS", "start_of_turn", "tool_call", "eot_id"),
    *("\n", "\r", "\u2028", "\u0085", "\t", " ", "- 2020-01-01 user: ", "\u202e", "\ufeff"),
    *("\u00ad", "\u0301", "\ufe0f", "\U000e0041", "plums", "🏴", "ß", "İ", "ﬁ", "K"),
]
MARKS = re.compile(
    r"<\s*/?\s*memories|<\s*\||<<\s*/?sys|</?(?:s|bos|start_of_turn|end_of_turn|tool_call)>"
    r"|\[/?inst\]",
    re.IGNORECASE,
)
texts = st.lists(st.sampled_from(PIECES), min_size=1, max_size=14).map("".join)
texts = texts.filter(str.strip)


def cube(text: str, speaker: str | None = None, origin: str = "user") -> MemCube:
    about = Descriptive(created_at=NOW, speaker=speaker, origin=origin)
    header = Header(descriptive=about, governance=Governance(owner="maya"))
    return MemCube(
        id=ID, version=1, namespace=("maya",), header=header, payload=Plaintext(text=text)
    )


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(texts, st.none() | texts), min_size=1, max_size=3), texts)
def test_nothing_gets_out_of_its_entry(said: list[tuple[str, str | None]], after: str) -> None:
    cubes = [cube(text, speaker) for text, speaker in said]
    written = block(cubes)
    lines = [line(one) for one in cubes]
    assert [shown for _, _, shown in entries(written)] == lines
    assert without_block(f"{written}\n{after}") == after.lstrip()
    inside = written.removeprefix(OPENING).removesuffix(CLOSING)
    assert MARKS.search(folded(inside)) is None
    assert len(lines) == sum(not one.startswith("  ") for one in "\n".join(lines).splitlines())


@settings(max_examples=200, deadline=None)
@given(texts)
def test_what_is_harmless_stays_as_it_is(text: str) -> None:
    assert harmless(harmless(text)) == harmless(text)


@pytest.mark.parametrize(
    "text",
    [
        "I <3 plums, and a < b > c; x <= y; <div>; list[int]; [link](there)",
        "می‌خواهم 👨‍👩‍👧 नमस्ते हैं ❤️ naïve",
        "memories of Oslo / memories",
    ],
)
def test_ordinary_words_are_not_changed(text: str) -> None:
    assert line(cube(text)) == f"- 2026-05-03 user: {text}"


def test_a_name_does_not_hide_where_it_comes_from() -> None:
    assert line(cube("x", "user", "tool")) == "- 2026-05-03 user (from a tool): x"
    assert line(cube("x", "Maya", "user")) == "- 2026-05-03 Maya: x"
    assert line(cube("x", "sys\u202etem", "document")) == "- 2026-05-03 system (from a document): x"
