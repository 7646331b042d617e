"""Folders that cannot be opened are refused and left as they are; unusual names are names."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from memos_integrations import IndexPolicy, MemOS
from memos_integrations.errors import (
    InvalidInputError,
    MemOSError,
    NotAStoreError,
    StoreClosedError,
    StoreCorruptError,
    StoreLockedError,
    StoreNotWritableError,
    StoreSchemaError,
)
from memos_integrations.infrastructure import schema
from memos_integrations.testing import WordEmbedder

Opener = Callable[..., MemOS]


def refused(path: Path, kind: type[MemOSError], telling: str) -> None:
    """Opening raises, twice alike, and leaves the files as they are."""
    before = _content(path)
    for _ in range(2):
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
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"], "not even a lock"


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    refused(file, NotAStoreError, "is a file")
    refused(file / "below", NotAStoreError, "is a file")
    refused(Path("/dev/null"), NotAStoreError, "is a file")
    refused(Path("/dev/null/store"), NotAStoreError, "is a file")
    assert file.read_text() == "x"


def test_a_database_of_somebody_else(folder: Path) -> None:
    folder.mkdir()
    other = sqlite3.connect(folder / "memory.db")
    other.executescript("CREATE TABLE cats (name); INSERT INTO cats VALUES ('Tom')")
    other.close()
    refused(folder, NotAStoreError, "database of another program: choose a new folder")


def test_a_database_of_somebody_else_in_wal_mode(folder: Path) -> None:
    folder.mkdir()
    other = sqlite3.connect(folder / "memory.db")
    other.executescript("PRAGMA journal_mode=WAL; CREATE TABLE alembic_version (version_num);")
    with pytest.raises(NotAStoreError, match="another program"):
        MemOS.open(folder, embedder=WordEmbedder())
    assert other.execute("SELECT count(*) FROM alembic_version").fetchone() == (0,)
    other.close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: bytes(len(whole)),
        lambda whole: b"not a database at all" * 100,
        lambda whole: bytes(100) + whole[100:],
        lambda whole: whole[:50],
    ],
    ids=["zeroed", "overwritten", "without its header", "cut off"],
)
def test_a_damaged_database(folder: Path, memory: MemOS, damage: Callable[[bytes], bytes]) -> None:
    memory.session("alice").add("was here")
    memory.close()
    database = folder / "memory.db"
    database.write_bytes(damage(database.read_bytes()))
    refused(folder, StoreCorruptError, r"damaged.*restore it from a copy")


def test_a_newer_schema(folder: Path, memory: MemOS, open_store: Opener) -> None:
    memory.session("alice").add("kept")
    memory.close()
    _set_revision(folder, "9999")
    refused(
        folder,
        StoreSchemaError,
        f"schema 9999.*up to {schema.HEAD_REVISION}.*upgrade memos-integrations",
    )
    _set_revision(folder, schema.HEAD_REVISION)
    assert open_store().session("alice").count() == 1


def _set_revision(folder: Path, revision: str) -> None:
    database = sqlite3.connect(folder / "memory.db")
    with database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    database.close()


def test_a_store_that_is_open(memory: MemOS, folder: Path, open_store: Opener) -> None:
    memory.session("alice").add("kept")
    with pytest.raises(StoreLockedError, match="this process: use the MemOS object that is open"):
        MemOS.open(folder, embedder=WordEmbedder())
    with pytest.raises(StoreLockedError):
        MemOS.reindex(folder, embedder=WordEmbedder())
    assert memory.session("alice").count() == 1
    memory.close()
    assert open_store().session("alice").count() == 1


@pytest.mark.parametrize("path", ["/proc/self/nothing/here", "/proc/1/store", "/sys/store"])
def test_a_place_where_nothing_can_be_made(path: str) -> None:
    with pytest.raises(StoreNotWritableError, match="cannot be used"):
        MemOS.open(path, embedder=WordEmbedder())


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(StoreNotWritableError, match="too long"):
        MemOS.open(tmp_path / ("x" * 300), embedder=WordEmbedder())


@pytest.mark.parametrize("name", ["nul\x00byte", "\ud800"])
def test_a_name_that_is_none(tmp_path: Path, name: str) -> None:
    refused(tmp_path / name, InvalidInputError, "cannot be the name of a folder")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become a user who may not write")
@pytest.mark.parametrize("made", [True, False], ids=["a store", "an empty folder"])
def test_a_folder_of_another_user(tmp_path: Path, made: bool) -> None:
    script = (
        "import os, sys\n"
        "from memos_integrations import MemOS\n"
        "from memos_integrations.testing import WordEmbedder\n"
        "os.makedirs(sys.argv[1], mode=0o755)\n"
        f"if {made}: MemOS.open(sys.argv[1], embedder=WordEmbedder()).close()\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: MemOS.open(sys.argv[1], embedder=WordEmbedder())\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    for parent in (tmp_path, *tmp_path.parents[:-2]):
        parent.chmod(0o755)
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "theirs")], capture_output=True, text=True
    )
    assert ran.stdout.startswith("StoreNotWritableError"), ran.stdout + ran.stderr
    assert "theirs" in ran.stdout


@pytest.mark.parametrize(
    "name",
    ["a?x=1", "a#b", "100%20sure", "a::b", "memory:", "sp ace", "ünï", "it's", "[x]*", "a\nb", "~"],
)
def test_unusual_names_are_names(tmp_path: Path, name: str) -> None:
    """None of their characters is read as part of a URL or a pattern."""
    folder = tmp_path / name
    policy = IndexPolicy(exact_below=5)
    with MemOS.open(folder, embedder=WordEmbedder(), index_policy=policy) as memory:
        memory.session("alice").add([f"word{i}" for i in range(8)])
        digest = memory.vault.blobs.put(b"blob")
        assert memory.vault.wait_for_index(60)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert {path.name for path in folder.iterdir()} == {"blobs", "index", "lock", "memory.db"}
    with MemOS.open(folder, embedder=WordEmbedder(), index_policy=policy) as memory:
        assert memory.session("alice").search("word3", limit=1)[0].cube.text == "word3"
        assert memory.vault.blobs.get(digest) == b"blob"
        assert memory.vault.index_trouble == ""


def test_after_closing_every_verb_says_so(memory: MemOS) -> None:
    alice = memory.session("alice")
    cube = alice.add("words")[0]
    memory.close()
    memory.close()
    for verb in (
        lambda: alice.add("more"),
        lambda: alice.update(cube.id, "more"),
        lambda: alice.delete(cube.id),
        lambda: alice.get(cube.id),
        lambda: alice.search("words"),
        lambda: alice.history(cube.id),
        lambda: alice.lineage(cube.id),
        lambda: alice.count(),
        lambda: alice.list(),
        memory.stats,
    ):
        with pytest.raises(
            StoreClosedError, match=r"was closed: open it again with MemOS.open\(\)"
        ):
            verb()
