"""Conformance of memories: what they insert, and what a token limit leaves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.base.llms.types import (
    ChatMessage,
    MessageRole,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.memory.types import BaseMemory

from memos_integrations.testing.memory_conformance_base import (
    EXAMPLES,
    FACT,
    PLENTY,
    QUESTION,
    MemorySuite,
    call,
    conversations,
    result,
    talk,
    user,
    words,
)


class InsertTests(MemorySuite):
    """What the memory inserts."""

    # What the memory inserts ------------------------------------------------------------------

    def _remembering(self) -> BaseMemory:
        memory = self._needs(self.remembering(FACT, PLENTY), "remembering")
        memory.put(user(QUESTION))
        return memory

    def test_what_is_inserted_is_there(self, memory: BaseMemory) -> None:
        shown = self._remembering().get(input=QUESTION)
        assert FACT in "\n".join(one.content or "" for one in shown)

    def test_what_is_inserted_is_not_part_of_the_history(self, memory: BaseMemory) -> None:
        other = self._remembering()
        other.get(input=QUESTION)
        assert other.get_all() == [user(QUESTION)]

    @pytest.mark.parametrize("asked", [True, False], ids=["asked", "unasked"])
    def test_what_is_inserted_is_not_stored_by_set(self, memory: BaseMemory, asked: bool) -> None:
        self._unless("inserted-is-stored")
        other = self._remembering()
        for _ in range(2):
            other.set(other.get(input=QUESTION) if asked else other.get())
            assert other.get_all() == [user(QUESTION)]

    def test_what_is_inserted_is_not_stored_by_put(self, memory: BaseMemory) -> None:
        self._unless("inserted-is-stored")
        other = self._remembering()
        shown = other.get(input=QUESTION)
        other.reset()
        other.put_messages(shown)
        assert other.get_all() == [user(QUESTION)]

    def test_it_is_inserted_where_the_question_is_not_put_yet(self, memory: BaseMemory) -> None:
        """Some engines put the question after they have asked for the history."""
        other = self._needs(self.remembering(FACT, PLENTY), "remembering")
        shown = other.get(input=QUESTION)
        assert FACT in "\n".join(one.content or "" for one in shown)
        assert other.get_all() == []

    @pytest.mark.parametrize("limit", [20, 60, 100])
    def test_what_is_inserted_is_within_the_token_limit(
        self, memory: BaseMemory, limit: int
    ) -> None:
        self._unless("over-limit")
        long = f"{FACT} {'and so on ' * 40}"
        other = self._needs(self.remembering(long, limit), "remembering")
        other.put(user(QUESTION))
        assert sum(map(words, other.get())) <= limit

    def test_what_is_inserted_leaves_the_newest_user_message(self, memory: BaseMemory) -> None:
        other = self._needs(self.remembering(FACT, 40), "remembering")
        other.put_messages([*talk(20), user(QUESTION)])
        shown = other.get()
        assert self.said(shown)[-1] == user(QUESTION)
        assert FACT in "\n".join(one.content or "" for one in shown)


class LimitTests(MemorySuite):
    """Within a token limit."""

    # Within a token limit ---------------------------------------------------------------------

    def test_the_newest_messages_are_kept(self, memory: BaseMemory) -> None:
        shown = self.said(self._limited(8, talk(10)).get())
        assert shown
        assert shown == talk(10)[-len(shown) :]
        assert sum(map(words, shown)) <= 8

    def test_what_fits_exactly_is_given(self, memory: BaseMemory) -> None:
        assert self.said(self._limited(8, talk(2)).get()) == talk(2)

    def test_a_newest_message_over_the_limit_is_given_whole(self, memory: BaseMemory) -> None:
        """So that the model complains, and not nobody."""
        long = user("word " * 50)
        assert self.said(self._limited(8, [*talk(2), long]).get()) == [long]

    def test_the_limit_does_not_cut_get_all(self, memory: BaseMemory) -> None:
        assert self._limited(8, talk(10)).get_all() == talk(10)

    def test_initial_token_count_takes_its_part(self, memory: BaseMemory) -> None:
        self._unless("over-limit")
        shown = self.said(self._limited(24, talk(6)).get(initial_token_count=16))
        assert shown == talk(6)[-4:]

    def test_an_initial_token_count_over_the_limit(self, memory: BaseMemory) -> None:
        self._unless("count-raises", "user-cut", "over-limit")
        shown = self.said(self._limited(8, [*talk(2), user("now")]).get(initial_token_count=99))
        assert shown == [user("now")]

    @pytest.mark.parametrize("kind", ["call", "thinking"])
    def test_calls_and_thinking_count(self, memory: BaseMemory, kind: str) -> None:
        self._unless("only-text-counted")
        said: list[ChatMessage] = []
        for n in range(6):
            thought = ThinkingBlock(content="word " * 60)
            heavy = (
                [call(f"c{n}", words="word " * 60), result(f"c{n}")]
                if kind == "call"
                else [ChatMessage(role=MessageRole.ASSISTANT, blocks=[thought])]
            )
            said += [user("hi"), *heavy]
        shown = self.said(self._limited(100, said).get())
        assert user("hi") in shown
        assert len(shown) <= 3

    @EXAMPLES
    @given(said=conversations(), limit=st.integers(1, 30))
    def test_the_newest_user_message_is_always_given(
        self, memory: BaseMemory, said: list[ChatMessage], limit: int
    ) -> None:
        self._unless("user-cut")
        asked = [one for one in said if one.role == MessageRole.USER]
        shown = self.said(self._limited(limit, said).get())
        assert [one for one in shown if one.role == MessageRole.USER][-1:] == asked[-1:]

    @EXAMPLES
    @given(said=conversations(), limit=st.integers(1, 30))
    def test_a_cut_history_begins_with_a_user_message(
        self, memory: BaseMemory, said: list[ChatMessage], limit: int
    ) -> None:
        self._unless("no-user-first")
        shown = self.said(self._limited(limit, said).get())
        if len(shown) < len(said) and any(one.role == MessageRole.USER for one in said):
            assert shown[0].role == MessageRole.USER

    @EXAMPLES
    @given(said=conversations(), limit=st.integers(1, 30))
    def test_calls_and_results_are_never_parted(
        self, memory: BaseMemory, said: list[ChatMessage], limit: int
    ) -> None:
        self._unless("call-parted")
        called: list[str | None] = []
        answered: list[str | None] = []
        for message in self.said(self._limited(limit, said).get()):
            blocks = [one for one in message.blocks if isinstance(one, ToolCallBlock)]
            called += [one.tool_call_id for one in blocks]
            if message.role == MessageRole.TOOL:
                answered.append(message.additional_kwargs["tool_call_id"])
                assert answered == called[: len(answered)]
        assert answered == called

    @EXAMPLES
    @given(said=conversations(), limit=st.integers(1, 30))
    def test_a_cut_history_is_the_end_of_the_whole(
        self, memory: BaseMemory, said: list[ChatMessage], limit: int
    ) -> None:
        """But for the newest user message, which may stand before a gap."""
        shown = self.said(self._limited(limit, said).get())
        if shown != said[len(said) - len(shown) :]:
            newest = max(n for n, one in enumerate(said) if one.role == MessageRole.USER)
            assert shown[0] == said[newest]
            assert shown[1:] == said[len(said) - len(shown) + 1 :]
            assert len(said) - len(shown) >= newest

    @EXAMPLES
    @given(said=conversations(), limit=st.integers(1, 30))
    def test_a_cut_history_is_within_the_limit(
        self, memory: BaseMemory, said: list[ChatMessage], limit: int
    ) -> None:
        self._unless("over-limit")
        shown = self.said(self._limited(limit, said).get())
        assert len(shown) == 1 or sum(map(words, shown)) <= limit
