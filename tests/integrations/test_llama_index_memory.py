"""MemOSMemory and its kin against what LlamaIndex is known to trip over."""

from __future__ import annotations

import asyncio
import json
import pickle
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, TextBlock, ToolCallBlock
from llama_index.core.chat_engine import ContextChatEngine, SimpleChatEngine
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.llms import MockLLM
from llama_index.core.memory import ChatMemoryBuffer, Memory
from llama_index.core.storage.chat_store.base_db import MessageStatus
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)
from llama_index.core.workflow import JsonSerializer

from memos_integrations import MemorySession, MemOS
from memos_integrations.errors import InvalidFilterError, InvalidInputError
from memos_integrations.llama_index import (
    MemOSAsyncChatStore,
    MemOSChatStore,
    MemOSMemory,
    MemOSMemoryBlock,
    MemOSRetriever,
)
from memos_integrations.recall import RecallPolicy, block

OPENING = "<memories>"


def user(text: str) -> ChatMessage:
    return ChatMessage(role="user", content=text)


def assistant(text: str) -> ChatMessage:
    return ChatMessage(role="assistant", content=text)


@pytest.fixture
def chat(alice: MemorySession) -> MemOSMemory:
    return MemOSMemory.from_defaults(alice, conversation_id="c")


def shown(memory: MemOSMemory, **options: Any) -> list[tuple[str, str | None]]:
    return [(message.role.value, message.content) for message in memory.get(**options)]


def test_recalled_once_a_user_message(alice: MemorySession, chat: MemOSMemory) -> None:
    cube = alice.add("Alice likes plums")[0]
    chat.put(user("plums?"))
    first = shown(chat)
    alice.add("plums are blue")
    assert shown(chat, input="plums?") == shown(chat) == first
    assert first == [("user", f"{block([cube])}\nplums?")]
    chat.put_messages([assistant("yes"), user("more plums?")])
    assert "plums are blue" in (shown(chat)[-1][1] or "")
    assert shown(chat)[0] == ("user", "plums?"), "the older message is as it was said"


def test_before_the_engine_has_put_the_message(alice: MemorySession, chat: MemOSMemory) -> None:
    cube = alice.add("Alice likes plums")[0]
    chat.put_messages([user("hello"), assistant("hi")])
    assert shown(chat, input="plums?") == [
        ("user", "hello"),
        ("assistant", "hi"),
        ("user", block([cube])),
        ("assistant", "Understood."),
    ]
    chat.put(user("plums?"))
    assert len(shown(chat, input="plums?")) == 3


def test_as_a_system_message(alice: MemorySession) -> None:
    cube = alice.add("Alice likes plums")[0]
    memory = MemOSMemory.from_defaults(alice, position="system")
    assert shown(memory, input="plums?") == [("system", block([cube]))]
    memory.put_messages([ChatMessage(role="system", content="be kind"), user("plums?")])
    assert shown(memory) == [("system", f"be kind\n{block([cube])}"), ("user", "plums?")]


@pytest.mark.parametrize("position", ["user", "system"])
def test_recalled_text_is_never_stored(alice: MemorySession, position: Any) -> None:
    alice.add("Alice likes plums")
    memory = MemOSMemory.from_defaults(alice, position=position)
    memory.put_messages([user("hello"), assistant("hi")])
    for asked in ("plums?", None):
        memory.set(memory.get(input=asked))
        memory.put(user("plums?"))
        memory.set(memory.get())
    said = [message.content for message in memory.get_all()]
    assert said == ["hello", "hi", "plums?", "plums?"]
    assert not any(OPENING in cube.text for cube in alice.list())


def test_set_writes_what_is_new(alice: MemorySession, chat: MemOSMemory) -> None:
    chat.put_messages([user("one"), assistant("two")])
    before = {cube.id for cube in alice.list()}
    chat.set([*chat.get_all(), user("three")])
    after = alice.list()
    assert before < {cube.id for cube in after}
    assert [cube.version for cube in after] == [1, 1, 1]
    chat.set([user("one")])
    assert [m.content for m in chat.get_all()] == ["one"]
    assert alice.count() == 3, "what left the history is still remembered"


def test_reset_and_forget(alice: MemorySession, chat: MemOSMemory) -> None:
    chat.put_messages([user("Alice likes plums"), assistant("good")])
    chat.reset()
    assert chat.get_all() == []
    assert "plums" in (shown(chat, input="plums?")[0][1] or "")
    chat.put(user("pears are green"))
    chat.forget_conversation()
    assert chat.get_all() == []
    assert [cube.text for cube in alice.list()] == ["Alice likes plums", "good"]


def test_tools_and_their_results_stay_together(alice: MemorySession) -> None:
    call = ToolCallBlock(tool_call_id="1", tool_name="f", tool_kwargs={"a": 1})
    turn = [
        user("a b c d"),
        ChatMessage(role="assistant", blocks=[call]),
        ChatMessage(role="tool", content="1 2 3", additional_kwargs={"tool_call_id": "1"}),
        assistant("so it is"),
    ]
    for limit in range(1, 60):
        memory = MemOSMemory.from_defaults(
            alice, conversation_id="t", token_limit=limit, tokenizer_fn=str.split
        )
        if limit == 1:
            memory.set([*turn, *turn])
        found = memory.get()
        assert found[0].role.value == "user"
        for i, message in enumerate(found):
            if message.role.value == "tool":
                assert any(isinstance(one, ToolCallBlock) for one in found[i - 1].blocks)
    assert len(found) == 8
    assert all("1 2 3" not in hit.cube.text for hit in alice.search("1 2 3")), "no memories"


def test_copies(chat: MemOSMemory) -> None:
    chat.put(user("as it was"))
    for found in (chat.get(), chat.get_all()):
        assert isinstance(found[0].blocks[0], TextBlock)
        found[0].blocks[0].text = "changed"
    assert [m.content for m in chat.get_all()] == ["as it was"]


def test_true_when_empty_and_lenient(chat: MemOSMemory) -> None:
    assert chat
    assert chat.get(initial_token_count=7, anything="else") == []
    assert chat.get(input=user("x")) == []
    chat.put(ChatMessage(role="assistant", content=None))
    assert chat.get_all()[0].content is None


def test_handles_only(alice: MemorySession, chat: MemOSMemory) -> None:
    chat.put(user("the canary sings"))
    written = JsonSerializer().serialize(chat)
    assert "canary" not in written
    restored = JsonSerializer().deserialize(written)
    assert isinstance(restored, MemOSMemory)
    assert restored.get_all() == chat.get_all()
    assert restored.session.namespace == alice.namespace
    json.dumps(chat.to_dict())


@pytest.mark.filterwarnings("ignore")
def test_pickled(chat: MemOSMemory) -> None:
    chat.put(user("kept"))
    restored = pickle.loads(pickle.dumps(chat))
    restored.put(assistant("and more"))
    assert [m.content for m in chat.get_all()] == ["kept", "and more"]


async def test_async_twins(alice: MemorySession) -> None:
    alice.add("Alice likes plums")
    memory = MemOSMemory.from_defaults(alice)
    await memory.aput(user("one"))
    await memory.aput_messages([assistant("two"), user("plums?")])
    assert await memory.aget() == memory.get()
    assert await memory.aget_all() == memory.get_all()
    await memory.aset([user("only")])
    assert [m.content for m in await memory.aget_all()] == ["only"]
    await memory.areset()
    assert memory.get_all() == []
    await asyncio.gather(*(memory.aput(user(f"m{i}")) for i in range(20)))
    assert sorted(m.content or "" for m in memory.get_all()) == sorted(f"m{i}" for i in range(20))
    await memory.aforget_conversation()
    assert memory.get_all() == []


def test_concurrent_first_reads(open_store: Callable[..., MemOS]) -> None:
    alice = open_store().session("alice")
    start, errors = threading.Barrier(8), []

    def read(n: int) -> None:
        start.wait(20)
        try:
            MemOSMemory.from_defaults(alice, conversation_id=f"c{n % 2}").get(input="x")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=read, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []


def test_sessions_do_not_mix(open_store: Callable[..., MemOS]) -> None:
    store = open_store()
    for name in ("ann", "bob"):
        MemOSMemory.from_defaults(store.session(name), conversation_id="c").put(
            user(f"canary of {name}")
        )
    for name, other in (("ann", "bob"), ("bob", "ann")):
        fresh = MemOSMemory.from_defaults(store.session(name))
        prompt = str(fresh.get(input="whose canary?"))
        assert f"of {name}" in prompt
        assert f"of {other}" not in prompt


def test_wrong_arguments(alice: MemorySession) -> None:
    with pytest.raises(InvalidInputError, match="needs a session"):
        MemOSMemory.from_defaults()
    with pytest.raises(InvalidInputError, match="token_limit"):
        MemOSMemory.from_defaults(alice, token_limit=0)
    with pytest.raises(InvalidInputError, match="conversation_id"):
        MemOSMemory.from_defaults(alice, conversation_id="x" * 500)


def test_braces_in_context_engines(alice: MemorySession) -> None:
    """Context engines make templates of what they are given."""
    alice.add("the set {plums} and {0} holds plums")
    memory = MemOSMemory.from_defaults(alice)
    for engine in (
        SimpleChatEngine.from_defaults(llm=MockLLM(), memory=memory),
        ContextChatEngine.from_defaults(
            retriever=MemOSRetriever(alice), llm=MockLLM(), memory=memory
        ),
    ):
        assert "{plums}" in str(engine.chat("which plums?"))


def test_events(alice: MemorySession, chat: MemOSMemory) -> None:
    seen: list[str] = []

    class Handler(BaseEventHandler):
        def handle(self, event: Any, **_: Any) -> None:
            seen.append(event.class_name())

    handler = Handler()
    root = get_dispatcher()
    root.add_event_handler(handler)
    try:
        chat.put(user("plums?"))
        chat.get()
    finally:
        root.event_handlers.remove(handler)
    assert seen == ["MemoryRecorded", "MemoryRecalled"]


def test_nothing_opens_a_socket(
    open_store: Callable[..., MemOS], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    alice = open_store(embedder=None).session("alice")  # the bundled embedder
    memory = MemOSMemory.from_defaults(alice)
    SimpleChatEngine.from_defaults(llm=MockLLM(), memory=memory).chat("I live in Utrecht")
    assert MemOSRetriever(alice).retrieve("Utrecht")


# The host's own memories over ours ----------------------------------------------------------------


async def test_block_in_the_stock_memory(alice: MemorySession) -> None:
    alice.add("Alice likes plums")
    memory = Memory.from_defaults(
        session_id="s",
        token_limit=60,
        chat_history_token_ratio=0.5,
        token_flush_size=10,
        memory_blocks=[MemOSMemoryBlock(session=alice)],
        chat_store=MemOSAsyncChatStore(alice),
    )
    for i in range(6):
        await memory.aput_messages([user(f"pear number {i} is green"), assistant(f"noted {i}")])
    assert "pear number 0 is green" in {cube.text for cube in alice.list()}
    found = await memory.aget(input="plums?")
    assert "Alice likes plums" in str(found[0].content)
    assert len(await memory.aget_all(status=MessageStatus.ARCHIVED)) > 0


async def test_a_block_gives_up_memories_from_its_end(alice: MemorySession) -> None:
    alice.add(["plum one", "plum two", "plum three"])
    one = MemOSMemoryBlock(session=alice, recall=RecallPolicy(limit=3))
    content = await one.aget([user("plum?")])
    shorter = await one.atruncate(content, 5)
    assert shorter is not None
    assert shorter.splitlines()[-1] == "</memories>"
    assert 0 < shorter.count("\n- ") < content.count("\n- ")
    assert await one.atruncate(content, 1000) is None


def test_chat_store_under_a_buffer(alice: MemorySession) -> None:
    store = MemOSChatStore(alice)
    buffer = ChatMemoryBuffer.from_defaults(chat_store=store, chat_store_key="k", token_limit=1000)
    buffer.put_messages([user("one"), assistant("two")])
    assert [m.content for m in buffer.get()] == ["one", "two"]
    assert store.get_keys() == ["k"]
    assert MemOSChatStore.from_dict(store.to_dict()).get_messages("k") == buffer.get_all()
    deleted = store.delete_message("k", 0)
    assert deleted is not None
    assert deleted.content == "one"
    assert store.delete_message("k", 7) is None
    assert [m.content for m in store.delete_messages("k") or ()] == ["two"]
    assert store.delete_messages("k") is None
    assert store.get_keys() == []


def test_metadata_filters(alice: MemorySession) -> None:
    alice.add("plum", tags=["fruit"], metadata={"page": 3})
    alice.add("plum stone", metadata={"page": 9})

    def found(*filters: MetadataFilter, **options: Any) -> list[str]:
        asked = MetadataFilters(filters=list(filters), **options)
        return [n.text for n in MemOSRetriever(alice, filters=asked).retrieve("plum")]

    page = MetadataFilter(key="page", value=5, operator=FilterOperator.GT)
    assert found(page) == ["plum stone"]
    fruit = MetadataFilter(key="tags", value="fruit", operator=FilterOperator.CONTAINS)
    assert found(fruit) == ["plum"]
    assert found(fruit, page) == []
    both = MetadataFilter(key="page", value=[3, 9], operator=FilterOperator.IN)
    assert sorted(found(both)) == ["plum", "plum stone"]
    with pytest.raises(InvalidFilterError, match="use 'and'"):
        found(page, fruit, condition=FilterCondition.OR)
    with pytest.raises(InvalidFilterError, match="text_match"):
        found(MetadataFilter(key="page", value="3", operator=FilterOperator.TEXT_MATCH))
