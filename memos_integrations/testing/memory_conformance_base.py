"""What the parts of the LlamaIndex conformance suites share: hooks, quirks, messages."""

from __future__ import annotations

import itertools
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
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
from llama_index.core.memory.types import BaseMemory

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

EXAMPLES = settings(
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

KEYS = ["chat_history", "user:1", "a/b", "../up", "with space", "100%", "a_c", "ünï 東京", "A", "a"]
"""Keys that may not be mixed up."""
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


class Suite:
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


class MemorySuite(Suite):
    """What a memory's author sets, and small helpers of the tests."""

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
