"""A damaged, missing or hanging index is found, searches go on exactly, and it is rebuilt."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from memos_integrations import IndexPolicy, MemOS, SearchPolicy
from memos_integrations.infrastructure.renewals import Renewals
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.infrastructure.vectors import encode
from memos_integrations.interface.reader import MemReader
from memos_integrations.memos import new_id
from memos_integrations.protocols import SystemClock, VectorIndex, Vectors
from memos_integrations.testing import HangingIndex, WordEmbedder

POLICY = IndexPolicy(exact_below=100, check_every=0.1)
COUNT = 1_200  # enough for Chroma to write every kind of file it has


def delete(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def halve(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0b100
    path.write_bytes(content)


DAMAGES = [delete, empty, halve, zero, flip]
FILES = [
    "chroma.sqlite3",
    "data_level0.bin",
    "header.bin",
    "index_metadata.pickle",
    "length.bin",
    "link_lists.bin",
]


def text(number: int) -> str:
    return f"memory number{number} about subject{number % 97}"


@pytest.fixture(scope="module")
def closed_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with an index on disk, closed in good order."""
    folder = tmp_path_factory.mktemp("pristine") / "store"
    with MemOS.open(folder, embedder=WordEmbedder(), index_policy=POLICY) as memory:
        memory.session("alice").add([text(i) for i in range(COUNT)])
        assert memory.vault.wait_for_index(120)
        assert memory.vault.audit_index() == ""
    return folder


@pytest.fixture
def copy(closed_store: Path, folder: Path) -> Path:
    shutil.copytree(closed_store, folder)
    return folder


def find(folder: Path, name: str) -> Path:
    found = [path for path in (folder / "index").rglob(name) if path.stat().st_size]
    if not found:
        pytest.fail(f"Chroma no longer writes {name}: name the files it writes now")
    return found[0]


def assert_finds(memory: MemOS, numbers: range) -> None:
    session = memory.session("alice")
    for number in numbers:
        assert session.search(text(number), limit=1)[0].cube.text == text(number)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", FILES)
def test_a_file_damaged_while_closed(copy: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(find(copy, name))
    with MemOS.open(copy, embedder=WordEmbedder(), index_policy=POLICY) as memory:
        assert_finds(memory, range(5))  # at once
        assert memory.vault.wait_for_index(120)
        assert memory.vault.index_trouble, "the damage was not noticed"
        assert memory.vault.audit_index() == ""
        assert_finds(memory, range(0, COUNT, 100))


def test_the_whole_index_gone(copy: Path) -> None:
    shutil.rmtree(copy / "index")
    with MemOS.open(copy, embedder=WordEmbedder(), index_policy=POLICY) as memory:
        assert_finds(memory, range(5))
        assert memory.vault.wait_for_index(120)
        assert memory.vault.audit_index() == ""


def test_a_sound_index_is_not_rebuilt(copy: Path) -> None:
    before = sorted(path.name for path in (copy / "index").iterdir())
    with MemOS.open(copy, embedder=WordEmbedder(), index_policy=POLICY) as memory:
        assert memory.vault.wait_for_index(60)
        assert memory.vault.index_trouble == ""
        assert_finds(memory, range(0, COUNT, 300))
    assert sorted(path.name for path in (copy / "index").iterdir()) == before


def test_records_restored_from_an_older_copy(copy: Path, tmp_path: Path) -> None:
    """The index is sound and still not that of these records."""
    older = tmp_path / "older"
    shutil.copytree(copy, older)
    with MemOS.open(copy, embedder=WordEmbedder(), index_policy=POLICY) as memory:
        session = memory.session("alice")
        for cube in session.list(limit=50):
            session.delete(cube.id)
        session.add([f"later {text(i)}" for i in range(50)])
        assert memory.vault.wait_for_index(60)
    shutil.copy(older / "memory.db", copy / "memory.db")
    with MemOS.open(copy, embedder=WordEmbedder(), index_policy=POLICY) as memory:
        assert memory.session("alice").count() == COUNT
        assert memory.vault.wait_for_index(60)
        assert memory.vault.audit_index() == ""
        assert_finds(memory, range(60))


@pytest.mark.parametrize("damage", [delete, empty, halve], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", FILES)
def test_a_file_damaged_while_open(copy: Path, name: str, damage: Callable[[Path], None]) -> None:
    if name == "index_metadata.pickle" and damage is halve:
        pytest.skip("the table of ids may shrink by itself: found when the store is opened again")
    with MemOS.open(copy, embedder=WordEmbedder(), index_policy=POLICY) as memory:
        assert memory.vault.wait_for_index(60)
        session = memory.session("alice")
        session.add("one more, so that the keeper knows its files")
        assert memory.vault.wait_for_index(60)
        damage(find(copy, name))
        until = time.monotonic() + 60
        while not memory.vault.index_trouble and time.monotonic() < until:
            assert_finds(memory, range(2))
        assert memory.vault.index_trouble
        assert memory.vault.wait_for_index(120)
        assert memory.vault.audit_index() == ""
        assert_finds(memory, range(0, COUNT, 200))


def opened(folder: Path, policy: IndexPolicy, index: type[HangingIndex]) -> MemOS:
    """A store with an index that can be told to hang."""
    HangingIndex.hanging.clear()
    HangingIndex.released.clear()
    clock = SystemClock()
    return MemOS(
        MemVault(folder, clock=clock, policy=policy, index_opener=index),
        WordEmbedder(),
        reader=MemReader(),
        clock=clock,
        ids=new_id,
        search_policy=SearchPolicy(),
    )


@pytest.fixture
def hanging(folder: Path) -> Iterator[MemOS]:
    policy = IndexPolicy(exact_below=5, query_seconds=0.3, check_every=0.1)
    with opened(folder, policy, HangingIndex) as memory:
        yield memory
        HangingIndex.hanging.clear()
        HangingIndex.released.set()


def test_an_index_that_hangs(hanging: MemOS) -> None:
    session = hanging.session("alice")
    session.add([text(i) for i in range(20)])
    assert hanging.vault.wait_for_index(10)
    HangingIndex.hanging.set()
    assert_finds(hanging, range(20))
    assert "DeadlineExceeded" in hanging.vault.index_trouble
    HangingIndex.hanging.clear()
    HangingIndex.released.set()
    assert hanging.vault.wait_for_index(10)
    assert_finds(hanging, range(20))


def test_an_index_that_lies(hanging: MemOS) -> None:
    """Wrong vectors under right ids are seen at the first hit."""
    session = hanging.session("alice")
    session.add([text(i) for i in range(20)])
    assert hanging.vault.wait_for_index(10)
    index = hanging.vault._keeper._index
    assert index is not None

    def lie(one: VectorIndex) -> None:
        for keys, vectors in list(one.scan("ns-00000001")):
            one.upsert("ns-00000001", keys, vectors[::-1])

    index.call(10, lie)
    assert_finds(hanging, range(20))
    assert "not the vector in the records" in hanging.vault.index_trouble


class LateIndex(HangingIndex):
    """Its queries hang, and write a file when they come back."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._folder = folder

    def query(self, collection: str, vector: Vectors, limit: int) -> list[tuple[int, float]]:
        late = self.hanging.is_set()
        found = super().query(collection, vector, limit)
        if late:
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / "late.bin").write_bytes(encode(vector))
        return found


def test_a_renewal_waits_for_calls_that_nobody_waits_for(folder: Path) -> None:
    """Whoever was told that the former files are gone finds none later, either."""
    policy = IndexPolicy(exact_below=5, query_seconds=0.1, check_every=0.05)
    with opened(folder, policy, LateIndex) as memory:
        vault, session = memory.vault, memory.session("alice")
        session.add([text(i) for i in range(20)])
        assert vault.wait_for_index(10)
        HangingIndex.hanging.set()
        assert_finds(memory, range(1))
        HangingIndex.hanging.clear()
        assert not vault.renew_index(0.3)
        HangingIndex.released.set()
        assert vault.renew_index(10)
        assert not list((folder / "index").rglob("late.bin"))
        assert vault.wait_for_index(10)
        assert_finds(memory, range(20))


def test_a_renewal_that_had_begun_does_not_count() -> None:
    renewals = Renewals()
    first = renewals.ask()
    renewals.begin()
    second = renewals.ask()
    renewals.end()
    assert renewals.wait(first, 0) and not renewals.wait(second, 0)
    assert renewals.wanted and not renewals.due
    renewals.begin()
    assert renewals.due
    renewals.end()
    assert renewals.wait(second, 0)
    renewals.stop()
    assert not renewals.wait(renewals.ask(), 60)
