"""A memory that changed, expired or was deleted is served from no cache: real stores, a model."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from memos_integrations import MemorySession, MemOS
from memos_integrations.infrastructure.access import Grant
from memos_integrations.local_chat import LocalChat
from memos_integrations.memories.activation.segments import Prompt, Source
from memos_integrations.memories.block import block
from memos_integrations.models.causal import CausalModel
from memos_integrations.testing import FakeClock, WordEmbedder
from tests.activation.tiny import SHAPE

USERS = ("ann", "bob")
READER = "carol"
"""Reads what ann lets her read, and when."""


@dataclass
class Known:
    """What the model knows of a memory."""

    user: str
    version: int = 1
    expires_at: datetime | None = None
    erased: bool = False


def letters() -> CausalModel:
    """A random model that reads letter by letter."""
    raw = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(_alphabet())}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    torch.manual_seed(1)
    config = hf.LlamaConfig(
        **{**SHAPE, "vocab_size": 256, "num_hidden_layers": 1, "max_position_embeddings": 8_192}
    )
    tokenizer = hf.PreTrainedTokenizerFast(tokenizer_object=raw)
    return CausalModel(hf.AutoModelForCausalLM.from_config(config), tokenizer, name="letters")


def _alphabet() -> list[str]:
    return sorted(pre_tokenizers.ByteLevel.alphabet())


MODEL = letters()


class Store(RuleBasedStateMachine):
    """What users do to their memories, and what is read from caches meanwhile.

    Beside the store runs a model of it, which knows what may be served: the version of each memory
    that stands, and to the reader only while a grant does. What was erased is in no file.
    """

    memories = Bundle("memories")

    @initialize(target=memories)
    def begin(self) -> Any:
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.said = 0
        self.known: dict[str, Known] = {}
        self.asked: list[Prompt] = []
        self.granted: list[Grant] = []
        self.open()
        self.memory.govern("root", homes=[("acme", "{principal}")])
        added = [self.added(user, self.words(), None) for user in ("ann", "ann", "bob")]
        return multiple(*added)

    def open(self) -> None:
        root = Path(self.folder.name)
        self.memory = MemOS.open(root / "store", embedder=WordEmbedder(), clock=self.clock)
        room = {"budget": 150_000, "ram_budget": 10_000_000}  # in the tree, for one prompt or two
        self.chat = LocalChat(self.memory, MODEL, remote=root / "there", **room)
        self.reader = LocalChat(self.session("ann", READER), MODEL)

    def session(self, user: str, principal: str | None = None) -> MemorySession:
        return self.memory.session(principal or user, namespace=("acme", user))

    def teardown(self) -> None:
        if hasattr(self, "memory"):
            self.close()
            self.folder.cleanup()

    def close(self) -> None:
        self.reader.close()
        self.chat.close()
        self.memory.close()

    @rule(target=memories, user=st.sampled_from(USERS), lives=st.booleans(), same=st.booleans())
    def add(self, user: str, lives: bool, same: bool) -> Any:
        text = "the same words for everyone, and not a few of them either" if same else self.words()
        expires = None if lives else self.clock.now() + timedelta(minutes=3)
        return self.added(user, text, expires)

    def added(self, user: str, text: str, expires: datetime | None) -> str:
        [cube] = self.session(user).add(text, expires_at=expires)
        self.known[cube.id] = Known(user, expires_at=expires)
        return cube.id

    def words(self) -> str:
        self.said += 1
        return f"fact {self.said} of a memory that is long enough to be a piece of its own, nearly"

    def stands(self, cube_id: str) -> bool:
        one = self.known[cube_id]
        alive = one.expires_at is None or self.clock.now() < one.expires_at
        return alive and not one.erased

    @rule(which=st.lists(memories, min_size=1, max_size=5))
    def ask(self, which: list[str]) -> None:
        """One user's prompt: served right, and from nothing that does not stand any more."""
        user = self.known[which[0]].user
        session = self.session(user)
        cubes = session.get_many(one for one in dict.fromkeys(which) if self.of(one, user))
        assert {cube.id for cube in cubes} == {
            one for one in which if self.of(one, user) and self.stands(one)
        }
        if not cubes:
            return
        session.record_uses(cubes, prompt="asked")
        prompt = self.chat.read(f"{block(cubes)}\nQuestion: what?\nAnswer:")
        assert len(prompt.spans) == len(cubes)
        self.asked.append(prompt)
        self.serve(prompt)
        if prompt.foreign is None:
            assert self.chat.engine.cached(prompt) == prompt.ends[-2], "kept for the next time"

    def of(self, cube_id: str, user: str) -> bool:
        return self.known[cube_id].user == user

    @rule(which=st.integers(0, 100))
    def ask_as_before(self, which: int) -> None:
        """A prompt that was written before its memories changed, or expired."""
        if self.asked:
            self.serve(self.asked[which % len(self.asked)])

    def serve(self, prompt: Prompt) -> None:
        """To its user, and to the reader of ann's; twice, since the first time may keep it."""
        with torch.inference_mode():
            once = MODEL.model(torch.tensor([prompt.tokens])).logits[0, -1]
        whose = ((self.chat, True), (self.reader, bool(self.granted)))
        for chat, may in whose * 2:
            read = chat.engine.prefill(prompt)
            served = {source for node in read.lease.nodes for source in node.sources}
            chat.engine.tree.release(read.lease)
            assert (read.logits - once).abs().max() < 1e-4
            for one in served:
                assert may and self.stands(one.cube_id)
                assert self.known[one.cube_id].version == one.version
                assert chat is self.chat or self.of(one.cube_id, "ann")

    @precondition(lambda self: not self.granted)
    @rule()
    def grant(self) -> None:
        self.granted.append(self.session("ann").grant(READER, "read"))

    @precondition(lambda self: self.granted)
    @rule()
    def revoke(self) -> None:
        self.session("ann").revoke(self.granted.pop())
        for prompt in self.asked:
            read = self.reader.engine.prefill(prompt)
            self.reader.engine.tree.release(read.lease)
            assert not {source for node in read.lease.nodes for source in node.sources}

    @rule(which=memories)
    def update(self, which: str) -> None:
        if self.stands(which):
            self.session(self.known[which].user).update(which, self.words())
            self.known[which].version += 1

    @rule(which=consumes(memories))
    def delete(self, which: str) -> None:
        if self.stands(which):
            self.session(self.known[which].user).delete(which)
            self.known[which].erased = True
            self.flush()
            assert not self.files_with(which), "no file of a deleted memory"

    @rule(which=consumes(memories))
    def erase(self, which: str) -> None:
        """Also what has expired meanwhile. Here, nothing waits for the background."""
        receipt = self.session(self.known[which].user).forget(which)
        assert receipt.finished and receipt.ids == (which,)
        self.known[which].erased = True
        assert not self.files_with(which), "no file of an erased memory, here or elsewhere"

    def files_with(self, cube_id: str) -> list[Path]:
        root = Path(self.folder.name)
        files = [path for one in ("store/kv", "there") for path in (root / one).rglob("*")]
        return [path for path in files if path.is_file() and cube_id.encode() in path.read_bytes()]

    def flush(self) -> None:
        for chat in (self.chat, self.reader):
            chat.engine.tier.flush()  # type: ignore[union-attr]

    @rule(minutes=st.integers(1, 5))
    def wait(self, minutes: int) -> None:
        self.clock.advance(minutes=minutes)

    @rule()
    def reopen(self) -> None:
        self.check_elsewhere()
        self.close()
        self.open()

    @rule()
    def lose_what_is_here(self) -> None:
        """Then it is fetched from elsewhere, if it still may be."""
        self.check_elsewhere()
        self.chat.engine.clear()
        self.memory.pieces.clear()

    @invariant()
    def nothing_changed_is_kept(self) -> None:
        """Expired ones may lie there until they are asked for; they are never served."""
        if not hasattr(self, "memory"):
            return
        for chat in (self.chat, self.reader):
            for node in chat.engine.tree.nodes():
                self.check(node.sources)
        assert self.chat.engine.ram is not None
        self.check(self.chat.engine.ram.sources())
        self.check(self.memory.pieces.sources())

    def check_elsewhere(self) -> None:
        self.flush()
        store = self.memory.remotes.at(Path(self.folder.name) / "there")
        for _, entry in store.entries(store.pieces()):
            assert entry is not None
            self.check(entry.sources)

    def check(self, kept: Collection[Source]) -> None:
        for one in kept:
            assert not self.known[one.cube_id].erased
            assert self.known[one.cube_id].version == one.version


TestStore = Store.TestCase
TestStore.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)


def test_a_crash_between_the_commit_and_the_files(tmp_path: Path) -> None:
    """The memory was deleted, its file was not: the next start does that."""
    with MemOS.open(tmp_path, embedder=WordEmbedder()) as memory:
        ann = memory.session("ann")
        cubes = ann.add([f"fact {i} of a memory that is long enough for a piece" for i in range(3)])
        ann.record_uses(cubes, prompt="asked")
        chat = LocalChat(memory, MODEL)
        chat.engine.precompute(chat.read(f"{block(cubes)}\nQuestion"))
        chat.close()
        assert len(memory.pieces) > 0
        memory.vault._watchers.clear()  # as if the process had died right after the commit
        ann.delete(cubes[0].id)
        assert len(memory.pieces) > 0
    with MemOS.open(tmp_path, embedder=WordEmbedder()) as memory:
        assert len(memory.pieces) == 0


@pytest.mark.parametrize("user", USERS)
def test_a_session_s_model_serves_that_user_only(tmp_path: Path, user: str) -> None:
    with MemOS.open(tmp_path, embedder=WordEmbedder()) as memory:
        session = memory.session(user)
        text = "words that two users know, long enough to be kept as a piece of their own, surely"
        sessions = [memory.session(one) for one in USERS]
        shown = {}
        for one in sessions:
            shown[one.namespace[0]] = one.add(text)
            one.record_uses(shown[one.namespace[0]], prompt="asked")
        chat = LocalChat(session, MODEL)
        prompt = chat.read(f"{block(shown[user])}\nQuestion")
        assert prompt.salt == memory.ledger.salt([session.namespace])
        chat.close()
