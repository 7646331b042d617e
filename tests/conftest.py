"""Fixtures that every kind of test uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from memos_integrations import IndexPolicy, MemorySession, MemOS
from memos_integrations.testing import CountingIds, FakeClock, WordEmbedder

Opener = Callable[..., MemOS]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the long variants")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--soak"):
        return
    skip = pytest.mark.skip(reason="a soak test: run it with `make soak`")
    for item in items:
        if "soak" in item.keywords:
            item.add_marker(skip)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def open_store(folder: Path) -> Iterator[Opener]:
    """Opens stores over the word embedder; closes what the test leaves open."""
    opened: list[MemOS] = []

    def opener(path: Path | None = None, **options: Any) -> MemOS:
        options.setdefault("embedder", WordEmbedder())
        opened.append(MemOS.open(path or folder, **options))
        return opened[-1]

    yield opener
    for memory in opened:
        memory.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def memory(open_store: Opener, clock: FakeClock) -> MemOS:
    """An empty store: everything scanned exactly, time and ids under control."""
    return open_store(clock=clock, ids=CountingIds())


@pytest.fixture
def indexed(open_store: Opener) -> MemOS:
    """An empty store whose namespaces get a Chroma index from the tenth memory on."""
    return open_store(index_policy=IndexPolicy(exact_below=10, check_every=0.1))


@pytest.fixture
def alice(memory: MemOS) -> MemorySession:
    return memory.session("alice")
