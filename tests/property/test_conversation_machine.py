"""A LlamaIndex memory against a plain list: put, set, reset, reopen, serialise, in any order."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from llama_index.core.base.llms.types import ChatMessage, TextBlock, ToolCallBlock

from memos_integrations import MemOS
from memos_integrations.llama_index import MemOSMemory
from memos_integrations.llama_index.messages import newest_within, tokens_of
from memos_integrations.testing import WordEmbedder


def words(text: str) -> int:
    """A tokenizer's count."""
    return len(text.split())


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
calls = st.builds(
    lambda name, number: ToolCallBlock(tool_call_id="c", tool_name=name, tool_kwargs={"n": number}),
    st.sampled_from(["f", "g"]),
    st.integers(-5, 5),
)
messages = st.one_of(
    texts.map(lambda text: ChatMessage(role="user", content=text)),
    texts.map(lambda text: ChatMessage(role="assistant", content=text)),
    st.builds(lambda call: ChatMessage(role="assistant", blocks=[call]), calls),
    texts.map(lambda text: ChatMessage(role="tool", content=text)),
    st.builds(
        lambda one, two: ChatMessage(
            role="user", blocks=[TextBlock(text=one), TextBlock(text=two)]
        ),
        texts,
        texts,
    ),
)


class ConversationMachine(RuleBasedStateMachine):
    """Model: the list of messages."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.expected: list[ChatMessage] = []
        self.open()

    def open(self) -> None:
        self.store = MemOS.open(self.folder / "store", embedder=WordEmbedder())
        self.session = self.store.session("alice")
        self.memory = MemOSMemory.from_defaults(
            self.session, conversation_id="c", tokenizer_fn=str.split
        )

    @rule(message=messages)
    def put(self, message: ChatMessage) -> None:
        self.memory.put(message)
        self.expected.append(message)

    @rule(several=st.lists(messages, max_size=4))
    def put_several(self, several: list[ChatMessage]) -> None:
        self.memory.put_messages(several)
        self.expected += several

    @rule(cut=st.integers(0, 6), more=st.lists(messages, max_size=3))
    def set(self, cut: int, more: list[ChatMessage]) -> None:
        self.expected = [*self.expected[:cut], *more]
        self.memory.set(self.expected)

    @rule()
    def set_what_was_shown(self) -> None:
        self.memory.set(self.memory.get())

    @rule()
    def reset(self) -> None:
        before = self.session.count({"metadata.conversation": "c", "origin": "user"})
        self.memory.reset()
        assert self.session.count({"metadata.conversation": "c", "origin": "user"}) == before
        self.expected = []

    @rule()
    def serialise(self) -> None:
        self.memory = MemOSMemory.from_dict(
            json.loads(json.dumps(self.memory.to_dict())), tokenizer_fn=str.split
        )

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.open()

    @invariant()
    def the_history_is_the_list(self) -> None:
        assert self.memory.get_all() == self.expected

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder, ignore_errors=True)


TestConversation = ConversationMachine.TestCase
TestConversation.settings = settings(
    max_examples=25,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@given(history=st.lists(messages, max_size=14), limit=st.integers(1, 40))
@settings(max_examples=300, deadline=None)
def test_how_a_history_is_cut(history: list[ChatMessage], limit: int) -> None:
    shown = newest_within(history, limit, words)
    at = [i for i, one in enumerate(history) if any(one is kept for kept in shown)]
    assert [history[i] for i in at] == shown, "a part of the history, in its order"
    users = [one for one in history if one.role.value == "user"]
    if users:
        assert shown[0].role.value == "user" or shown == history
        assert any(one is users[-1] for one in shown), "the newest user message is always there"
    for i, one in zip(at, shown, strict=True):
        if one.role.value == "tool" and i > 0 and history[i - 1].role.value != "user":
            assert i - 1 in at, "a result is not parted from what it answers"
    spent = sum(tokens_of(one, words) for one in shown)
    longest = tokens_of(users[-1], words) if users else 0
    assert spent <= max(limit, longest)
