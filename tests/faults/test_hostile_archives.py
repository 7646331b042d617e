"""Hostile archives are refused: with a typed error, nothing written, and no byte outside."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from memos_integrations import MemorySession, MemOS
from memos_integrations.errors import ArchiveError
from memos_integrations.testing import WordEmbedder
from tests.conftest import Opener
from tests.faults.hostile_archives import KINDS, Case, tree

LEAST = 500


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An archive with every kind of member."""
    folder = tmp_path_factory.mktemp("good")
    with MemOS.open(folder / "one", embedder=WordEmbedder(16)) as memory:
        memory.govern("root")
        alice = memory.session("alice")
        cubes = alice.add(["I live in Oslo", "I live in Bergen", "My boat is red"], tags=["a"])
        alice.update(cubes[2].id, "My boat is blue")
        alice.organise()
        alice.merge(cubes[:2])
        alice.below("deep").shelf("s").write([alice.below("deep").shelf("s").draft((), "k", ["v"])])
        alice.archive(cubes[2].id)
        alice.grant("bob", "read", tag="a")
        alice.dump(folder / "good", vectors=True, grants=True)
    return (folder / "good").read_bytes()


@pytest.fixture
def victim(open_store: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemorySession:
    monkeypatch.chdir(tmp_path)
    session = open_store(embedder=WordEmbedder(16)).session("alice")
    session.add("here before")
    return session


def state(session: MemorySession) -> object:
    with session._vault.database.read() as tx:
        names = tx.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars()
        return {
            name: tx.exec_driver_sql(f'SELECT count(*) FROM "{name}"').scalar() for name in names
        }


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_archives_are_refused(
    victim: MemorySession, good: bytes, kind: Callable[[bytes], Iterator[Case]]
) -> None:
    target, before = Path("bad.memcube"), state(victim)
    for name, raw in kind(good):
        target.write_bytes(raw)
        outside = tree(Path())
        for trust in (True, False):
            with pytest.raises(ArchiveError):
                loaded = victim.load(target, trust=trust, grants=trust)
                pytest.fail(f"{kind.__name__}: {name} was loaded: {loaded}")
        assert tree(Path()) == outside, name
    assert state(victim) == before


def test_there_are_enough_of_them(good: bytes) -> None:
    assert sum(1 for kind in KINDS for _ in kind(good)) >= LEAST


def test_the_good_one_loads(victim: MemorySession, good: bytes) -> None:
    Path("good.memcube").write_bytes(good)
    assert victim.load("good.memcube", dry_run=True).added == 5
    assert victim.load("good.memcube", trust=True, grants=True).added == 5


@pytest.mark.parametrize("seed", range(4))
def test_one_byte_changed_is_refused_or_without_meaning(
    victim: MemorySession, good: bytes, seed: int
) -> None:
    draw, refused = random.Random(seed), 0
    Path("good.memcube").write_bytes(good)
    fine = victim.load("good.memcube", trust=True, dry_run=True)
    for _ in range(60):
        raw = bytearray(good)
        raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
        Path("bad.memcube").write_bytes(raw)
        try:
            assert victim.load("bad.memcube", trust=True, dry_run=True) == fine
        except ArchiveError:
            refused += 1
    assert refused > 20
