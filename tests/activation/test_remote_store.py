"""Caches elsewhere, of a real store: erased with their memories, denied with their grants."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from memos_integrations import MemorySession, MemOS
from memos_integrations.local_chat import LocalChat
from memos_integrations.memories.activation import remotes
from memos_integrations.memories.activation.remote import RemoteTier
from memos_integrations.memories.block import block
from memos_integrations.testing import WordEmbedder
from tests.activation.test_invalidation import MODEL
from tests.activation.test_remote import Moody

FACTS = [f"fact {i} of a memory that is long enough to be a piece of its own" for i in range(3)]


@pytest.fixture(autouse=True)
def moody() -> Iterator[None]:
    fsspec.register_implementation("moody", Moody, clobber=True)
    Moody.down = Moody.read_only = False
    Moody.gate.set()
    yield
    Moody.down = False
    Moody.gate.set()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[MemOS]:
    with MemOS.open(tmp_path / "store", embedder=WordEmbedder()) as opened:
        yield opened


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"moody://{tmp_path}/there"


def remote(chat: LocalChat) -> RemoteTier:
    assert isinstance(chat.engine.tier, RemoteTier)
    return chat.engine.tier


def answered(session: MemorySession, chat: LocalChat) -> int:
    """How many tokens of a prompt with the three facts came from a cache."""
    cubes = [one for one in session.list() if one.text in FACTS]
    session.record_uses(cubes, prompt="asked")
    read = chat.engine.prefill(chat.read(f"{block(cubes)}\nQuestion: what?\nAnswer:"))
    chat.engine.tree.release(read.lease)
    remote(chat).flush()
    return read.usage.cached_tokens


def files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "there").rglob("*") if path.is_file()]


def sent(memory: MemOS, url: str | Path, **options: Any) -> list[str]:
    """Ann's facts lie elsewhere, and nobody serves them now; their ids."""
    ann = memory.session("ann")
    cubes = ann.add(FACTS)
    chat = LocalChat(memory, MODEL, remote=url, **options)
    assert answered(ann, chat) == 0
    assert chat.stats()["remote"]["sent"] > 0
    chat.close()
    return [cube.id for cube in cubes]


def test_read_when_the_folder_is_lost(memory: MemOS, url: str) -> None:
    sent(memory, url)
    memory.pieces.clear()
    chat = LocalChat(memory, MODEL, remote=url)
    remote(chat).flush()
    assert answered(memory.session("ann"), chat) > 0
    assert chat.stats()["remote"]["fetched"] > 0
    chat.close()


@pytest.mark.parametrize("serving", [True, False], ids=["while it serves", "nobody serves"])
@pytest.mark.parametrize("kind", ["url", "folder"])
def test_forget_takes_them_from_there(
    serving: bool, kind: str, memory: MemOS, url: str, tmp_path: Path
) -> None:
    place = url if kind == "url" else tmp_path / "there"
    ids = sent(memory, place)
    assert all(any(one.encode() in path.read_bytes() for path in files(tmp_path)) for one in ids)
    chat = LocalChat(memory, MODEL, remote=place) if serving else None
    receipt = memory.session("ann").forget(ids[0])
    assert receipt.finished
    assert not any(ids[0].encode() in path.read_bytes() for path in files(tmp_path))
    if chat is not None:
        chat.close()
    assert not any(ids[0].encode() in path.read_bytes() for path in files(tmp_path))


def test_a_place_that_is_down_is_named_and_asked_again(tmp_path: Path, url: str) -> None:
    with MemOS.open(tmp_path / "store", embedder=WordEmbedder()) as memory:
        ids = sent(memory, url)
        Moody.down = True
        receipt = memory.session("ann").forget(ids[0])
        assert not receipt.finished and url in receipt.unfinished
        assert "nobody answers" in str(receipt)
        [kept] = memory.session("ann").receipts()
        assert not kept.finished
    Moody.down = False
    with MemOS.open(tmp_path / "store", embedder=WordEmbedder()) as memory:  # serves no model
        [kept] = memory.session("ann").receipts()
        assert kept.finished
        assert not any(ids[0].encode() in path.read_bytes() for path in files(tmp_path))


def test_a_place_that_never_answers_is_waited_for_once(
    memory: MemOS, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = sent(memory, url)
    monkeypatch.setattr(remotes, "PATIENCE", 0.01)
    place = memory.remotes.at(url)
    with place._sending:
        first = memory.session("ann").forget(ids[0])
        assert "no answer within" in first.unfinished
    again = memory.session("ann").forget(ids[1])
    assert "did not answer before" in again.unfinished


def test_how_much_lies_there(memory: MemOS, url: str, tmp_path: Path) -> None:
    assert memory.remotes.report() == []
    sent(memory, url)
    sizes = [path.stat().st_size for path in files(tmp_path)]
    known = {"place": url, "pieces": len(sizes), "bytes": sum(sizes), "failure": ""}
    assert memory.remotes.report() == [known]
    Moody.down = True
    [place] = memory.remotes.report()
    assert (place["pieces"], place["bytes"]) == (0, 0) and "nobody answers" in place["failure"]
    Moody.down = False
    with memory.remotes.at(url)._sending:  # such as a slow store has it
        [place] = memory.remotes.report(patience=0.01)
    assert "no answer within" in place["failure"]
    assert memory.session("ann").forget(query="fact", limit=1).finished, (
        "an erasure asks all the same"
    )


def test_clear_takes_all_and_forgets_the_place(memory: MemOS, url: str, tmp_path: Path) -> None:
    sent(memory, url)
    assert memory.remotes.places() == [url]
    memory.remotes.clear()
    assert files(tmp_path) == [] and memory.remotes.places() == []


def test_an_updated_memory_is_not_fetched(memory: MemOS, url: str) -> None:
    """It changed while nobody served."""
    ids = sent(memory, url)
    memory.session("ann").update(ids[0], FACTS[0])
    memory.pieces.clear()
    chat = LocalChat(memory, MODEL, remote=url)
    remote(chat).flush()
    assert not any(ids[0] in {s.cube_id for s in e.sources} for _, e in entries(chat) if e)
    chat.close()


def entries(chat: LocalChat) -> list[tuple[str, Any]]:
    store = remote(chat).store
    return list(store.entries(store.pieces()))


@pytest.mark.parametrize("where", ["memory", "folder", "elsewhere"])
def test_a_revoked_grant_ends_reuse_at_once(where: str, memory: MemOS, url: str) -> None:
    memory.govern("root", homes=[("acme", "{principal}")])
    alice = memory.session("alice", namespace=("acme", "alice"))
    bob = memory.session("bob", namespace=("acme", "alice"))
    cubes = alice.add(FACTS)
    grant = alice.grant("bob", "read")
    chat = LocalChat(bob, MODEL, remote=url)
    bob.record_uses(cubes, prompt="asked")
    prompt = chat.read(f"{block(bob.list())}\nQuestion: what?\nAnswer:")
    chat.engine.precompute(prompt)
    remote(chat).flush()
    assert chat.engine.cached(prompt) > 0
    if where != "memory":
        chat.engine.clear()
    if where == "elsewhere":
        memory.pieces.clear()
        assert chat.engine.cached(prompt) > 0, "it comes from there"
        chat.engine.clear()
        memory.pieces.clear()
    alice.revoke(grant)
    assert chat.engine.cached(prompt) == 0
    chat.engine.precompute(prompt)
    assert chat.engine.cached(prompt) == 0, "and nothing is kept anew"
    alices = LocalChat(alice, MODEL)
    assert alices.engine.precompute(prompt) >= 0
    assert alices.engine.cached(prompt) > 0, "who still may read is served"
    alices.close()
    chat.close()


def test_a_place_without_a_memory_makes_no_sense() -> None:
    from memos_integrations.errors import InvalidInputError

    with pytest.raises(InvalidInputError, match="remote is given"):
        LocalChat(None, MODEL, remote="memory://kv")
