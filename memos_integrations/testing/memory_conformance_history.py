"""Conformance of memories: what is put, read, replaced, emptied; copies and conversations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from llama_index.core.base.llms.types import (
    ChatMessage,
    MessageRole,
    TextBlock,
)
from llama_index.core.memory.types import BaseMemory

from memos_integrations.testing.memory_conformance_base import (
    CHANGES,
    EXAMPLES,
    MESSAGES,
    NAMED,
    PARAMS,
    MemorySuite,
    answer,
    call,
    fresh,
    result,
    talk,
    user,
)


class HistoryTests(MemorySuite):
    """One message after the other, read, replaced and emptied."""

    # One message after the other --------------------------------------------------------------

    def test_a_new_memory_is_empty(self, memory: BaseMemory) -> None:
        assert memory.get() == []
        assert memory.get_all() == []

    def test_an_empty_memory_is_true(self, memory: BaseMemory) -> None:
        """Engines write ``memory or default``."""
        assert memory

    def test_put_gives_none(self, memory: BaseMemory) -> None:
        put: Any = memory.put
        assert put(user("hello")) is None

    def test_messages_come_in_the_order_in_which_they_were_put(self, memory: BaseMemory) -> None:
        for message in talk(10):
            memory.put(message)
        assert memory.get_all() == talk(10)
        assert self.said(memory.get()) == talk(10)

    def test_put_messages_appends(self, memory: BaseMemory) -> None:
        memory.put(user("first"))
        memory.put_messages(talk(2))
        assert memory.get_all() == [user("first"), *talk(2)]

    def test_put_messages_of_nothing(self, memory: BaseMemory) -> None:
        self._unless("empty-add-raises")
        memory.put(user("first"))
        memory.put_messages([])
        assert memory.get_all() == [user("first")]

    def test_equal_messages_are_all_kept(self, memory: BaseMemory) -> None:
        said = [user("yes"), answer("sure?"), user("yes"), user("yes")]
        for message in said:
            memory.put(message)
        assert memory.get_all() == said

    def test_one_object_put_twice_is_two_messages(self, memory: BaseMemory) -> None:
        message = user("yes")
        memory.put(message)
        memory.put(message)
        assert memory.get_all() == [user("yes"), user("yes")]

    @pytest.mark.parametrize("message", PARAMS)
    def test_a_message_comes_back_as_it_was(self, memory: BaseMemory, message: ChatMessage) -> None:
        memory.put_messages([user("hi"), fresh(message)])
        assert memory.get_all() == [user("hi"), message]
        assert self.said(memory.get()) == [user("hi"), message]

    @pytest.mark.parametrize("message", PARAMS)
    def test_a_message_that_was_set_comes_back(
        self, memory: BaseMemory, message: ChatMessage
    ) -> None:
        memory.set([fresh(message), user("hi")])
        assert memory.get_all() == [message, user("hi")]

    @pytest.mark.parametrize("message", NAMED)
    def test_a_message_with_any_name(self, memory: BaseMemory, message: ChatMessage) -> None:
        memory.put(fresh(message))
        assert memory.get_all() == [message]

    def test_a_huge_result_of_a_tool(self, memory: BaseMemory) -> None:
        """A memory that refuses it ends the run of an agent."""
        huge = result("c1", "word " * 500_000)
        memory.put_messages([user("hi"), call("c1"), fresh(huge)])
        assert memory.get_all() == [user("hi"), call("c1"), huge]

    @pytest.mark.parametrize("role", list(MessageRole), ids=lambda role: role.value)
    def test_a_message_of_any_role(self, memory: BaseMemory, role: MessageRole) -> None:
        memory.put(user("hello"))
        memory.put(ChatMessage(role=role, content="words"))
        assert [one.role for one in memory.get_all()] == [MessageRole.USER, role]

    def test_a_conversation_with_tools(self, memory: BaseMemory) -> None:
        said = [
            user("when does it go?"),
            call("c1", "c2"),
            result("c1"),
            result("c2"),
            answer("at 8"),
        ]
        memory.put_messages([fresh(one) for one in said])
        assert memory.get_all() == said
        assert self.said(memory.get()) == said

    def test_a_leading_system_message_stays_first(self, memory: BaseMemory) -> None:
        said = [ChatMessage(role=MessageRole.SYSTEM, content="be kind"), *talk(1)]
        memory.put_messages([fresh(one) for one in said])
        assert self.said(memory.get()) == said

    def test_a_greeting_before_the_first_user_message_is_given(self, memory: BaseMemory) -> None:
        """Below the limit nothing is left out, whoever spoke first."""
        said = [answer("Hello, I am your guide"), *talk(1)]
        memory.put_messages([fresh(one) for one in said])
        assert self.said(memory.get()) == said

    def test_a_conversation_without_a_user_is_given(self, memory: BaseMemory) -> None:
        memory.put(answer("Hello, I am your guide"))
        assert self.said(memory.get()) == [answer("Hello, I am your guide")]

    # Reading ----------------------------------------------------------------------------------

    def test_reading_twice_gives_the_same(self, memory: BaseMemory) -> None:
        memory.put_messages(talk(3))
        assert memory.get(input="question 1") == memory.get(input="question 1")
        assert memory.get() == memory.get()
        assert memory.get_all() == memory.get_all()

    @pytest.mark.parametrize(
        "input",
        ["question", "", " ", "a\x00b", "word " * 20_000, user("question"), call("c1"), None],
        ids=["text", "empty", "blank", "nul", "long", "message", "call", "none"],
    )
    def test_any_input_is_read_with(
        self, memory: BaseMemory, input: str | ChatMessage | None
    ) -> None:
        memory.put_messages(talk(2))
        asked: Any = input
        assert self.said(memory.get(input=asked)) == talk(2)
        assert self.said(memory.get(asked)) == talk(2)

    def test_an_input_is_not_stored(self, memory: BaseMemory) -> None:
        memory.put_messages(talk(1))
        memory.get(input="something new")
        asked: Any = user("something newer")
        memory.get(input=asked)
        assert memory.get_all() == talk(1)

    def test_an_input_is_not_changed(self, memory: BaseMemory) -> None:
        memory.put_messages(talk(1))
        asked: Any = user("something new")
        memory.get(input=asked)
        assert asked == user("something new")

    def test_initial_token_count_alone(self, memory: BaseMemory) -> None:
        """As ``SimpleChatEngine`` asks."""
        memory.put_messages(talk(2))
        assert self.said(memory.get(initial_token_count=7)) == talk(2)

    def test_keywords_that_it_does_not_know(self, memory: BaseMemory) -> None:
        memory.put_messages(talk(2))
        assert self.said(memory.get(input="x", another_keyword=object())) == talk(2)

    # Replacing and emptying -------------------------------------------------------------------

    def test_set_replaces(self, memory: BaseMemory) -> None:
        memory.put_messages(talk(2))
        memory.set([user("new"), answer("indeed")])
        assert memory.get_all() == [user("new"), answer("indeed")]
        assert self.said(memory.get()) == [user("new"), answer("indeed")]

    def test_set_of_the_same_changes_nothing(self, memory: BaseMemory) -> None:
        memory.set(talk(3))
        memory.set(talk(3))
        assert memory.get_all() == talk(3)

    def test_set_of_its_own_messages_changes_nothing(self, memory: BaseMemory) -> None:
        memory.put_messages(talk(3))
        memory.set(memory.get_all())
        assert memory.get_all() == talk(3)
        memory.set(memory.get(input="question 1"))
        assert memory.get_all() == talk(3)

    @pytest.mark.parametrize(
        "after",
        [[], talk(1), talk(3), [user("new"), *talk(2)], [*talk(1), user("new")], talk(2)[::-1]],
        ids=["nothing", "shorter", "longer", "before", "changed", "reversed"],
    )
    def test_set_to_a_related_history(
        self, memory: BaseMemory, after: Sequence[ChatMessage]
    ) -> None:
        memory.set(talk(2))
        memory.set([fresh(one) for one in after])
        assert memory.get_all() == list(after)

    def test_put_after_set(self, memory: BaseMemory) -> None:
        memory.put_messages(talk(2))
        memory.set(talk(1))
        memory.put(user("more"))
        assert memory.get_all() == [*talk(1), user("more")]

    def test_reset_empties(self, memory: BaseMemory) -> None:
        memory.put_messages(talk(2))
        memory.reset()
        assert memory.get_all() == []
        assert memory.get() == []

    def test_reset_of_nothing(self, memory: BaseMemory) -> None:
        memory.reset()
        memory.reset()
        assert memory.get_all() == []

    def test_put_after_reset(self, memory: BaseMemory) -> None:
        memory.put_messages(talk(2))
        memory.reset()
        memory.put_messages(talk(1))
        assert memory.get_all() == talk(1)
        assert self.said(memory.get()) == talk(1)

    @EXAMPLES
    @given(changes=CHANGES)
    def test_any_changes_give_what_a_list_would(
        self, memory: BaseMemory, changes: list[tuple[str, list[str]]]
    ) -> None:
        memory.reset()
        model: list[ChatMessage] = []
        for verb, names in changes:
            messages = [fresh(MESSAGES[name]) for name in names]
            if verb == "put":
                for message in messages:
                    memory.put(message)
                model += messages
            elif verb == "put_messages" and messages:
                memory.put_messages(messages)
                model += messages
            elif verb == "set":
                memory.set(messages)
                model = list(messages)
            elif verb == "set_own":
                memory.set(memory.get_all())
            elif verb == "reset":
                memory.reset()
                model = []
            assert memory.get_all() == model


class ConversationTests(MemorySuite):
    """Copies, and conversations beside each other."""

    # Copies -----------------------------------------------------------------------------------

    @pytest.mark.parametrize("read", ["get", "get_all"])
    def test_changing_what_was_read_changes_nothing(self, memory: BaseMemory, read: str) -> None:
        self._unless("aliased")
        memory.put_messages(talk(1))
        shown = getattr(memory, read)()
        for block in shown[-1].blocks:
            block.text = "rewritten"
        shown[-1].additional_kwargs["x"] = 1
        shown[-1].role = MessageRole.SYSTEM
        shown.clear()
        assert memory.get_all() == talk(1)
        assert self.said(memory.get()) == talk(1)

    @pytest.mark.parametrize("write", ["put", "put_messages", "set"])
    def test_changing_what_was_written_changes_nothing(
        self, memory: BaseMemory, write: str
    ) -> None:
        self._unless("aliased")
        message, messages = user("hello"), [user("hello")]
        if write == "put":
            memory.put(message)
        else:
            getattr(memory, write)(messages)
            message = messages[0]
            messages.append(user("later"))
        message.blocks[0] = TextBlock(text="rewritten")
        message.additional_kwargs["x"] = 1
        assert memory.get_all() == [user("hello")]

    @pytest.mark.parametrize("message", PARAMS)
    def test_writing_changes_no_message(self, memory: BaseMemory, message: ChatMessage) -> None:
        given_ = fresh(message)
        memory.put(given_)
        memory.get(input="hello")
        memory.set([given_])
        assert given_ == message

    # Conversations ----------------------------------------------------------------------------

    def test_another_object_sees_the_same_conversation(self, memory: BaseMemory) -> None:
        memory.put_messages(talk(2))
        other = self._needs(self.reopened(memory), "reopened")
        assert other.get_all() == talk(2)
        other.put(user("more"))
        assert memory.get_all() == [*talk(2), user("more")]
        other.reset()
        assert memory.get_all() == []

    def test_conversations_are_apart(self, memory: BaseMemory) -> None:
        other = self._needs(self.another(), "another")
        memory.put_messages(talk(2))
        assert other.get_all() == []
        other.put(user("mine"))
        memory.reset()
        assert other.get_all() == [user("mine")]

    def test_to_dict_is_json(self, memory: BaseMemory) -> None:
        self._unless("not-json")
        memory.put_messages([fresh(one) for one in MESSAGES.values()])
        data = memory.to_dict()
        assert json.loads(json.dumps(data)) == data

    def test_from_dict_brings_the_messages_back(self, memory: BaseMemory) -> None:
        self._unless("not-json")
        memory.put_messages([fresh(one) for one in MESSAGES.values()])
        again = self.restored(json.loads(json.dumps(memory.to_dict())), memory)
        assert type(again) is type(memory)
        assert again.get_all() == list(MESSAGES.values())
        again.put(user("more"))
        assert again.get_all() == [*MESSAGES.values(), user("more")]
