"""A memory that changed, expired or was deleted is served from no cache: real stores, a model."""

from __future__ import annotations

import tempfile
from datetime import timedelta
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
    rule,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from memos_integrations import MemOS
from memos_integrations.cube import MemCube
from memos_integrations.local_chat import LocalChat
from memos_integrations.memories.activation.segments import Prompt
from memos_integrations.memories.block import block
from memos_integrations.models.causal import CausalModel
from memos_integrations.testing import FakeClock, WordEmbedder
from tests.activation.tiny import SHAPE

USERS = ("ann", "bob")


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
    """What users do to their memories, and what is read from caches meanwhile."""

    memories = Bundle("memories")

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.said = 0
        self.asked: list[Prompt] = []
        self.open()

    def open(self) -> None:
        self.memory = MemOS.open(
            Path(self.folder.name) / "store", embedder=WordEmbedder(), clock=self.clock
        )
        self.chat = LocalChat(self.memory, MODEL)

    def teardown(self) -> None:
        if hasattr(self, "memory"):
            self.chat.close()
            self.memory.close()
            self.folder.cleanup()

    @rule(target=memories, user=st.sampled_from(USERS), lives=st.booleans(), same=st.booleans())
    def add(self, user: str, lives: bool, same: bool) -> Any:
        self.said += 1
        text = "the same words for everyone, and not a few of them either" if same else self.words()
        expires = None if lives else self.clock.now() + timedelta(minutes=3)
        cubes = self.memory.session(user).add(text, expires_at=expires)
        return multiple(*((user, cube.id) for cube in cubes))

    def words(self) -> str:
        self.said += 1
        return f"fact {self.said} of a memory that is long enough to be a piece of its own, nearly"

    @rule(which=st.lists(memories, min_size=1, max_size=5))
    def ask(self, which: list[tuple[str, str]]) -> None:
        """One user's prompt: served right, and from nothing that does not stand any more."""
        user = which[0][0]
        session = self.memory.session(user)
        cubes = session.get_many(dict.fromkeys(id for owner, id in which if owner == user))
        if not cubes:
            return
        session.record_uses(cubes, prompt="asked")
        prompt = self.chat.read(f"{block(cubes)}\nQuestion: what?\nAnswer:")
        assert {span.source.version for span in prompt.spans} <= {cube.version for cube in cubes}
        assert len(prompt.spans) == len(cubes)
        self.asked.append(prompt)
        self.serve(prompt)

    @rule(which=st.integers(0, 100))
    def ask_as_before(self, which: int) -> None:
        """A prompt that was written before its memories changed, or expired."""
        if self.asked:
            self.serve(self.asked[which % len(self.asked)])

    def serve(self, prompt: Prompt) -> None:
        read = self.chat.engine.prefill(prompt)
        served = {source for node in read.lease.nodes for source in node.sources}
        self.chat.engine.tree.release(read.lease)
        assert not self.outdated(served)
        with torch.inference_mode():
            once = MODEL.model(torch.tensor([prompt.tokens])).logits[0, -1]
        assert (read.logits - once).abs().max() < 1e-3

    def outdated(self, sources: Any) -> set[tuple[str, int]]:
        return self.memory.vault.outdated([(one.cube_id, one.version) for one in sources])

    @rule(which=memories)
    def update(self, which: tuple[str, str]) -> None:
        user, cube_id = which
        session = self.memory.session(user)
        found: list[MemCube] = session.get_many([cube_id])
        if found:
            session.update(cube_id, self.words())

    @rule(which=consumes(memories))
    def delete(self, which: tuple[str, str]) -> None:
        user, cube_id = which
        session = self.memory.session(user)
        if not session.get_many([cube_id]):
            return  # it has expired
        session.delete(cube_id)
        self.chat.engine.tier.flush()  # type: ignore[union-attr]
        for file in self.memory.pieces.folder.glob("??/*"):
            assert cube_id.encode() not in file.read_bytes(), "no file of a deleted memory"

    @rule(minutes=st.integers(1, 5))
    def wait(self, minutes: int) -> None:
        self.clock.advance(minutes=minutes)

    @rule()
    def reopen(self) -> None:
        self.chat.close()
        self.memory.close()
        self.open()

    @invariant()
    def nothing_changed_is_kept(self) -> None:
        """Expired ones may lie there until they are asked for; they are never served."""
        if not hasattr(self, "memory"):
            return
        kept = {source for node in self.chat.engine.tree.nodes() for source in node.sources}
        kept |= self.memory.pieces.sources()
        latest = {
            cube.id: cube.version
            for user in USERS
            for cube in self.memory.session(user).list(limit=1_000)
        }
        for source in kept:
            assert latest.get(source.cube_id, source.version) == source.version


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
