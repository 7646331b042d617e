"""KV caches that are memories: kept, listed, moved, read by fresh chats, and never after an end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from llama_index.core.base.llms.types import ChatMessage

from memos_integrations import MemCube, MemorySession, MemOS
from memos_integrations.cube import Activation
from memos_integrations.errors import (
    AccessDeniedError,
    ActivationCorruptError,
    ArchiveError,
    BlobNotFoundError,
    CubeNotFoundError,
    FrozenCubeError,
    InvalidInputError,
    KVCacheWarning,
    ModelError,
    ReadOnlyMomentError,
    VersionConflictError,
    WrongModelError,
)
from memos_integrations.langchain import ChatMemOS
from memos_integrations.llama_index import MemOSLLM
from memos_integrations.local_chat import LocalChat
from memos_integrations.local_engine import gate_of
from memos_integrations.memories.activation import cache_files
from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.segments import Prompt
from memos_integrations.memories.activation.usage import Usage
from memos_integrations.memories.block import block
from memos_integrations.models.causal import CausalModel
from memos_integrations.testing import FakeClock
from tests.activation.tiny import build
from tests.conftest import Opener
from tests.integrations.test_langchain_chat_model import WITH_TOOLS, tiny

FACTS = [f"Maya keeps a green parrot called Walnut above the stove, number {i}" for i in range(4)]
QUESTION = "What may I feed the parrot?"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def maya(memory: MemOS) -> MemorySession:
    session = memory.session("maya")
    session.add(FACTS)
    return session


def asked(cubes: list[MemCube], system: str = "") -> list[dict[str, Any]]:
    """A chat as the adapters send it."""
    said = f"{system}\n\n{block(cubes)}" if system else block(cubes)
    return [{"role": "system", "content": said}, {"role": "user", "content": QUESTION}]


def read(chat: LocalChat, who: MemorySession, cubes: list[MemCube]) -> tuple[bytes, Usage]:
    """What the model expects next, to the last bit, and where the prompt was read from."""
    who.record_uses(cubes, prompt="asked")
    usage = Usage()
    done = chat.engine.prefill(chat.prompt(asked(cubes)), usage)
    chat.engine.tree.release(done.lease)
    return done.logits.numpy().tobytes(), usage


def fresh(memory: MemOS | MemorySession, model: CausalModel | None = None) -> LocalChat:
    """A chat that finds no piece in the folder of the store: only what are memories."""
    store = MemOS.at(memory.store) if isinstance(memory, MemorySession) else memory
    store.pieces.clear()
    return LocalChat(memory, model or tiny())


def kept(maya: MemorySession, cubes: list[MemCube] | None = None) -> MemCube:
    """The KV cache of all memories, computed by a chat that ends then."""
    chat = LocalChat(maya, tiny())
    cube = maya.precompute(cubes or maya.list(), model=chat)
    chat.close()
    return cube


def blob(cube: MemCube) -> str:
    assert isinstance(cube.payload, Activation)
    return cube.payload.blob


def test_a_kv_cache_is_a_memory_with_its_sources(maya: MemorySession) -> None:
    maya.space("shared", sensitivity=["health"])
    facts = [maya.list()[0], *maya.add("Maya may not eat walnuts", origin="tool")]
    cube = kept(maya, facts)
    payload = cube.payload
    assert isinstance(payload, Activation) and cube.memory_type == "activation"
    assert payload.size == len(maya._vault.blobs.get(payload.blob))
    assert payload.model == tiny().fingerprint.computes
    rules = cube.header.governance
    assert (rules.sensitivity, rules.access, cube.trust) == (("health",), "private", "low")
    [note] = maya.activations()
    assert (note.cube, note.outdated) == (cube, ())
    assert [(one.cube_id, one.version) for one in note.sources] == [(one.id, 1) for one in facts]
    assert {f"{one.id}@1" for one in facts} <= set(maya.lineage(cube.id).nodes)
    assert cube.id not in {hit.cube.id for hit in maya.search("kv_cache parrot", limit=10)}
    assert [(one.verb, one.principal) for one in maya.audit(memory_id=cube.id)] == [
        ("precompute", "maya")
    ]


def test_fresh_chats_begin_with_it_and_have_the_same_bits(maya: MemorySession) -> None:
    cubes, store = maya.list(), MemOS.at(maya.store)
    bare, cold = read(fresh(maya), maya, cubes)
    cube = kept(maya)
    renamed = CausalModel(tiny().model, tiny().tokenizer, name="another name")
    for chat in (fresh(maya), fresh(store), fresh(maya, renamed)):
        said, usage = read(chat, maya, cubes)
        assert cold.cached_tokens == 0
        assert usage.cached_tokens == cube.payload.tokens > 64  # type: ignore[union-attr]
        assert (said, usage.approximate_tokens) == (bare, 0)
    assert read(fresh(store.session("bob")), maya, cubes)[1].cached_tokens == 0
    store.pieces.clear()
    maya.record_uses(cubes, prompt="asked")
    answer = ChatMemOS(maya, model=tiny(), max_tokens=2).invoke(
        [(one["role"], one["content"]) for one in asked(cubes)]
    )
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["input_token_details"]["cache_read"] > 64
    store.pieces.clear()
    llm = MemOSLLM(maya, tiny(), max_tokens=2)
    assert llm.local.engine.cached(llm.local.prompt(asked(cubes))) > 64
    llm.chat([ChatMessage(role=one["role"], content=one["content"]) for one in asked(cubes)])


def test_a_chat_takes_in_what_came_later_and_a_system_prompt_before(maya: MemorySession) -> None:
    cubes, chat = maya.list(), fresh(maya)
    assert chat.load_activations() == ()
    by = LocalChat(maya, tiny())
    cube = maya.precompute(cubes, model=by, system="Be brief.")
    by.close()
    MemOS.at(maya.store).pieces.clear()
    prompt = chat.prompt(asked(cubes, "Be brief."))
    assert chat.engine.cached(prompt) == 0
    assert chat.load_activations() == chat.load_activations([cube]) == (cube.id,)
    assert chat.engine.cached(prompt) == cube.payload.tokens  # type: ignore[union-attr]
    assert chat.engine.cached(chat.prompt(asked(cubes))) == 0


def test_it_moves_to_another_store(maya: MemorySession, tmp_path: Path, open_store: Opener) -> None:
    cube, cubes = kept(maya, maya.list()), maya.list(limit=len(FACTS))
    bare, _ = read(fresh(maya), maya, cubes)
    path = maya.dump(tmp_path / "all.memos", blobs=True).path
    there = open_store(tmp_path / "other").session("maya")
    with pytest.raises(ArchiveError, match="trust"):
        there.load(path)
    there.load(path, trust=True)
    [note] = there.activations()
    assert (note.cube.id, note.outdated) == (cube.id, ())
    moved = there.get_many([one.id for one in cubes])
    said, usage = read(LocalChat(there, tiny()), there, moved)
    assert (said, usage.cached_tokens) == (bare, cube.payload.tokens)  # type: ignore[union-attr]
    there.update(cubes[1].id, "The parrot has gone.")
    assert [one.cube_id for one in there.activations()[0].outdated] == [cubes[1].id]


Ends = Callable[[MemorySession, MemCube, MemCube, FakeClock], object]
ENDS: dict[str, Ends] = {
    "update": lambda maya, one, cube, clock: maya.update(one.id, "It is called Hazel."),
    "delete": lambda maya, one, cube, clock: maya.delete(one.id),
    "archive": lambda maya, one, cube, clock: maya.archive(one.id),
    "expire": lambda maya, one, cube, clock: clock.advance(hours=2),
    "forget": lambda maya, one, cube, clock: maya.forget(one.id),
    "forget alone": lambda maya, one, cube, clock: maya.forget(one.id, cascade=False),
    "delete the cache": lambda maya, one, cube, clock: maya.delete(cube.id),
}


@pytest.mark.parametrize("how", ENDS)
def test_from_then_on_it_is_not_served(memory: MemOS, clock: FakeClock, how: str) -> None:
    maya = memory.session("maya")
    maya.add(FACTS[:3])
    maya.add(FACTS[3], expires_at=clock.now() + timedelta(hours=1))
    cubes = maya.list()
    cube = kept(maya)
    chat = fresh(maya)
    prompt = chat.prompt(asked(cubes))
    assert chat.engine.cached(prompt) == cube.payload.tokens  # type: ignore[union-attr]
    ENDS[how](maya, cubes[3], cube, clock)
    erased, gone = how.startswith("forget"), how == "delete the cache"
    assert chat.engine.cached(prompt) == 0
    assert fresh(maya).engine.cached(prompt) == 0
    assert MemOS.at(maya.store).vault.blobs.exists(blob(cube)) is not erased
    notes = [note for note in maya.activations() if note.cube.id == cube.id]
    assert len(notes) == (0 if erased or gone else 1)
    if notes:
        assert [one.cube_id for one in notes[0].outdated] == [cubes[3].id]
        with pytest.raises(InvalidInputError, match="precompute"):
            chat.load_activations([cube.id])
    else:
        with pytest.raises(CubeNotFoundError, match="no KV cache"):
            chat.load_activations([cube.id])


def test_a_grant_that_ends_ends_it(memory: MemOS) -> None:
    memory.govern("root")
    alice, bob = memory.session("alice"), memory.session("bob", namespace="alice")
    cubes = alice.add(FACTS)
    kept(alice, cubes)
    with pytest.raises(AccessDeniedError):
        bob.precompute(cubes, model=LocalChat(bob, tiny()))
    assert bob.activations() == []
    grant = alice.grant("bob", "read")
    chat = fresh(bob)
    prompt = chat.prompt(asked(cubes))
    assert chat.engine.cached(prompt) > 64
    alice.revoke(grant)
    assert chat.engine.cached(prompt) == 0
    assert fresh(bob).engine.cached(prompt) == 0
    assert fresh(alice).engine.cached(prompt) > 64


def test_one_that_may_not_go_keeps_its_sources(maya: MemorySession) -> None:
    cubes, cube = maya.list(), kept(maya)
    maya.freeze(cube.id)
    with pytest.raises(FrozenCubeError, match=cube.id):
        maya.forget(cubes[0], cascade=False)
    assert maya.get(cubes[0].id) and maya._vault.blobs.exists(blob(cube))
    maya.unfreeze(cube.id)
    receipt = maya.forget(cubes[0], cascade=False)
    assert set(receipt.ids) == {cubes[0].id, cube.id} and receipt.blobs == (blob(cube),)
    assert receipt.adapters == () and set(receipt.kept_sources) == {one.id for one in cubes[1:]}
    assert receipt.finished and not maya._vault.blobs.exists(blob(cube))


def test_another_model_or_a_damaged_file_is_left_out(
    maya: MemorySession, caplog: pytest.LogCaptureFixture
) -> None:
    cubes, cube = maya.list(), kept(maya)
    other = fresh(maya, tiny(WITH_TOOLS))
    assert other.engine.cached(other.prompt(asked(cubes))) == 0
    with pytest.raises(WrongModelError, match="differs in template"):
        other.load_activations([cube.id])
    content = maya._vault.blobs.get(blob(cube))
    for damaged in (b"", content[:-1], content[:40] + b"x" + content[41:], b"\0" * 99):
        with pytest.raises(ActivationCorruptError):
            cache_files.from_bytes(damaged, tiny())
    [file] = (maya.store / "blobs").rglob(blob(cube))
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with caplog.at_level(logging.WARNING), pytest.warns(KVCacheWarning, match="left out"):
        chat = fresh(maya)
    assert "left out" in caplog.text and cube.id in caplog.text
    bare, usage = read(chat, maya, cubes)
    assert usage.cached_tokens == 0
    with pytest.raises(BlobNotFoundError):
        chat.load_activations(cube.id)
    file.write_bytes(content)
    assert chat.load_activations(cube.id) == (cube.id,)
    assert read(chat, maya, cubes)[0] == bare


class Meddled(ActivationEngine):
    """Something happens to the memories before or after it computes."""

    before: Callable[[], object] = staticmethod(lambda: None)
    after: Callable[[], object] = staticmethod(lambda: None)

    def precompute(self, prompt: Prompt, *, background: bool = False) -> int:
        self.before()
        new = super().precompute(prompt, background=background)
        self.after()
        return new


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_source_that_changes_meanwhile_leaves_nothing(maya: MemorySession, when: str) -> None:
    cubes = maya.list()
    engine = Meddled(tiny(), gate=gate_of(maya._vault))
    setattr(engine, when, lambda: maya.update(cubes[1].id, "The parrot has gone."))
    with pytest.raises(VersionConflictError):
        maya.precompute(cubes, model=LocalChat(maya, engine=engine))
    assert maya.activations() == [] and maya.count() == len(FACTS)
    assert not list((maya.store / "blobs").rglob("?" * 64))


def test_what_cannot_be_kept_is_refused(maya: MemorySession, tmp_path: Path) -> None:
    cubes, chat = maya.list(), LocalChat(maya, tiny())
    with pytest.raises(InvalidInputError, match="of this store"):
        maya.precompute(cubes, model=LocalChat(None, tiny()))
    with pytest.raises(InvalidInputError, match="no memories to precompute"):
        maya.precompute([], model=chat)
    with pytest.raises(InvalidInputError, match="has a block"):
        maya.precompute(cubes[:1], model=chat, system=block(cubes[1:]))
    with pytest.raises(InvalidInputError, match="budget"):
        maya.precompute(cubes, model=LocalChat(maya, tiny(), budget=1_000))
    with pytest.raises(ModelError, match="without a KV cache"):
        maya.precompute(cubes, model=LocalChat(maya, build("mamba")))
    with pytest.raises(ReadOnlyMomentError):
        maya.as_of(maya.log()[-1].at).precompute(cubes, model=chat)
    rounding = LocalChat(maya, tiny(), disk_dtype="int8")
    read(rounding, maya, cubes)
    rounding.close()
    with pytest.raises(InvalidInputError, match="rounded"):
        maya.precompute(cubes, model=LocalChat(maya, tiny(), disk_dtype="int8"))
    assert maya.activations() == []
    cube = maya.precompute(cubes, model=chat)
    with pytest.raises(InvalidInputError, match="no words"):
        maya.precompute([cube], model=chat)


def test_a_damaged_piece_of_the_folder_is_not_kept(maya: MemorySession) -> None:
    cubes, chat = maya.list(), LocalChat(maya, tiny())
    bare, _ = read(chat, maya, cubes)
    chat.close()
    for file in (maya.store / "kv").glob("??/*.safetensors"):
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    cube = kept(maya, cubes)
    said, usage = read(fresh(maya), maya, cubes)
    assert (said, usage.cached_tokens) == (bare, cube.payload.tokens)  # type: ignore[union-attr]
