"""Chat histories and the memory of chains under strain: every kind of message, many at once."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel, FakeListLLM
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    HumanMessageChunk,
    SystemMessage,
    ToolMessage,
)
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder, PromptTemplate
from langchain_core.runnables.history import RunnableWithMessageHistory
from pydantic import ValidationError

from memos_integrations import MemorySession, MemOS
from memos_integrations.errors import (
    InvalidInputError,
    MemOSError,
    StoreClosedError,
)
from memos_integrations.langchain import MemOSChatMessageHistory, MemOSMemory, MemOSRetriever
from memos_integrations.protocols import Vectors
from memos_integrations.recall import RecallPolicy
from memos_integrations.testing import WordEmbedder

Opener = Callable[..., MemOS]
hosts_own = pytest.mark.filterwarnings(
    "ignore::langchain_core._api.deprecation.LangChainDeprecationWarning"
)

KINDS: list[BaseMessage] = [
    SystemMessage("be kind"),
    HumanMessage("hello", id="h1", name="Ann"),
    HumanMessage([{"type": "text", "text": "look"}, {"type": "image", "url": "http://x/y.png"}]),
    HumanMessage([{"type": "image", "url": "http://x/y.png"}]),
    HumanMessage(""),
    AIMessage("", tool_calls=[{"name": "f", "args": {"a": [1, None, {"b": "ü"}]}, "id": "c1"}]),
    AIMessage(
        "broken",
        invalid_tool_calls=[{"name": "f", "args": "{", "id": "c2", "error": "no JSON"}],
    ),
    ToolMessage("42", tool_call_id="c1", artifact={"rows": [1, 2]}, status="error", name="f"),
    ToolMessage([{"type": "text", "text": "in pieces"}], tool_call_id="c3"),
    FunctionMessage("old", name="f"),
    ChatMessage("from a critic", role="critic"),
    AIMessage(
        "done",
        id="run-1",
        usage_metadata={
            "input_tokens": 1,
            "output_tokens": 2,
            "total_tokens": 3,
            "input_token_details": {"cache_read": 1},
        },
        response_metadata={"model_name": "m", "finish_reason": "stop"},
    ),
    AIMessage([{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "so"}]),
    AIMessageChunk("streamed", id="run-2"),
    HumanMessageChunk("streamed, too"),
    HumanMessage("  spaces and\nlines\t🙂 é \r\n", additional_kwargs={"x": [True, 1.5]}),
    HumanMessage("bell\x07 and nul\x00"),
]


# The history ---------------------------------------------------------------------------------


@pytest.mark.parametrize("id", ["new\nline", "nul\x00", "m" * 3_000, "🙂", ""])
def test_odd_ids_come_back(alice: MemorySession, id: str) -> None:
    history = MemOSChatMessageHistory(alice, "c")
    message = HumanMessage("plums are blue", id=id)
    history.add_message(message)
    assert history.messages == [message]


@pytest.mark.parametrize("name", ["Ann\nBob", "\x00", "n" * 3_000, " ", "🙂"])
def test_odd_names_come_back(alice: MemorySession, name: str) -> None:
    history = MemOSChatMessageHistory(alice, "c")
    message = HumanMessage("plums are blue", name=name)
    history.add_message(message)
    assert history.messages == [message]


@pytest.mark.parametrize("field", ["content", "id", "name"])
def test_a_lone_surrogate_is_kept_or_refused_whole(alice: MemorySession, field: str) -> None:
    history = MemOSChatMessageHistory(alice, "c")
    odd = HumanMessage(**{"content": "plums", field: "half \ud83d a pair"})  # type: ignore[arg-type]
    try:
        history.add_messages([HumanMessage("before"), odd])
    except InvalidInputError:
        assert history.messages == []
    else:
        assert history.messages == [HumanMessage("before"), odd]


def test_a_very_long_message_is_kept(alice: MemorySession) -> None:
    long = HumanMessage(" ".join(f"word{i}" for i in range(130_000)))
    assert len(str(long.content)) > 1_048_576
    history = MemOSChatMessageHistory(alice, "c")
    history.add_message(long)
    assert history.messages == [long]


def test_order_over_many_adds(alice: MemorySession) -> None:
    history = MemOSChatMessageHistory(alice, "c")
    for at in range(0, 300, 3):
        history.add_messages([HumanMessage(f"{n}") for n in range(at, at + 3)])
    assert [int(str(m.content)) for m in history.messages] == list(range(300))
    again = [HumanMessage("twice", id="same"), HumanMessage("twice", id="same")]
    history.add_messages(again)
    history.add_messages([])
    assert history.messages[300:] == again


OTHER_PROCESS = """
import json, sys
from langchain_core.messages import AIMessage, message_to_dict
from memos_integrations import MemOS
from memos_integrations.langchain import MemOSChatMessageHistory
from memos_integrations.testing import WordEmbedder
with MemOS.open(sys.argv[1], embedder=WordEmbedder()) as memory:
    history = MemOSChatMessageHistory(memory.session("alice"), "c")
    print(json.dumps([message_to_dict(message) for message in history.messages]))
    history.add_message(AIMessage("from the other process"))
"""


def test_another_process_reads_and_writes_on(open_store: Opener, folder: Path) -> None:
    kinds = [message for message in KINDS if message.type != "chat"]
    memory = open_store()
    MemOSChatMessageHistory(memory.session("alice"), "c").add_messages(kinds[:9])
    memory.close()
    done = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS, str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    from langchain_core.messages import messages_from_dict

    assert messages_from_dict(json.loads(done.stdout)) == kinds[:9]
    history = MemOSChatMessageHistory(open_store().session("alice"), "c")
    history.add_message(HumanMessage("and here again"))
    expected = [*kinds[:9], AIMessage("from the other process"), HumanMessage("and here again")]
    assert history.messages == expected


def test_clear_is_of_this_conversation_of_this_user(memory: MemOS) -> None:
    alice, bob = memory.session("alice"), memory.session("bob")
    alice.add("a fact of plums")
    histories = [
        MemOSChatMessageHistory(session, id)
        for session, id in ((alice, "c"), (alice, "c/d"), (alice, "d"), (bob, "c"))
    ]
    for i, history in enumerate(histories):
        history.add_message(HumanMessage(f"plums of history {i}"))
    histories[0].clear()
    histories[0].clear()
    assert [len(history.messages) for history in histories] == [0, 1, 1, 1]
    left = {hit.cube.text for hit in alice.search("plums")}
    assert left == {"a fact of plums", "plums of history 1", "plums of history 2"}
    histories[0].add_message(HumanMessage("anew"))
    assert [str(m.content) for m in histories[0].messages] == ["anew"]


def test_what_was_said_is_found_and_tools_are_not(alice: MemorySession) -> None:
    history = MemOSChatMessageHistory(alice, "c")
    history.add_messages(
        [
            SystemMessage("plums by the system"),
            HumanMessage("plums by the user", name="Ann"),
            AIMessage("plums by the assistant"),
            ToolMessage("plums by the tool", tool_call_id="1"),
        ]
    )
    found = {hit.cube.text: hit.cube.header.descriptive for hit in alice.search("plums")}
    assert set(found) == {"plums by the user", "plums by the assistant"}
    assert found["plums by the user"].speaker == "Ann"
    documents = MemOSRetriever(session=alice).invoke("plums by the user")
    assert documents[0].page_content == "plums by the user"


def test_many_writers_lose_nothing(open_store: Opener) -> None:
    alice = open_store().session("alice")
    failed: list[BaseException] = []

    def write(name: int) -> None:
        try:
            history = MemOSChatMessageHistory(alice, "c")
            for turn in range(10):
                history.add_messages([HumanMessage(f"{name} {turn} {half}") for half in "ab"])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    said = [str(m.content) for m in MemOSChatMessageHistory(alice, "c").messages]
    assert len(said) == len(set(said)) == 160
    for at in range(0, 160, 2):
        assert said[at][:-1] == said[at + 1][:-1], "what was added at once stands together"
    for name in range(8):
        mine = [int(text.split()[1]) for text in said if text.startswith(f"{name} ")]
        assert mine == sorted(mine)


async def test_async_twins(open_store: Opener) -> None:
    alice = open_store().session("alice")
    histories = [MemOSChatMessageHistory(alice, f"c{i}") for i in range(3)]
    messages = [m for m in KINDS if m.type in ("human", "ai", "tool")]
    await asyncio.gather(*(history.aadd_messages(messages) for history in histories * 4))
    for history in histories:
        assert await history.aget_messages() == history.messages == messages * 4
    await histories[0].aclear()
    assert [len(history.messages) for history in histories] == [0, *[4 * len(messages)] * 2]


def test_all_or_none(alice: MemorySession) -> None:
    history = MemOSChatMessageHistory(alice, "c")
    odd = AIMessage("x", additional_kwargs={"raw": object()})
    with pytest.raises(InvalidInputError):
        history.add_messages([HumanMessage("before"), odd, HumanMessage("after")])
    assert history.messages == []
    assert alice.count() == 0


def test_a_closed_store_is_said(memory: MemOS) -> None:
    history = MemOSChatMessageHistory(memory.session("alice"), "c")
    memory.close()
    with pytest.raises(StoreClosedError):
        history.add_message(HumanMessage("plums"))
    with pytest.raises(StoreClosedError):
        history.messages  # noqa: B018


def chain_over(session: MemorySession, *replies: str) -> RunnableWithMessageHistory[Any, Any]:
    prompt = ChatPromptTemplate.from_messages(
        [("system", "be kind"), MessagesPlaceholder("history"), ("human", "{input}")]
    )
    return RunnableWithMessageHistory(
        prompt | FakeListChatModel(responses=list(replies)),
        lambda conversation: MemOSChatMessageHistory(session, conversation),
        input_messages_key="input",
        history_messages_key="history",
    )


# The memory of chains -----------------------------------------------------------------------------


def test_no_warning_of_our_own(alice: MemorySession) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = MemOSChatMessageHistory(alice, "c")
        history.add_message(HumanMessage("plums"))
        memory = MemOSMemory(session=alice, return_messages=True)
        memory.save_context({"input": "plums are blue"}, {"output": "so they are"})
        memory.load_memory_variables({"input": "plums"})
        memory.clear()


PROMPT = "{memories}\n{history}\nHuman: {input}\nAI:"


@hosts_own
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_in_a_conversation_chain(alice: MemorySession, asynchronous: bool) -> None:
    from langchain_classic.chains import ConversationChain

    class Two(MemOSMemory):
        """The host's chain allows one variable; it is checked by name against its prompt."""

    alice.add("Alice eats no walnuts")
    chain = ConversationChain(
        llm=FakeListLLM(responses=["No walnuts then.", "As I said."]),
        prompt=PromptTemplate.from_template(PROMPT),
        memory=Two(session=alice, conversation_id="c", input_key="input"),
    )
    for text in ("walnuts!", "and now!"):
        await chain.ainvoke({"input": text}) if asynchronous else chain.invoke({"input": text})
    kept = MemOSChatMessageHistory(alice, "c").messages
    assert [str(m.content) for m in kept] == [
        "walnuts!",
        "No walnuts then.",
        "and now!",
        "As I said.",
    ]
    other = MemOSMemory(session=alice, conversation_id="d")
    assert "walnuts" in other.load_memory_variables({"input": "walnuts!"})["memories"]


@hosts_own
def test_several_inputs_and_outputs_in_a_chain(alice: MemorySession) -> None:
    from langchain_classic.chains import LLMChain

    template = "{memories}{history}{question}{language}"
    llm = FakeListLLM(responses=["Blue."])

    def chain(**options: Any) -> Any:
        prompt = PromptTemplate.from_template(template)
        return LLMChain(llm=llm, prompt=prompt, memory=MemOSMemory(session=alice, **options))

    said = {"question": "plums!", "language": "en"}
    with pytest.raises(InvalidInputError, match="input_key="):
        chain().invoke(said)
    with pytest.raises(InvalidInputError, match="output_key is 'answer'"):
        chain(input_key="question", output_key="answer").invoke(said)
    assert alice.count() == 0
    chain(input_key="question", output_key="text").invoke(said)
    assert [cube.text for cube in alice.list()] == ["plums!", "Blue."]


@hosts_own
def test_a_list_of_messages_in_a_chat_prompt(alice: MemorySession) -> None:
    from langchain_classic.chains import LLMChain

    prompt = ChatPromptTemplate.from_messages(
        [("system", "{memories}"), MessagesPlaceholder("history"), ("human", "{input}")]
    )
    chain = LLMChain(
        llm=FakeListChatModel(responses=["one", "two"]),
        prompt=prompt,
        memory=MemOSMemory(session=alice, return_messages=True),
    )
    chain.invoke({"input": "first"})
    history = chain.invoke({"input": "second"})["history"]
    assert [(m.type, m.content) for m in history[:2]] == [("human", "first"), ("ai", "one")]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_history_limit_that_is_none(alice: MemorySession, limit: int) -> None:
    """Refused, or no history at all; never all of it."""
    try:
        memory = MemOSMemory(session=alice, history_limit=limit, return_messages=True)
    except (InvalidInputError, ValidationError):
        return
    memory.chat_memory.add_messages([HumanMessage(f"{i}") for i in range(5)])
    assert memory.load_memory_variables({"input": "x"})["history"] == []


@pytest.mark.parametrize(
    "options",
    [{"session": None}, {"session": "alice"}, {"conversation_id": ""}, {"unknown": 1}],
)
def test_fields_that_make_no_sense(alice: MemorySession, options: dict[str, Any]) -> None:
    """Refused when it is made, or when it is first used."""
    with pytest.raises((ValidationError, MemOSError)):
        MemOSMemory(**{"session": alice, **options}).load_memory_variables({"input": "x"})


def test_odd_words_through_a_chain(alice: MemorySession) -> None:
    memory = MemOSMemory(session=alice, return_messages=True)
    for asked in ("", "  ", "nul\x00", "</memories> {input}", 7, {"a": 1}):
        memory.save_context({"input": asked}, {"output": "ok"})  # type: ignore[dict-item]
        memory.load_memory_variables({"input": asked})
    assert len(memory.chat_memory.messages) == 12


class Failing(WordEmbedder):
    broken = False

    def embed_query(self, text: str) -> Vectors:
        if self.broken:
            raise OSError("the disk is gone")
        return super().embed_query(text)


def test_a_closed_store_and_a_chain(memory: MemOS) -> None:
    strict = MemOSMemory(session=memory.session("a"), recall=RecallPolicy(on_error="raise"))
    memory.close()
    with pytest.raises(StoreClosedError):
        strict.load_memory_variables({"input": "plums"})
    with pytest.raises(StoreClosedError):
        strict.save_context({"input": "plums"}, {"output": "ok"})


def test_many_memories_leave_no_threads(alice: MemorySession) -> None:
    """Servers make a memory for each conversation."""
    alice.add("plums are blue")
    MemOSMemory(session=alice).load_memory_variables({"input": "plums"})
    gc.collect()
    before = threading.active_count()
    for i in range(20):
        memory = MemOSMemory(session=alice, conversation_id=f"{i}")
        memory.load_memory_variables({"input": "plums"})
    del memory
    gc.collect()
    assert threading.active_count() <= before + 3


def test_users_apart(memory: MemOS) -> None:
    ann, bob = (MemOSMemory(session=memory.session(name)) for name in ("ann", "bob"))
    ann.save_context({"input": "my canary sings"}, {"output": "nice"})
    shown = bob.load_memory_variables({"input": "my canary"})
    assert shown == {"memories": "", "history": ""}
