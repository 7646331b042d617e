"""Bad input: a typed error that says what would be right, and the store as it was before."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from memos_integrations import MemorySession, MemOS, SearchPolicy, TimeWindow
from memos_integrations.errors import (
    EmbedderMismatchError,
    EmbeddingDimensionError,
    EmbeddingError,
    InvalidFilterError,
    InvalidInputError,
    MemOSError,
    NotAStoreError,
    StoreCorruptError,
    StoreNotWritableError,
    StoreSchemaError,
)
from memos_integrations.infrastructure import schema
from memos_integrations.protocols import Vectors
from memos_integrations.testing import WordEmbedder

NAIVE = datetime(2026, 5, 1)
Act = Callable[[MemorySession], object]


@pytest.fixture
def unchanged(alice: MemorySession) -> Iterator[MemorySession]:
    """A session with one memory, which must be all there is afterwards."""
    kept = alice.add("the memory that was there before", tags=["kept"])[0]
    yield alice
    assert alice.list() == [alice.get(kept.id)]
    assert alice.get(kept.id).text == kept.text
    assert alice.count() == 1
    assert [hit.cube.id for hit in alice.search("memory before")] == [kept.id]
    alice.delete(alice.add("and it still takes new ones")[0].id)


BAD_CONTENT: list[tuple[Any, str]] = [
    ("", "empty"),
    ("  \n\t ", "empty"),
    ("x" * 10_000_000, "limit is 1,048,576"),
    ("nul \x00 byte", r"U\+0000 at position 4"),
    ("bell \x07", r"U\+0007"),
    ("lone \ud800 surrogate", "lone surrogate at position 5"),
    (None, "NoneType"),
    (42, "int"),
    ([], "nothing|no |empty|at least"),
    ([{"role": "user", "content": "fine"}, {"role": "user", "content": "\x00"}], "U"),
    ([{"role": "user", "content": "fine"}, 42], "int"),
    ({"role": "nobody", "content": "hi"}, "role"),
    ({"role": "user", "content": "hi", "timestamp": NAIVE}, "time zone"),
    ({"role": "user", "content": "hi", "timestamp": "yesterdayish"}, "time"),
]


@pytest.mark.parametrize(("content", "telling"), BAD_CONTENT, ids=range(len(BAD_CONTENT)))
def test_content(unchanged: MemorySession, content: Any, telling: str) -> None:
    with pytest.raises(InvalidInputError, match=telling):
        unchanged.add(content)
    with pytest.raises(InvalidInputError):
        unchanged.add(["good words", content] if not isinstance(content, list) else content)


BAD_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"event_time": NAIVE}, "time zone"),
    ({"event_time": "2026-05-01"}, "datetime"),
    ({"expires_at": NAIVE}, "time zone"),
    ({"tags": "one string"}, "list of strings"),
    ({"tags": [""]}, "empty"),
    ({"tags": [1]}, "tag"),
    ({"semantic_type": "Not A Word"}, "semantic_type"),
    ({"origin": "\x00"}, "origin"),
    ({"priority": 10}, "priority"),
    ({"priority": -1}, "priority"),
    ({"metadata": {"x": float("nan")}}, "finite"),
    ({"metadata": {1: "x"}}, "keys must be strings"),
    ({"metadata": {"x": object()}}, "JSON"),
    ({"metadata": {"x": "\ud800"}}, "surrogate"),
    ({"speaker": ""}, "empty"),
    ({"idempotency_key": ""}, "empty"),
]


@pytest.mark.parametrize(("options", "telling"), BAD_OPTIONS, ids=range(len(BAD_OPTIONS)))
def test_options_of_add(unchanged: MemorySession, options: dict[str, Any], telling: str) -> None:
    with pytest.raises(InvalidInputError, match=telling):
        unchanged.add("words", **options)


BAD_CALLS: list[tuple[Act, type[MemOSError], str]] = [
    *(
        (lambda s, n=n: s.search("memory", limit=n), InvalidInputError, "limit is")  # type: ignore[misc]
        for n in (-1, 0, True, 2.5, "3", 10_001)
    ),
    (lambda s: s.list(limit=-1), InvalidInputError, "limit is"),
    (lambda s: s.list(after="page two"), InvalidInputError, "not a memory id"),
    (lambda s: s.search(""), InvalidInputError, "empty"),
    (lambda s: s.search(None), InvalidInputError, "NoneType"),  # type: ignore[arg-type]
    (lambda s: s.search("\ud800"), InvalidInputError, "surrogate"),
    (lambda s: s.search("x", min_score=2), InvalidInputError, "0 to 1"),
    (lambda s: s.search("x", min_score=float("nan")), InvalidInputError, "0 to 1"),
    (lambda s: s.search("x", memory_type="words"), InvalidInputError, "plaintext"),
    (lambda s: s.search("x", filters={"colour": 1}), InvalidFilterError, "unknown filter field"),
    (lambda s: s.search("x", filters={"tags": {"$near": 1}}), InvalidFilterError, r"\$eq"),
    (lambda s: s.search("x", filters={"priority": "high"}), InvalidFilterError, "finite number"),
    (lambda s: s.search("x", filters={"priority": float("inf")}), InvalidFilterError, "number"),
    (lambda s: s.search("x", filters={"event_time": NAIVE}), InvalidFilterError, "time zone"),
    (lambda s: s.search("x", filters={"frozen": 1}), InvalidFilterError, "True or False"),
    (lambda s: s.search("x", filters={"speaker": {"$in": "Maya"}}), InvalidFilterError, "list"),
    (lambda s: s.search("x", filters={"speaker": {}}), InvalidFilterError, "nothing"),
    (lambda s: s.search("x", filters={"state": "asleep"}), InvalidFilterError, "unknown state"),
    (lambda s: s.search("x", filters=["tags"]), InvalidFilterError, "mapping"),  # type: ignore[arg-type]
    (lambda s: s.search("x", filters={'metadata.a"b': 1}), InvalidFilterError, "quotation"),
    (lambda s: s.search("x", window=TimeWindow(NAIVE)), InvalidInputError, "time zone"),
    (
        lambda s: TimeWindow(datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)),
        InvalidInputError,
        "swap",
    ),
    (lambda s: SearchPolicy(dense=0, lexical=0), InvalidInputError, "nothing would be searched"),
    (lambda s: SearchPolicy(recency=-1), InvalidInputError, "not negative"),
    (lambda s: s.get("not-an-id"), InvalidInputError, "ids look like"),
    (lambda s: s.get(7), InvalidInputError, "ids look like"),  # type: ignore[arg-type]
    (lambda s: s.delete("'; DROP TABLE cubes; --"), InvalidInputError, "ids look like"),
    (lambda s: s.get("01890a5d-ac96-774b-bcce-b302099a8057"), MemOSError, "no memory"),
    (lambda s: s.update(s.list()[0].id), InvalidInputError, "changes nothing"),
    (lambda s: s.update(s.list()[0].id, "\x00"), InvalidInputError, "control character"),
    (lambda s: s.update(s.list()[0].id, priority=99), InvalidInputError, "priority"),
    (lambda s: s.update(s.list()[0].id, expires_at=NAIVE), InvalidInputError, "time zone"),
    (lambda s: s.lineage(s.list()[0].id, depth=-1), InvalidInputError, "steps"),
    (lambda s: s.lineage(s.list()[0].id, direction="up"), InvalidInputError, "sources"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("act", "kind", "telling"), BAD_CALLS, ids=range(len(BAD_CALLS)))
def test_calls(unchanged: MemorySession, act: Act, kind: type[MemOSError], telling: str) -> None:
    with pytest.raises(kind, match=telling):
        act(unchanged)


@pytest.mark.parametrize(
    "namespace", [(), "", ("acme", ""), ("acme", 7), ("a\x00",), ("\ud800",), 7, {"a": 1}]
)
def test_namespaces(memory: MemOS, namespace: Any) -> None:
    with pytest.raises(InvalidInputError, match="namespace"):
        memory.session("alice", namespace=namespace)


@pytest.mark.parametrize("principal", ["", 7, None, "x\x00"])
def test_principals(memory: MemOS, principal: Any) -> None:
    with pytest.raises(InvalidInputError, match="principal"):
        memory.session(principal)


@pytest.mark.parametrize(
    "text",
    [
        "🙂 family 👨‍👩‍👧‍👦 and flags 🇳🇴",
        "שלום עולם and مرحبا بالعالم",
        "Zürich naïve ﬁne Ⅳ",
        "日本語のテキスト",
        "line one\nline two\twith tab\r\n",
        "quotes ' \" and -- ; DROP TABLE cubes",
        'NEAR("x" OR *) AND ^:{}',
        "x" * 1_000,
    ],
)
def test_unusual_but_right_text_is_kept_and_found(alice: MemorySession, text: str) -> None:
    alice.add("something else entirely")
    cube = alice.add(text)[0]
    assert alice.get(cube.id).text == text
    assert alice.search(text, limit=1)[0].cube.id == cube.id


def test_times_are_kept_in_utc(alice: MemorySession) -> None:
    moment = datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    cube = alice.add("tea at noon", event_time=moment)[0]
    assert cube.event_time == moment
    assert cube.event_time.utcoffset() == timedelta(0)
    assert alice.count({"event_time": moment}) == 1


# The folder ------------------------------------------------------------------------------------


def refused(path: Path, kind: type[MemOSError], telling: str) -> None:
    before = _content(path)
    with pytest.raises(kind, match=telling):
        MemOS.open(path, embedder=WordEmbedder())
    assert _content(path) == before


def _content(path: Path) -> dict[str, bytes]:
    """What a folder holds, apart from the lock that looking at it leaves."""
    if not path.is_dir():
        return {}
    kept = (p for p in path.iterdir() if p.is_file() and p.name != "lock")
    return {p.name: p.read_bytes() for p in kept if not p.name.endswith(("-shm", "-wal"))}


def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    refused(tmp_path, NotAStoreError, "thesis.tex")


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    refused(file, NotAStoreError, "is a file")
    refused(file / "below", NotAStoreError, "is a file")


def test_a_database_of_somebody_else(folder: Path) -> None:
    folder.mkdir()
    with sqlite3.connect(folder / "memory.db") as other:
        other.execute("CREATE TABLE cats (name)")
    other.close()
    with pytest.raises(NotAStoreError, match="another program"):
        MemOS.open(folder, embedder=WordEmbedder())


def test_a_zeroed_database(folder: Path, memory: MemOS) -> None:
    memory.close()
    database = folder / "memory.db"
    database.write_bytes(bytes(database.stat().st_size))
    refused(folder, StoreCorruptError, "damaged")


def test_a_newer_schema(folder: Path, memory: MemOS) -> None:
    memory.session("alice").add("kept")
    memory.close()
    with sqlite3.connect(folder / "memory.db") as newer:
        newer.execute("UPDATE alembic_version SET version_num = '9999'")
    newer.close()
    refused(folder, StoreSchemaError, "upgrade memos-integrations")
    with sqlite3.connect(folder / "memory.db") as back:
        back.execute("UPDATE alembic_version SET version_num = ?", (schema.HEAD_REVISION,))
    back.close()
    with MemOS.open(folder, embedder=WordEmbedder()) as again:
        assert again.session("alice").count() == 1


def test_a_folder_that_cannot_be_written() -> None:
    with pytest.raises((StoreNotWritableError, NotAStoreError), match=r"cannot be used|is a file"):
        MemOS.open("/proc/self/nothing/here", embedder=WordEmbedder())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become a user who may not write")
def test_a_store_of_another_user(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from memos_integrations import MemOS\n"
        "from memos_integrations.testing import WordEmbedder\n"
        "os.makedirs(sys.argv[1], mode=0o755)\n"
        "MemOS.open(sys.argv[1], embedder=WordEmbedder()).close()\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: MemOS.open(sys.argv[1], embedder=WordEmbedder())\n"
        "except Exception as error: print(type(error).__name__)\n"
    )
    for parent in (tmp_path, *tmp_path.parents[:-2]):
        parent.chmod(0o755)
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "theirs")], capture_output=True, text=True
    )
    assert ran.stdout.strip() == "StoreNotWritableError", ran.stderr


# The embedder ----------------------------------------------------------------------------------


class Failing(WordEmbedder):
    """Raises when it meets a word, or answers wrongly."""

    answer: object = None

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        if any("poison" in text for text in texts):
            raise ConnectionError("the provider hung up")
        return super().embed_documents(texts)


def test_an_embedder_that_raises_half_way(open_store: Callable[..., MemOS]) -> None:
    session = open_store(embedder=Failing()).session("alice")
    texts = [f"good number {i}" for i in range(300)] + ["poison"]
    with pytest.raises(EmbeddingError, match=r"hung up.*Nothing was stored"):
        session.add(texts)
    assert session.count() == 0
    assert session.search("good number 3") == []
    cube = session.add("good")[0]
    with pytest.raises(EmbeddingError):
        session.update(cube.id, "poison")
    assert session.get(cube.id).version == 1


def test_an_embedder_of_another_dimension(open_store: Callable[..., MemOS], folder: Path) -> None:
    memory = open_store()
    memory.session("alice").add("kept")
    memory.close()
    for other in (WordEmbedder(32), WordEmbedder(64, name="others"), WordEmbedder(revision="2")):
        with pytest.raises(EmbedderMismatchError, match="memcube reindex"):
            MemOS.open(folder, embedder=other)
    assert open_store().session("alice").count() == 1


def test_an_embedder_that_does_not_keep_its_word(open_store: Callable[..., MemOS]) -> None:
    liar = WordEmbedder(64)
    session = open_store(embedder=liar).session("alice")
    liar.embed_documents = WordEmbedder(32).embed_documents  # type: ignore[method-assign]
    with pytest.raises(EmbeddingDimensionError, match="dimension 32"):
        session.add("words")
    assert session.count() == 0
