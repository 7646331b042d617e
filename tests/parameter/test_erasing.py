"""Every way to erase a memory takes the adapters that learned it along, in the same transaction."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from memos_integrations import MemCube, MemorySession
from memos_integrations.errors import FrozenCubeError, LegalHoldError
from memos_integrations.infrastructure.market.packages import public_hex
from memos_integrations.infrastructure.receipts import Receipt
from memos_integrations.local_chat import LocalChat
from memos_integrations.memories.activation.usage import Usage
from memos_integrations.parameter_memory import ParameterMemory
from memos_integrations.testing import FakeClock
from tests.conftest import Opener

sys.path.insert(0, str(Path(__file__).parent))
from words import FACTS, HOW, build

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
Prepared = tuple[MemorySession, list[MemCube], Callable[[], Receipt | None]]
"""Who, the memories, and what erases the first of them without what was derived from it."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A tiny model on several threads waits for them more than it computes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def by_forget(
    maya: MemorySession, publisher: MemorySession, clock: FakeClock, at: Path
) -> Prepared:
    facts = maya.add(list(FACTS[:2]))
    return maya, facts, lambda: maya.forget(facts[0], cascade=False)


def by_sweep(maya: MemorySession, publisher: MemorySession, clock: FakeClock, at: Path) -> Prepared:
    facts = maya.add(list(FACTS[:2]))

    def erase() -> Receipt | None:
        clock.advance(hours=2)
        maya.retain(ttl=timedelta(hours=1), id=facts[0].id)
        return maya.sweep(erase=True).receipt

    return maya, facts, erase


def by_unsubscribe(
    maya: MemorySession, publisher: MemorySession, clock: FakeClock, at: Path
) -> Prepared:
    publisher.add(FACTS[0])
    publisher.publish(at, "pets", version="1.0", key=KEY, licence="CC0-1.0", description="Pets")
    maya.subscribe(at, "pets", publisher=public_hex(KEY))
    facts = [*maya.list(), *maya.add(FACTS[1])]
    return maya, facts, lambda: maya.unsubscribe("pets")


@pytest.fixture(params=[by_forget, by_sweep, by_unsubscribe])
def prepared(
    request: pytest.FixtureRequest, open_store: Opener, tmp_path: Path, clock: FakeClock
) -> Prepared:
    maya = open_store(tmp_path / "store", clock=clock).session("maya")
    publisher = open_store(tmp_path / "other", clock=clock).session("shop")
    ready: Prepared = request.param(maya, publisher, clock, tmp_path / "shop")
    return ready


def served(chat: LocalChat) -> tuple[bytes, Usage]:
    """What the model expects after a question, and which adapters it was read through."""
    usage = Usage()
    engine = chat._engine_now(usage)
    read = engine.prefill(chat.prompt([{"role": "user", "content": "What does who?"}]), usage)
    engine.tree.release(read.lease)
    return read.logits.numpy().tobytes(), usage


def test_an_adapter_goes_with_each_of_its_sources(prepared: Prepared) -> None:
    (maya, facts, erase), model = prepared, build()
    old = maya.distill(facts, model=model, how=HOW)
    cube = maya.retrain(old.id, model=model, how=HOW)  # the old one is only deleted so far
    merged = maya.merge([facts[1], *maya.add(FACTS[2])])
    of_others = maya.distill([merged], model=model, how=HOW)
    chats = [
        LocalChat(maya, model, parameter_memory=ParameterMemory(wanted, stale="serve"))
        for wanted in (True, cube.id)
    ]
    maya.delete(of_others.id)  # so that the chats read the one alone
    bare, _ = served(LocalChat(maya, model))
    assert [served(one)[0] != bare for one in chats] == [True, True]
    receipt = erase()
    assert receipt is not None and receipt.finished
    assert set(receipt.adapters) == {old.id, cube.id} and set(receipt.ids) > {facts[0].id, cube.id}
    assert receipt.kept_sources == (facts[1].id,)
    assert maya.adapters() == []
    for one in (old, cube):
        assert not maya._vault.blobs.exists(one.payload.blob)  # type: ignore[union-attr]
    assert maya._vault.blobs.exists(of_others.payload.blob)  # type: ignore[union-attr]
    for one, missing in zip(chats, [(), (cube.id,)], strict=True):
        said, usage = served(one)
        assert (said, usage.adapters, usage.stale_adapters) == (bare, (), missing)


@pytest.mark.parametrize("how", ["frozen", "held"])
def test_an_adapter_that_may_not_go_keeps_its_sources(prepared: Prepared, how: str) -> None:
    maya, facts, erase = prepared
    cube = maya.distill(facts, model=build(), how=HOW)
    if how == "frozen":
        maya.freeze(cube.id)
    else:
        maya.hold(id=cube.id, reason="a case")
    with pytest.raises(FrozenCubeError if how == "frozen" else LegalHoldError, match=cube.id):
        erase()
    assert maya.history(facts[0].id)[0].text
    assert [one.cube.id for one in maya.adapters()] == [cube.id]
    assert maya._vault.blobs.exists(cube.payload.blob)  # type: ignore[union-attr]


def test_an_adapter_of_what_stays_stays(open_store: Opener, tmp_path: Path) -> None:
    maya = open_store(tmp_path / "store").session("maya")
    one, two = maya.add(list(FACTS[:2]))
    merged = maya.merge([one, two])
    cube = maya.distill([merged], model=build(), how=HOW)
    receipt = maya.forget(one, cascade=False)
    assert set(receipt.kept_derived) == {merged.id, cube.id}
    assert receipt.adapters == ()
    assert [note.cube.id for note in maya.adapters()] == [cube.id]
    assert maya.forget(merged, cascade=False, dry_run=True).adapters == (cube.id,)
