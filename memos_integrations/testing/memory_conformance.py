"""Conformance suites for LlamaIndex: memories, chat stores, and the async stores of ``Memory``."""

from __future__ import annotations

import asyncio
import itertools
import json
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llama_index.core.base.llms.types import (
    CacheControl,
    CachePoint,
    ChatMessage,
    CitableBlock,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.memory import Memory
from llama_index.core.memory.types import BaseMemory
from llama_index.core.storage.chat_store.base import BaseChatStore
from llama_index.core.storage.chat_store.base_db import AsyncDBChatStore, MessageStatus

__all__ = ["QUIRKS", "AsyncChatStoreConformance", "ChatStoreConformance", "MemoryConformance"]

QUIRKS: dict[str, str] = {
    "aliased": "messages and lists are shared with the caller, so changing one changes the other",
    "call-parted": "the token limit can leave a tool's result without the call before it",
    "count-raises": "an initial_token_count above the token limit raises",
    "empty-add-raises": "adding an empty list of messages raises",
    "empty-keys": "a key is still listed when its last message is gone",
    "empty-pop-raises": "deleting the last message of an emptied key raises",
    "first-use-race": "concurrent first uses raise: the table is made more than once, or too late",
    "failed-set-empties": "a set that raises has already deleted what was there",
    "inserted-is-stored": "what get() inserted is stored when its result is set again",
    "negative-index-raises": "a negative index before the first message raises",
    "not-json": "to_dict raises, or gives what JSON cannot write",
    "no-user-first": "a history cut to the token limit can begin with an answer or a call",
    "not-concurrent": "concurrent puts, of threads or of coroutines, raise, hang or get lost",
    "only-text-counted": "tool calls and thinking take nothing of the token limit",
    "over-limit": "more than the token limit is given, though older turns could be left out",
    "row-ids": "delete_message takes the id of a table row, not a place in the history",
    "unchecked": "what is no message is stored, or fails only when it is read",
    "user-cut": "the newest user message is left out under a small token limit",
}
"""Known deviations: a name for ``quirks``, and what such a memory or store does."""

PLENTY = 1_000_000
"""A token limit that no test reaches."""
FACT = "The cat of Ann is called Miso"
QUESTION = "What is the cat of Ann called?"

_EXAMPLES = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.differing_executors,
        HealthCheck.too_slow,
    ],
)


def user(text: str) -> ChatMessage:
    """What a user says."""
    return ChatMessage(role=MessageRole.USER, content=text)


def answer(text: str) -> ChatMessage:
    """What the assistant says."""
    return ChatMessage(role=MessageRole.ASSISTANT, content=text)


def call(*ids: str, words: str = "tea") -> ChatMessage:
    """A call of a tool for each id."""
    blocks = [
        ToolCallBlock(tool_call_id=one, tool_name="look", tool_kwargs={"for": words}) for one in ids
    ]
    return ChatMessage(role=MessageRole.ASSISTANT, blocks=list(blocks))


def result(id: str, text: str = "found") -> ChatMessage:
    """What the tool answered to the call of this id."""
    return ChatMessage(role=MessageRole.TOOL, content=text, additional_kwargs={"tool_call_id": id})


def talk(turns: int) -> list[ChatMessage]:
    """A conversation of so many turns, two messages each."""
    return [m for n in range(turns) for m in (user(f"question {n}"), answer(f"answer {n}"))]


MESSAGES: dict[str, ChatMessage] = {
    "text": user("hello"),
    "empty": answer(""),
    "no-content": ChatMessage(role=MessageRole.ASSISTANT, content=None),
    "blank": user(" \n\t "),
    "nul": user("a\x00b"),
    "unicode": user("naïve café 東京 👩‍👩‍👧 \u202eabc\u202c e\u0301"),
    "like-json": user('{"role": "user", "content": [1, null]}'),
    "like-a-template": user("{name} {{ x }} %s <b>&amp;</b> </memory>"),
    "like-a-block": user("<memories>\nmine\n</memories>"),
    "long": user("word " * 20_000),
    "several-blocks": ChatMessage(
        role=MessageRole.USER, blocks=[TextBlock(text="one"), TextBlock(text="two")]
    ),
    "empty-block": ChatMessage(
        role=MessageRole.USER, blocks=[TextBlock(text="one"), TextBlock(text="")]
    ),
    "image": ChatMessage(
        role=MessageRole.USER,
        blocks=[TextBlock(text="look"), ImageBlock(url="https://example.org/a.png")],
    ),
    "image-data": ChatMessage(
        role=MessageRole.USER,
        blocks=[ImageBlock(image=b64encode(b"\x89PNG" * 9), image_mimetype="image/png")],
    ),
    "document": ChatMessage(
        role=MessageRole.USER,
        blocks=[
            DocumentBlock(data=b64encode(b"%PDF"), document_mimetype="application/pdf", title="t")
        ],
    ),
    "citable": ChatMessage(
        role=MessageRole.USER,
        blocks=[
            CitableBlock(title="t", source="s", content=[TextBlock(text="x")]),
            CachePoint(cache_control=CacheControl(type="ephemeral")),
        ],
    ),
    "calls": call("c1", "c2"),
    "call-with-text": ChatMessage(
        role=MessageRole.ASSISTANT,
        blocks=[
            TextBlock(text="I look it up"),
            ToolCallBlock(tool_call_id="c", tool_name="look", tool_kwargs={"deep": {"n": [1]}}),
        ],
    ),
    "thinking": ChatMessage(
        role=MessageRole.ASSISTANT,
        blocks=[
            ThinkingBlock(content="hmm", num_tokens=3, additional_information={"signature": "x"}),
            TextBlock(text="yes"),
        ],
    ),
    "result": result("c1"),
    "kwargs": ChatMessage(
        role=MessageRole.USER,
        content="hi",
        additional_kwargs={"name": "ann", "n": 1, "deep": {"list": [1, None, "x"]}},
    ),
    "odd-kwargs": ChatMessage(
        role=MessageRole.USER,
        content="hi",
        additional_kwargs={"": 1, "$ref": 2**70, "a.b": "a\x00b", "\n": [[], {}, ""]},
    ),
}
"""Messages that must come back as they went in."""

NAMES = {"number": 7, "empty": "", "blank": " ", "nul": "a\x00", "long": "n" * 5_000, "list": ["a"]}
"""What hosts write into ``additional_kwargs["name"]``, and what they should not."""
NAMED = [
    pytest.param(ChatMessage(content="hi", additional_kwargs={"name": name}), id=kind)
    for kind, name in NAMES.items()
]
PARAMS = [pytest.param(message, id=name) for name, message in MESSAGES.items()]
BAD = [pytest.param(bad, id=type(bad).__name__) for bad in (None, "text", 7, {"role": "user"})]


def fresh(message: ChatMessage) -> ChatMessage:
    """A copy that a test may change, or a store may keep."""
    return message.model_copy(deep=True)


def words(message: ChatMessage) -> int:
    """Tokens of a message's text, for the tokenizer ``str.split``."""
    return len((message.content or "").split())


def together(work: Callable[[int], Any], threads: int) -> list[Any]:
    """Run ``work(0)``, ``work(1)``… at the same moment; what one raises is raised here."""
    start = Barrier(threads)

    def run(number: int) -> Any:
        start.wait(30)
        return work(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))


async def fails_cleanly(work: Callable[[], Awaitable[Any]]) -> None:
    """It raises, and no ``RuntimeError``: the host takes that for a nested event loop."""
    with pytest.raises(Exception) as raised:
        await work()
    assert not isinstance(raised.value, RuntimeError), repr(raised.value)


class _Suite:
    quirks: ClassVar[frozenset[str]] = frozenset()
    """Names from :data:`QUIRKS` that the class is known to have; their tests are skipped."""

    def _unless(self, *quirks: str) -> None:
        for quirk in quirks:
            if quirk in self.quirks:
                pytest.skip(f"known quirk {quirk!r}: {QUIRKS[quirk]}")

    def test_quirks_are_known(self) -> None:
        """A quirk that is misspelt would skip nothing."""
        assert self.quirks <= set(QUIRKS)


TEXTS = st.lists(st.sampled_from(["tea", "oslo", "boat", "red"]), min_size=1, max_size=6).map(
    " ".join
)


@st.composite
def conversations(draw: st.DrawFn) -> list[ChatMessage]:
    """Users, assistants, and calls each followed by its results, in any order."""
    ids = itertools.count()
    said: list[ChatMessage] = []
    for kind in draw(st.lists(st.sampled_from(["user", "answer", "call"]), max_size=12)):
        if kind == "call":
            called = [f"c{next(ids)}" for _ in range(draw(st.integers(1, 2)))]
            said.append(call(*called))
            said.extend(result(one, draw(TEXTS)) for one in called)
        else:
            said.append((user if kind == "user" else answer)(draw(TEXTS)))
    return said


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["put", "put_messages", "set", "set_own", "reset"]),
        st.lists(st.sampled_from(list(MESSAGES)).filter(lambda name: name != "long"), max_size=3),
    ),
    max_size=8,
)


class MemoryConformance(_Suite):
    """Subclass it in a test module, with a fixture that returns a new, empty memory::

        from llama_index.core.memory import ChatMemoryBuffer
        from memos_integrations.testing.memory_conformance import MemoryConformance

        class TestMyMemory(MemoryConformance):
            quirks = frozenset({"aliased"})

            @pytest.fixture
            def memory(self):
                return ChatMemoryBuffer.from_defaults(token_limit=1_000_000)

    - ``quirks`` names known deviations from :data:`QUIRKS`; their tests are skipped, with the
      reason. An empty set is the aim.
    - The hooks below are optional; where one returns ``None``, its tests are skipped. They are
      called after the fixture, so they may use what it left on ``self``.
    - The fixture's token limit must be :data:`PLENTY`.

    Needs pytest, pytest-asyncio and hypothesis. With
    ``pytest.register_assert_rewrite("memos_integrations.testing.memory_conformance")`` in a
    ``conftest.py``, a failing ``assert`` shows its values.
    """

    @pytest.fixture
    def memory(self) -> BaseMemory:
        """A new, empty memory of one conversation. Override this."""
        raise NotImplementedError("override the fixture `memory` with one that returns your memory")

    def reopened(self, memory: BaseMemory) -> BaseMemory | None:
        """The same conversation through a new object."""
        return None

    def another(self) -> BaseMemory | None:
        """A new, empty memory of another conversation, beside that of the fixture."""
        return None

    def tokens_limited(self, limit: int) -> BaseMemory | None:
        """A new, empty memory with this token limit, counting with ``str.split``."""
        return None

    def remembering(self, fact: str, limit: int) -> BaseMemory | None:
        """A new, empty memory whose ``get`` inserts ``fact`` for a question about it.

        With this token limit, counting with ``str.split``.
        """
        return None

    def restored(self, data: dict[str, Any], memory: BaseMemory) -> BaseMemory:
        """The memory that ``data`` of ``memory.to_dict()`` stands for."""
        return type(memory).from_dict(data)

    def said(self, messages: list[ChatMessage]) -> list[ChatMessage]:
        """Of what ``get`` returned, what was put. Override where the memory inserts."""
        return messages

    def _needs(self, memory: BaseMemory | None, hook: str) -> BaseMemory:
        if memory is None:
            pytest.skip(f"override `{hook}` to run this test")
        return memory

    def _limited(self, limit: int, messages: Sequence[ChatMessage] = ()) -> BaseMemory:
        memory = self._needs(self.tokens_limited(limit), "tokens_limited")
        for message in messages:
            memory.put(fresh(message))
        return memory

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

    @_EXAMPLES
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

    @_EXAMPLES
    @given(said=conversations(), limit=st.integers(1, 30))
    def test_the_newest_user_message_is_always_given(
        self, memory: BaseMemory, said: list[ChatMessage], limit: int
    ) -> None:
        self._unless("user-cut")
        asked = [one for one in said if one.role == MessageRole.USER]
        shown = self.said(self._limited(limit, said).get())
        assert [one for one in shown if one.role == MessageRole.USER][-1:] == asked[-1:]

    @_EXAMPLES
    @given(said=conversations(), limit=st.integers(1, 30))
    def test_a_cut_history_begins_with_a_user_message(
        self, memory: BaseMemory, said: list[ChatMessage], limit: int
    ) -> None:
        self._unless("no-user-first")
        shown = self.said(self._limited(limit, said).get())
        if len(shown) < len(said) and any(one.role == MessageRole.USER for one in said):
            assert shown[0].role == MessageRole.USER

    @_EXAMPLES
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

    @_EXAMPLES
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

    @_EXAMPLES
    @given(said=conversations(), limit=st.integers(1, 30))
    def test_a_cut_history_is_within_the_limit(
        self, memory: BaseMemory, said: list[ChatMessage], limit: int
    ) -> None:
        self._unless("over-limit")
        shown = self.said(self._limited(limit, said).get())
        assert len(shown) == 1 or sum(map(words, shown)) <= limit

    # asyncio ----------------------------------------------------------------------------------

    @pytest.mark.asyncio
    async def test_async_twins(self, memory: BaseMemory) -> None:
        assert await memory.aget() == []
        assert await memory.aget_all() == []
        await memory.aput(user("first"))
        await memory.aput_messages(talk(1))
        said = [user("first"), *talk(1)]
        assert await memory.aget_all() == said
        assert self.said(await memory.aget()) == said
        await memory.aset(talk(2))
        assert await memory.aget_all() == talk(2)
        await memory.areset()
        assert await memory.aget_all() == []

    @pytest.mark.asyncio
    async def test_async_reads_equal_sync_ones(self, memory: BaseMemory) -> None:
        await memory.aput_messages([fresh(one) for one in MESSAGES.values()])
        assert await memory.aget_all() == await asyncio.to_thread(memory.get_all)
        assert await memory.aget() == await asyncio.to_thread(memory.get)
        asked: Any = user("hello")
        assert await memory.aget(input=asked) == await asyncio.to_thread(memory.get, asked)

    @pytest.mark.asyncio
    async def test_async_reads_take_what_sync_ones_take(self, memory: BaseMemory) -> None:
        await memory.aput_messages(talk(2))
        asked: Any = user("question")
        assert self.said(await memory.aget(input="question")) == talk(2)
        assert self.said(await memory.aget(input=asked)) == talk(2)
        assert self.said(await memory.aget("question")) == talk(2)
        assert self.said(await memory.aget(initial_token_count=7)) == talk(2)
        assert self.said(await memory.aget(input="x", another_keyword=1)) == talk(2)

    @pytest.mark.asyncio
    async def test_sync_calls_in_a_running_loop(self, memory: BaseMemory) -> None:
        memory.put_messages(talk(1))
        await memory.aput(user("more"))
        assert memory.get_all() == [*talk(1), user("more")]
        assert self.said(memory.get()) == [*talk(1), user("more")]

    @pytest.mark.asyncio
    async def test_async_reads_are_copies(self, memory: BaseMemory) -> None:
        self._unless("aliased")
        await memory.aput_messages(talk(1))
        for shown in (await memory.aget(), await memory.aget_all()):
            shown[0].blocks[0] = TextBlock(text="rewritten")
            shown.clear()
        assert await memory.aget_all() == talk(1)

    @pytest.mark.asyncio
    async def test_twenty_puts_at_once(self, memory: BaseMemory) -> None:
        self._unless("not-concurrent")
        await memory.aput(user("first"))
        await asyncio.gather(*(memory.aput(user(f"n {n}")) for n in range(20)))
        kept = await memory.aget_all()
        assert kept[0] == user("first")
        assert sorted(one.content or "" for one in kept[1:]) == sorted(f"n {n}" for n in range(20))

    @pytest.mark.asyncio
    async def test_first_reads_at_once(self, memory: BaseMemory) -> None:
        self._unless("first-use-race")
        assert await asyncio.gather(*(memory.aget() for _ in range(8))) == [[]] * 8

    @pytest.mark.asyncio
    async def test_first_writes_at_once(self, memory: BaseMemory) -> None:
        self._unless("first-use-race")
        await asyncio.gather(*(memory.aput(user(f"n {n}")) for n in range(8)))
        assert len(await memory.aget_all()) == 8

    # Threads ----------------------------------------------------------------------------------

    def test_threads_lose_no_message(self, memory: BaseMemory) -> None:
        self._unless("not-concurrent")
        memory.put(user("first"))

        def write(thread: int) -> None:
            for n in range(10):
                memory.put(user(f"{thread} {n}"))

        together(write, 6)
        kept = [one.content for one in memory.get_all()[1:]]
        assert len(kept) == 60
        for thread in range(6):
            mine = [text for text in kept if text and text.startswith(f"{thread} ")]
            assert mine == [f"{thread} {n}" for n in range(10)]

    def test_messages_put_together_stay_together(self, memory: BaseMemory) -> None:
        self._unless("not-concurrent")
        memory.put(user("first"))
        together(lambda n: memory.put_messages([user(f"{n} a"), answer(f"{n} b")]), 8)
        kept = [one.content or "" for one in memory.get_all()[1:]]
        assert [text[:-1] for text in kept[::2]] == [text[:-1] for text in kept[1::2]]
        assert len(kept) == 16

    def test_threads_read_while_one_writes(self, memory: BaseMemory) -> None:
        self._unless("not-concurrent")
        memory.put(user("first"))

        def work(thread: int) -> None:
            for n in range(10):
                if thread == 0:
                    memory.put(user(f"n {n}"))
                else:
                    assert memory.get_all()[0] == user("first")
                    assert memory.get(input="first")

        together(work, 4)
        assert len(memory.get_all()) == 11

    # Bad input --------------------------------------------------------------------------------

    @pytest.mark.parametrize("bad", BAD)
    @pytest.mark.asyncio
    async def test_what_is_no_message_is_refused(self, memory: BaseMemory, bad: Any) -> None:
        """And no ``RuntimeError`` says so."""
        self._unless("unchecked")
        await memory.aput_messages(talk(1))
        await fails_cleanly(lambda: memory.aput(bad))
        await fails_cleanly(lambda: memory.aput_messages([user("good"), bad]))
        await fails_cleanly(lambda: asyncio.to_thread(memory.put, bad))
        await fails_cleanly(lambda: asyncio.to_thread(memory.put_messages, [user("good"), bad]))
        assert await memory.aget_all() == talk(1)

    @pytest.mark.parametrize("bad", BAD)
    @pytest.mark.asyncio
    async def test_a_set_that_fails_changes_nothing(self, memory: BaseMemory, bad: Any) -> None:
        self._unless("unchecked", "failed-set-empties")
        await memory.aput_messages(talk(1))
        await fails_cleanly(lambda: memory.aset([user("good"), bad]))
        await fails_cleanly(lambda: asyncio.to_thread(memory.set, [user("good"), bad]))
        assert await memory.aget_all() == talk(1)

    @pytest.mark.parametrize("odd", ["half-a-character", "no-json"])
    @pytest.mark.asyncio
    async def test_what_cannot_be_written_is_kept_or_refused(
        self, memory: BaseMemory, odd: str
    ) -> None:
        """A lone surrogate, as a cut stream leaves it; an object that JSON has no word for."""
        await memory.aput(user("first"))
        extra = {} if odd == "half-a-character" else {"thing": object()}
        message = ChatMessage(content="a\ud800b" if not extra else "hi", additional_kwargs=extra)
        [error] = await asyncio.gather(memory.aput(message), return_exceptions=True)
        assert not isinstance(error, RuntimeError)
        kept = await memory.aget_all()
        assert kept == ([user("first")] if error else [user("first"), message])

    @pytest.mark.asyncio
    async def test_half_a_character_in_an_input(self, memory: BaseMemory) -> None:
        await memory.aput(user("first"))
        assert self.said(await memory.aget(input="a\ud800b")) == [user("first")]


KEYS = ["chat_history", "user:1", "a/b", "../up", "with space", "100%", "a_c", "ünï 東京", "A", "a"]
"""Keys that may not be mixed up."""

STORE_CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["set", "add", "delete", "delete_one", "delete_last"]),
        st.sampled_from(["k", "k2"]),
        st.integers(0, 4),
    ),
    max_size=12,
)


class ChatStoreConformance(_Suite):
    """Subclass it in a test module, with a fixture that returns a new, empty store::

        class TestMyChatStore(ChatStoreConformance):
            @pytest.fixture
            def store(self):
                return SimpleChatStore()

    ``quirks`` are those of :data:`QUIRKS`; override ``reopened`` for a store that lasts.
    """

    @pytest.fixture
    def store(self) -> BaseChatStore:
        """A new, empty store. Override this."""
        raise NotImplementedError("override the fixture `store` with one that returns your store")

    def reopened(self, store: BaseChatStore) -> BaseChatStore | None:
        """The same histories through a new object."""
        return None

    # Reading and writing ----------------------------------------------------------------------

    def test_a_new_store_is_empty(self, store: BaseChatStore) -> None:
        assert store.get_keys() == []
        assert store.get_messages("k") == []

    def test_reading_makes_no_key(self, store: BaseChatStore) -> None:
        store.get_messages("k")
        store.delete_messages("k")
        store.delete_message("k", 0)
        store.delete_last_message("k")
        assert store.get_keys() == []

    def test_writing_gives_none(self, store: BaseChatStore) -> None:
        put: Any = store.set_messages
        add: Any = store.add_message
        assert put("k", talk(1)) is None
        assert add("k", user("more")) is None

    def test_set_then_get(self, store: BaseChatStore) -> None:
        store.set_messages("k", talk(10))
        assert store.get_messages("k") == talk(10)

    def test_set_replaces(self, store: BaseChatStore) -> None:
        store.set_messages("k", talk(3))
        store.set_messages("k", [user("new"), *talk(1)])
        assert store.get_messages("k") == [user("new"), *talk(1)]

    def test_set_to_nothing(self, store: BaseChatStore) -> None:
        store.set_messages("k", talk(1))
        store.set_messages("k", [])
        assert store.get_messages("k") == []

    def test_set_of_its_own_messages(self, store: BaseChatStore) -> None:
        store.set_messages("k", talk(2))
        store.set_messages("k", store.get_messages("k"))
        assert store.get_messages("k") == talk(2)

    def test_add_appends(self, store: BaseChatStore) -> None:
        for message in talk(3):
            store.add_message("k", message)
        assert store.get_messages("k") == talk(3)

    def test_equal_messages_are_all_kept(self, store: BaseChatStore) -> None:
        for _ in range(3):
            store.add_message("k", user("yes"))
        assert store.get_messages("k") == [user("yes")] * 3

    @pytest.mark.parametrize("at", [0, 1, 2, 4, 9, -1, -9])
    def test_add_at_a_place(self, store: BaseChatStore, at: int) -> None:
        """As ``list.insert``."""
        expected = talk(2)
        expected.insert(at, user("new"))
        store.set_messages("k", talk(2))
        add: Any = store.add_message
        add("k", user("new"), idx=at)
        assert store.get_messages("k") == expected

    @pytest.mark.parametrize("message", PARAMS)
    def test_a_message_comes_back_as_it_was(
        self, store: BaseChatStore, message: ChatMessage
    ) -> None:
        store.add_message("k", fresh(message))
        store.set_messages("k2", [fresh(message), fresh(message)])
        assert store.get_messages("k") == [message]
        assert store.get_messages("k2") == [message, message]

    @pytest.mark.parametrize("role", list(MessageRole), ids=lambda role: role.value)
    def test_a_message_of_any_role(self, store: BaseChatStore, role: MessageRole) -> None:
        store.add_message("k", ChatMessage(role=role, content="words"))
        assert [one.role for one in store.get_messages("k")] == [role]

    @pytest.mark.parametrize("message", NAMED)
    def test_a_message_with_any_name(self, store: BaseChatStore, message: ChatMessage) -> None:
        store.add_message("k", fresh(message))
        assert store.get_messages("k") == [message]

    def test_a_huge_message(self, store: BaseChatStore) -> None:
        huge = result("c1", "word " * 500_000)
        store.add_message("k", fresh(huge))
        assert store.get_messages("k") == [huge]

    # Deleting ---------------------------------------------------------------------------------

    def test_delete_messages_gives_what_was_there(self, store: BaseChatStore) -> None:
        store.set_messages("k", talk(2))
        assert store.delete_messages("k") == talk(2)
        assert store.get_messages("k") == []
        assert store.delete_messages("k") is None

    @pytest.mark.parametrize("at", [0, 1, 3, -1, -4])
    def test_delete_message_gives_it(self, store: BaseChatStore, at: int) -> None:
        expected = talk(2)
        gone = expected.pop(at)
        store.set_messages("k", talk(2))
        assert store.delete_message("k", at) == gone
        assert store.get_messages("k") == expected

    @pytest.mark.parametrize("at", [4, 99])
    def test_delete_message_after_the_end(self, store: BaseChatStore, at: int) -> None:
        store.set_messages("k", talk(2))
        assert store.delete_message("k", at) is None
        assert store.get_messages("k") == talk(2)

    def test_delete_message_before_the_start(self, store: BaseChatStore) -> None:
        self._unless("negative-index-raises")
        store.set_messages("k", talk(2))
        assert store.delete_message("k", -5) is None
        assert store.get_messages("k") == talk(2)

    def test_delete_last_message_gives_it(self, store: BaseChatStore) -> None:
        store.set_messages("k", talk(1))
        assert store.delete_last_message("k") == talk(1)[1]
        assert store.get_messages("k") == talk(1)[:1]

    def test_deleting_where_no_key_is(self, store: BaseChatStore) -> None:
        assert store.delete_messages("k") is None
        assert store.delete_message("k", 0) is None
        assert store.delete_last_message("k") is None

    def test_deleting_what_was_emptied(self, store: BaseChatStore) -> None:
        self._unless("empty-pop-raises")
        store.set_messages("k", [user("only")])
        assert store.delete_last_message("k") == user("only")
        assert store.delete_last_message("k") is None
        assert store.delete_message("k", 0) is None

    def test_add_after_delete(self, store: BaseChatStore) -> None:
        store.set_messages("k", talk(2))
        store.delete_message("k", 1)
        store.add_message("k", user("more"))
        assert store.get_messages("k") == [talk(2)[0], *talk(2)[2:], user("more")]

    # Keys -------------------------------------------------------------------------------------

    def test_keys_of_what_is_kept(self, store: BaseChatStore) -> None:
        for key in KEYS:
            store.add_message(key, user("hello"))
        assert sorted(store.get_keys()) == sorted(KEYS)
        assert store.delete_messages(KEYS[0])
        assert sorted(store.get_keys()) == sorted(KEYS[1:])

    @pytest.mark.parametrize("how", ["set", "delete_one", "delete_last"])
    def test_emptied_keys_are_gone(self, store: BaseChatStore, how: str) -> None:
        self._unless("empty-keys")
        store.set_messages("k", [user("only")])
        if how == "set":
            store.set_messages("k", [])
        elif how == "delete_one":
            store.delete_message("k", 0)
        else:
            store.delete_last_message("k")
        assert store.get_keys() == []

    def test_keys_are_apart(self, store: BaseChatStore) -> None:
        for key in KEYS:
            store.set_messages(key, [user(key)])
        store.delete_messages("a")
        store.add_message("a/b", user("more"))
        store.set_messages("A", talk(1))
        for key in KEYS:
            changed = {"a": [], "a/b": [user(key), user("more")], "A": talk(1)}
            assert store.get_messages(key) == changed.get(key, [user(key)])

    # Copies and copies of copies --------------------------------------------------------------

    def test_changing_what_was_read_changes_nothing(self, store: BaseChatStore) -> None:
        self._unless("aliased")
        store.set_messages("k", talk(1))
        shown = store.get_messages("k")
        shown[0].blocks[0] = TextBlock(text="rewritten")
        shown.clear()
        assert store.get_messages("k") == talk(1)

    def test_changing_what_was_written_changes_nothing(self, store: BaseChatStore) -> None:
        self._unless("aliased")
        message, messages = user("one"), [user("one")]
        store.add_message("k", message)
        store.set_messages("k2", messages)
        message.blocks[0] = TextBlock(text="rewritten")
        messages[0].blocks[0] = TextBlock(text="rewritten")
        messages.append(user("later"))
        assert store.get_messages("k") == store.get_messages("k2") == [user("one")]

    def test_another_object_sees_the_same(self, store: BaseChatStore) -> None:
        other = self.reopened(store)
        if other is None:
            pytest.skip("override `reopened` to run this test")
        store.set_messages("k", talk(2))
        assert other.get_messages("k") == talk(2)
        other.delete_last_message("k")
        assert store.get_messages("k") == talk(2)[:-1]
        assert other.get_keys() == ["k"]

    def test_from_dict_brings_the_messages_back(self, store: BaseChatStore) -> None:
        self._unless("not-json")
        store.set_messages("k", [fresh(one) for one in MESSAGES.values()])
        again = type(store).from_dict(json.loads(json.dumps(store.to_dict())))
        assert again.get_messages("k") == list(MESSAGES.values())
        assert again.get_keys() == ["k"]

    @_EXAMPLES
    @given(changes=STORE_CHANGES)
    def test_any_changes_give_what_lists_would(
        self, store: BaseChatStore, changes: list[tuple[str, str, int]]
    ) -> None:
        model: dict[str, list[ChatMessage]] = {"k": [], "k2": []}
        for key in model:
            store.delete_messages(key)
        for n, (verb, key, number) in enumerate(changes):
            kept = model[key]
            if verb == "set":
                store.set_messages(key, talk(number))
                kept[:] = talk(number)
            elif verb == "add":
                store.add_message(key, user(f"n {n}"))
                kept.append(user(f"n {n}"))
            elif verb == "delete":
                store.delete_messages(key)
                kept.clear()
            elif verb == "delete_one":
                expected = kept.pop(number) if number < len(kept) else None
                assert store.delete_message(key, number) == expected
            elif kept:
                assert store.delete_last_message(key) == kept.pop()
            assert {one: store.get_messages(one) for one in model} == model

    # asyncio and threads ----------------------------------------------------------------------

    @pytest.mark.asyncio
    async def test_async_twins(self, store: BaseChatStore) -> None:
        assert await store.aget_messages("k") == []
        assert await store.adelete_messages("k") is None
        assert await store.adelete_message("k", 0) is None
        assert await store.adelete_last_message("k") is None
        await store.aset_messages("k", talk(2))
        await store.async_add_message("k", user("more"))
        assert await store.aget_messages("k") == [*talk(2), user("more")]
        assert await store.adelete_last_message("k") == user("more")
        assert await store.adelete_message("k", 0) == talk(2)[0]
        assert await store.aget_keys() == ["k"]
        assert await store.adelete_messages("k") == talk(2)[1:]
        assert await store.aget_keys() == []

    @pytest.mark.asyncio
    async def test_twenty_adds_at_once(self, store: BaseChatStore) -> None:
        self._unless("not-concurrent")
        texts = [f"n {n}" for n in range(20)]
        await asyncio.gather(*(store.async_add_message("k", user(text)) for text in texts))
        kept = [one.content for one in await store.aget_messages("k")]
        assert sorted(map(str, kept)) == sorted(texts)

    def test_threads_lose_no_message(self, store: BaseChatStore) -> None:
        self._unless("not-concurrent")

        def write(thread: int) -> None:
            for n in range(10):
                store.add_message("k", user(f"{thread} {n}"))
                store.add_message(f"k{thread}", user(f"{n}"))

        together(write, 6)
        kept = {one.content for one in store.get_messages("k")}
        assert kept == {f"{thread} {n}" for thread in range(6) for n in range(10)}
        for thread in range(6):
            assert store.get_messages(f"k{thread}") == [user(f"{n}") for n in range(10)]

    @pytest.mark.parametrize("bad", BAD)
    @pytest.mark.asyncio
    async def test_what_is_no_message_is_refused(self, store: BaseChatStore, bad: Any) -> None:
        self._unless("unchecked")
        await store.aset_messages("k", talk(1))
        await fails_cleanly(lambda: store.async_add_message("k", bad))
        assert await store.aget_messages("k") == talk(1)

    @pytest.mark.parametrize("bad", BAD)
    @pytest.mark.asyncio
    async def test_a_set_that_fails_changes_nothing(self, store: BaseChatStore, bad: Any) -> None:
        self._unless("unchecked", "failed-set-empties")
        await store.aset_messages("k", talk(1))
        await fails_cleanly(lambda: store.aset_messages("k", [user("good"), bad]))
        assert await store.aget_messages("k") == talk(1)


ACTIVE, ARCHIVED = MessageStatus.ACTIVE, MessageStatus.ARCHIVED

DB_CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["add", "add_many", "set", "delete", "delete_oldest", "archive"]),
        st.sampled_from([ACTIVE, ARCHIVED, None]),
        st.integers(1, 3),
    ),
    max_size=10,
)


class AsyncChatStoreConformance(_Suite):
    """Subclass it in a test module, with a fixture that returns a new, empty store::

        class TestMyAsyncChatStore(AsyncChatStoreConformance):
            @pytest.fixture
            def store(self):
                return SQLAlchemyChatStore(table_name="t")

    ``quirks`` are those of :data:`QUIRKS`. A history has one order, whatever the statuses in it.
    """

    @pytest.fixture
    def store(self) -> AsyncDBChatStore:
        """A new, empty store. Override this."""
        raise NotImplementedError("override the fixture `store` with one that returns your store")

    async def _kept(self, store: AsyncDBChatStore, key: str = "k") -> list[list[str | None]]:
        """What is active, what is archived."""
        return [
            [one.content for one in await store.get_messages(key, status=status)]
            for status in (ACTIVE, ARCHIVED)
        ]

    async def _numbers(self, store: AsyncDBChatStore, count: int, archived: int = 0) -> None:
        """Messages ``0``, ``1``…; the oldest ``archived`` of them are."""
        await store.add_messages("k", [user(str(n)) for n in range(count)])
        if archived:
            await store.archive_oldest_messages("k", archived)

    # Reading and writing ----------------------------------------------------------------------

    @pytest.mark.asyncio
    async def test_a_new_store_is_empty(self, store: AsyncDBChatStore) -> None:
        for status in (ACTIVE, ARCHIVED, None):
            assert await store.get_messages("k", status=status) == []
            assert await store.count_messages("k", status=status) == 0
        assert await store.get_keys() == []

    @pytest.mark.asyncio
    async def test_missing_keys(self, store: AsyncDBChatStore) -> None:
        await store.delete_messages("k")
        assert await store.delete_message("k", 0) is None
        assert await store.delete_oldest_messages("k", 3) == []
        assert await store.archive_oldest_messages("k", 3) == []
        assert await store.get_keys() == []

    @pytest.mark.asyncio
    async def test_add_appends_active_messages(self, store: AsyncDBChatStore) -> None:
        for message in talk(2):
            await store.add_message("k", message)
        await store.add_messages("k", talk(3))
        assert await store.get_messages("k") == [*talk(2), *talk(3)]
        assert await store.get_messages("k", status=ARCHIVED) == []
        assert await store.count_messages("k") == 10

    @pytest.mark.asyncio
    async def test_add_with_a_status(self, store: AsyncDBChatStore) -> None:
        await store.add_message("k", user("old"), status=ARCHIVED)
        await store.add_messages("k", [user("older"), user("newer")], status=ARCHIVED)
        await store.add_message("k", user("now"))
        assert await self._kept(store) == [["now"], ["old", "older", "newer"]]

    @pytest.mark.asyncio
    async def test_add_of_nothing(self, store: AsyncDBChatStore) -> None:
        self._unless("empty-add-raises")
        await store.add_messages("k", [])
        assert await store.get_keys() == []

    @pytest.mark.asyncio
    async def test_writing_gives_none(self, store: AsyncDBChatStore) -> None:
        some: Any = store
        assert await some.add_message("k", user("a")) is None
        assert await some.add_messages("k", talk(1)) is None
        assert await some.set_messages("k", talk(1)) is None
        assert await some.delete_messages("k") is None

    @pytest.mark.parametrize("message", PARAMS)
    @pytest.mark.asyncio
    async def test_a_message_comes_back_as_it_was(
        self, store: AsyncDBChatStore, message: ChatMessage
    ) -> None:
        await store.add_message("k", fresh(message))
        await store.add_messages("k", [fresh(message)])
        assert await store.get_messages("k") == [message, message]
        await store.set_messages("k", [fresh(message), user("x")])
        assert await store.get_messages("k") == [message, user("x")]
        assert await store.archive_oldest_messages("k", 1) == [message]
        assert await store.get_messages("k", status=ARCHIVED) == [message]

    @pytest.mark.parametrize("role", list(MessageRole), ids=lambda role: role.value)
    @pytest.mark.asyncio
    async def test_a_message_of_any_role(self, store: AsyncDBChatStore, role: MessageRole) -> None:
        await store.add_message("k", ChatMessage(role=role, content="words"))
        assert [one.role for one in await store.get_messages("k")] == [role]

    @pytest.mark.parametrize("message", NAMED)
    @pytest.mark.asyncio
    async def test_a_message_with_any_name(
        self, store: AsyncDBChatStore, message: ChatMessage
    ) -> None:
        await store.add_message("k", fresh(message))
        assert await store.get_messages("k") == [message]

    @pytest.mark.asyncio
    async def test_a_huge_message(self, store: AsyncDBChatStore) -> None:
        huge = result("c1", "word " * 500_000)
        await store.add_message("k", fresh(huge))
        assert await store.get_messages("k") == [huge]

    @pytest.mark.parametrize("limit", [None, 0, 1, 3, 99])
    @pytest.mark.parametrize("offset", [None, 0, 1, 3, 99])
    @pytest.mark.asyncio
    async def test_limit_and_offset(
        self, store: AsyncDBChatStore, limit: int | None, offset: int | None
    ) -> None:
        """They count within the status that is asked for."""
        await self._numbers(store, 6, archived=2)
        for status, all_ in ((ACTIVE, "2345"), (ARCHIVED, "01"), (None, "012345")):
            start = offset or 0
            expected = list(all_)[start : None if limit is None else start + limit]
            shown = await store.get_messages("k", status=status, limit=limit, offset=offset)
            assert [one.content for one in shown] == expected

    @pytest.mark.asyncio
    async def test_counts_of_a_status(self, store: AsyncDBChatStore) -> None:
        await self._numbers(store, 5, archived=2)
        assert await store.count_messages("k") == 3
        assert await store.count_messages("k", status=ARCHIVED) == 2
        assert await store.count_messages("k", status=None) == 5
        assert await store.count_messages("another") == 0

    @pytest.mark.asyncio
    async def test_reads_are_copies(self, store: AsyncDBChatStore) -> None:
        self._unless("aliased")
        mine = user("one")
        await store.add_message("k", mine)
        mine.blocks[0] = TextBlock(text="rewritten")
        shown = await store.get_messages("k")
        shown[0].blocks[0] = TextBlock(text="rewritten")
        shown.clear()
        assert await store.get_messages("k") == [user("one")]

    # Replacing and deleting -------------------------------------------------------------------

    @pytest.mark.asyncio
    async def test_set_replaces_messages_of_every_status(self, store: AsyncDBChatStore) -> None:
        await self._numbers(store, 4, archived=2)
        await store.set_messages("k", [user("a"), user("b")])
        assert await self._kept(store) == [["a", "b"], []]

    @pytest.mark.asyncio
    async def test_set_with_a_status(self, store: AsyncDBChatStore) -> None:
        await self._numbers(store, 3)
        await store.set_messages("k", [user("0"), user("b")], status=ARCHIVED)
        assert await self._kept(store) == [[], ["0", "b"]]

    @pytest.mark.asyncio
    async def test_set_makes_archived_messages_active(self, store: AsyncDBChatStore) -> None:
        await self._numbers(store, 3, archived=2)
        await store.set_messages("k", await store.get_messages("k", status=None))
        assert await self._kept(store) == [["0", "1", "2"], []]

    @pytest.mark.asyncio
    async def test_set_to_nothing(self, store: AsyncDBChatStore) -> None:
        await self._numbers(store, 3, archived=1)
        await store.set_messages("k", [])
        assert await self._kept(store) == [[], []]
        assert await store.get_keys() == []

    @pytest.mark.asyncio
    async def test_delete_message_gives_it(self, store: AsyncDBChatStore) -> None:
        """The index is a place among all messages, archived ones too."""
        self._unless("row-ids")
        await self._numbers(store, 4, archived=2)
        assert await store.delete_message("k", 3) == user("3")
        assert await store.delete_message("k", 0) == user("0")
        assert await self._kept(store) == [["2"], ["1"]]

    @pytest.mark.asyncio
    async def test_delete_message_out_of_range(self, store: AsyncDBChatStore) -> None:
        await self._numbers(store, 3)
        assert await store.delete_message("k", 99) is None
        assert await store.delete_message("another", 1) is None
        assert await store.count_messages("k") == 3

    @pytest.mark.parametrize("status", [ACTIVE, ARCHIVED, None])
    @pytest.mark.asyncio
    async def test_delete_messages_of_a_status(
        self, store: AsyncDBChatStore, status: MessageStatus | None
    ) -> None:
        await self._numbers(store, 4, archived=2)
        await store.delete_messages("k", status=status)
        active = ["2", "3"] if status == ARCHIVED else []
        archived = ["0", "1"] if status == ACTIVE else []
        assert await self._kept(store) == [active, archived]

    @pytest.mark.parametrize("n", [0, 1, 2, 99])
    @pytest.mark.asyncio
    async def test_delete_oldest(self, store: AsyncDBChatStore, n: int) -> None:
        """Active ones only."""
        await self._numbers(store, 5, archived=2)
        gone = await store.delete_oldest_messages("k", n)
        assert [one.content for one in gone] == ["2", "3", "4"][:n]
        assert await self._kept(store) == [["2", "3", "4"][n:], ["0", "1"]]

    @pytest.mark.parametrize("n", [0, 1, 2, 99])
    @pytest.mark.asyncio
    async def test_archive_oldest(self, store: AsyncDBChatStore, n: int) -> None:
        await self._numbers(store, 5, archived=2)
        moved = await store.archive_oldest_messages("k", n)
        assert [one.content for one in moved] == ["2", "3", "4"][:n]
        assert await self._kept(store) == [["2", "3", "4"][n:], ["0", "1", *["2", "3", "4"][:n]]]

    @pytest.mark.asyncio
    async def test_archiving_keeps_the_order_of_all(self, store: AsyncDBChatStore) -> None:
        await self._numbers(store, 4, archived=2)
        await store.add_message("k", user("4"))
        await store.archive_oldest_messages("k", 1)
        everything = await store.get_messages("k", status=None)
        assert [one.content for one in everything] == ["0", "1", "2", "3", "4"]

    # Keys -------------------------------------------------------------------------------------

    @pytest.mark.asyncio
    async def test_keys_of_what_is_kept(self, store: AsyncDBChatStore) -> None:
        for key in KEYS:
            await store.add_messages(key, talk(1))
        await store.archive_oldest_messages("a", 2)
        assert sorted(await store.get_keys()) == sorted(KEYS)
        await store.delete_messages("A")
        await store.delete_oldest_messages("a/b", 2)
        assert set(KEYS) - set(await store.get_keys()) == {"A", "a/b"}

    @pytest.mark.asyncio
    async def test_keys_are_apart(self, store: AsyncDBChatStore) -> None:
        for key in KEYS:
            await store.add_messages(key, [user(key), user("second")])
        await store.delete_oldest_messages("a", 1)
        await store.archive_oldest_messages("a/b", 1)
        await store.set_messages("A", talk(1))
        for key in KEYS:
            changed = {
                "a": [["second"], []],
                "a/b": [["second"], ["a/b"]],
                "A": [["question 0", "answer 0"], []],
            }
            assert await self._kept(store, key) == changed.get(key, [[key, "second"], []])

    # Together ---------------------------------------------------------------------------------

    @pytest.mark.asyncio
    async def test_twenty_adds_at_once(self, store: AsyncDBChatStore) -> None:
        self._unless("not-concurrent")
        await store.get_keys()
        texts = [f"n {n}" for n in range(20)]
        await asyncio.gather(*(store.add_message("k", user(text)) for text in texts))
        kept = [one.content for one in await store.get_messages("k")]
        assert sorted(map(str, kept)) == sorted(texts)

    @pytest.mark.asyncio
    async def test_first_uses_at_once(self, store: AsyncDBChatStore) -> None:
        self._unless("first-use-race")
        assert await asyncio.gather(*(store.get_messages("k") for _ in range(8))) == [[]] * 8

    @pytest.mark.asyncio
    async def test_archiving_at_once_moves_each_message_once(self, store: AsyncDBChatStore) -> None:
        await self._numbers(store, 6)
        moved = await asyncio.gather(*(store.archive_oldest_messages("k", 6) for _ in range(4)))
        assert moved
        assert await self._kept(store) == [[], ["0", "1", "2", "3", "4", "5"]]

    @pytest.mark.asyncio
    async def test_under_the_memory_of_the_host(self, store: AsyncDBChatStore) -> None:
        """Its queue archives what is over the limit, and asks for the rest."""
        memory = Memory.from_defaults(
            session_id="k",
            token_limit=20,
            token_flush_size=1,
            chat_history_token_ratio=1.0,
            tokenizer_fn=str.split,
            chat_store=store,
        )
        for message in talk(10):
            await memory.aput(message)
        assert await memory.aget() == talk(10)[-10:]
        assert await memory.aget_all() == talk(10)
        assert await store.count_messages("k", status=ARCHIVED) == 10
        await memory.areset()
        assert await store.get_keys() == []

    @_EXAMPLES
    @given(changes=DB_CHANGES)
    @pytest.mark.asyncio
    async def test_any_changes_give_what_lists_would(
        self, store: AsyncDBChatStore, changes: list[tuple[str, MessageStatus | None, int]]
    ) -> None:
        await store.delete_messages("k")
        model: list[tuple[str, MessageStatus]] = []
        for step, (verb, any_status, n) in enumerate(changes):
            status = any_status or ACTIVE
            texts = [f"{step} {number}" for number in range(n)]
            messages = [user(text) for text in texts]
            active = [one for one in model if one[1] == ACTIVE]
            if verb == "add":
                await store.add_message("k", messages[0], status)
                model.append((texts[0], status))
            elif verb == "add_many":
                await store.add_messages("k", messages, status)
                model += [(text, status) for text in texts]
            elif verb == "set":
                await store.set_messages("k", messages, status)
                model = [(text, status) for text in texts]
            elif verb == "delete":
                await store.delete_messages("k", any_status)
                model = [one for one in model if any_status not in (None, one[1])]
            elif verb == "delete_oldest":
                gone = await store.delete_oldest_messages("k", n)
                assert [(one.content, ACTIVE) for one in gone] == active[:n]
                model = [one for one in model if one not in active[:n]]
            else:
                moved = await store.archive_oldest_messages("k", n)
                assert [(one.content, ACTIVE) for one in moved] == active[:n]
                model = [
                    (text, ARCHIVED) if (text, s) in active[:n] else (text, s) for text, s in model
                ]
            everything = await store.get_messages("k", status=None)
            assert [one.content for one in everything] == [text for text, _ in model]
            assert await self._kept(store) == [
                [text for text, s in model if s == status] for status in (ACTIVE, ARCHIVED)
            ]

    @pytest.mark.parametrize("bad", BAD)
    @pytest.mark.asyncio
    async def test_what_is_no_message_is_refused(self, store: AsyncDBChatStore, bad: Any) -> None:
        self._unless("unchecked")
        await store.add_messages("k", talk(1))
        await fails_cleanly(lambda: store.add_message("k", bad))
        await fails_cleanly(lambda: store.add_messages("k", [user("good"), bad]))
        assert await store.get_messages("k") == talk(1)

    @pytest.mark.parametrize("bad", BAD)
    @pytest.mark.asyncio
    async def test_a_set_that_fails_changes_nothing(
        self, store: AsyncDBChatStore, bad: Any
    ) -> None:
        self._unless("unchecked", "failed-set-empties")
        await store.add_messages("k", talk(1))
        await fails_cleanly(lambda: store.set_messages("k", [user("good"), bad]))
        assert await store.get_messages("k") == talk(1)
