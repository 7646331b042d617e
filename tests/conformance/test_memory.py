"""Our LlamaIndex memory and chat stores, and LlamaIndex's own, against the conformance suites."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.memory import BaseMemory, ChatMemoryBuffer, Memory, StaticMemoryBlock
from llama_index.core.storage.chat_store import SimpleChatStore
from llama_index.core.storage.chat_store.base import BaseChatStore
from llama_index.core.storage.chat_store.sql import SQLAlchemyChatStore
from sqlalchemy.ext.asyncio import create_async_engine

from memos_integrations import MemorySession, MemOS
from memos_integrations.llama_index import MemOSAsyncChatStore, MemOSChatStore, MemOSMemory
from memos_integrations.llama_index.messages import as_said
from memos_integrations.testing import WordEmbedder

pytest.register_assert_rewrite("memos_integrations.testing.memory_conformance")

from memos_integrations.testing.memory_conformance import (  # noqa: E402
    PLENTY,
    AsyncChatStoreConformance,
    ChatStoreConformance,
    MemoryConformance,
    talk,
    user,
)


@pytest.fixture
def memos(tmp_path: Path) -> Iterator[MemOS]:
    with MemOS.open(tmp_path, embedder=WordEmbedder()) as memos:
        yield memos


@pytest.fixture
def alice(memos: MemOS) -> MemorySession:
    return memos.session("alice")


@pytest.fixture
def sql_store() -> Iterator[Callable[[], SQLAlchemyChatStore]]:
    """Makes stores over SQLite in memory, and closes their connections."""
    engines = []

    def make() -> SQLAlchemyChatStore:
        engines.append(create_async_engine("sqlite+aiosqlite:///:memory:"))
        return SQLAlchemyChatStore(table_name="t", async_engine=engines[-1])

    async def dispose() -> None:
        for engine in engines:
            await engine.dispose()

    yield make
    asyncio.run(dispose())


class TestMemOSMemory(MemoryConformance):
    @pytest.fixture
    def memory(self, memos: MemOS, alice: MemorySession) -> MemOSMemory:
        self.memos, self.users = memos, itertools.count()
        return MemOSMemory.from_defaults(alice, token_limit=PLENTY)

    def reopened(self, memory: BaseMemory) -> MemOSMemory:
        assert isinstance(memory, MemOSMemory)
        return MemOSMemory.from_defaults(
            memory.session, conversation_id=memory.conversation_id, token_limit=PLENTY
        )

    def another(self) -> MemOSMemory:
        return MemOSMemory.from_defaults(self.memos.session("alice"), token_limit=PLENTY)

    def tokens_limited(self, limit: int) -> MemOSMemory:
        """Of a new user each time, so that nothing is recalled."""
        session = self.memos.session(f"user {next(self.users)}")
        return MemOSMemory.from_defaults(session, token_limit=limit, tokenizer_fn=str.split)

    def remembering(self, fact: str, limit: int) -> MemOSMemory:
        bob = self.memos.session("bob")
        bob.add(fact)
        return MemOSMemory.from_defaults(bob, token_limit=limit, tokenizer_fn=str.split)

    def test_what_the_limit_cuts_is_recalled(self, memory: MemOSMemory) -> None:
        """What a long conversation began with is remembered as what earlier ones said is."""
        limited = self.tokens_limited(60)
        limited.put_messages([user("My cat is called Miso"), *talk(40)])
        shown = limited.get(input="What is my cat called?")
        assert "My cat is called Miso" in "\n".join(one.content or "" for one in shown)

    def said(self, messages: list[ChatMessage]) -> list[ChatMessage]:
        return as_said(messages)


class TestMemOSMemoryInTheSystemMessage(TestMemOSMemory):
    @pytest.fixture
    def memory(self, memos: MemOS, alice: MemorySession) -> MemOSMemory:
        self.memos, self.users = memos, itertools.count()
        return MemOSMemory.from_defaults(alice, token_limit=PLENTY, position="system")

    def remembering(self, fact: str, limit: int) -> MemOSMemory:
        memory = super().remembering(fact, limit)
        memory.position = "system"
        return memory


class TestMemory(MemoryConformance):
    """The host's own."""

    quirks = frozenset(
        {
            "call-parted",
            "empty-add-raises",
            "failed-set-empties",
            "first-use-race",
            "inserted-is-stored",
            "not-concurrent",
            "not-json",
            "no-user-first",
            "only-text-counted",
            "over-limit",
        }
    )

    @pytest.fixture
    def memory(self, sql_store: Callable[[], SQLAlchemyChatStore]) -> Memory:
        self.sql_store, self.store = sql_store, sql_store()
        return self._memory(PLENTY)

    def _memory(self, limit: int, *blocks: StaticMemoryBlock) -> Memory:
        return Memory.from_defaults(
            session_id=str(uuid.uuid4()),
            token_limit=limit,
            token_flush_size=1,
            chat_history_token_ratio=1.0,
            tokenizer_fn=str.split,
            memory_blocks=list(blocks),
            chat_store=self.store,
        )

    def reopened(self, memory: BaseMemory) -> Memory:
        assert isinstance(memory, Memory)
        return Memory.from_defaults(session_id=memory.session_id, chat_store=memory.sql_store)

    def another(self) -> Memory:
        return self._memory(PLENTY)

    def tokens_limited(self, limit: int) -> Memory:
        return self._memory(limit)

    def remembering(self, fact: str, limit: int) -> Memory:
        return self._memory(limit, StaticMemoryBlock(name="facts", static_content=fact))


class TestChatMemoryBuffer(MemoryConformance):
    """The host's own."""

    quirks = frozenset(
        {
            "aliased",
            "call-parted",
            "count-raises",
            "not-json",
            "no-user-first",
            "only-text-counted",
            "unchecked",
            "user-cut",
        }
    )

    @pytest.fixture
    def memory(self) -> ChatMemoryBuffer:
        return self.tokens_limited(PLENTY)

    def reopened(self, memory: BaseMemory) -> ChatMemoryBuffer:
        assert isinstance(memory, ChatMemoryBuffer)
        return ChatMemoryBuffer.from_defaults(
            chat_store=memory.chat_store, chat_store_key=memory.chat_store_key
        )

    def another(self) -> ChatMemoryBuffer:
        return self.tokens_limited(PLENTY)

    def tokens_limited(self, limit: int) -> ChatMemoryBuffer:
        return ChatMemoryBuffer.from_defaults(token_limit=limit, tokenizer_fn=str.split)


class TestMemOSChatStore(ChatStoreConformance):
    @pytest.fixture
    def store(self, alice: MemorySession) -> MemOSChatStore:
        return MemOSChatStore(alice)

    def reopened(self, store: BaseChatStore) -> MemOSChatStore:
        assert isinstance(store, MemOSChatStore)
        return MemOSChatStore(store.session)


class TestSimpleChatStore(ChatStoreConformance):
    """The host's own."""

    quirks = frozenset(
        {
            "aliased",
            "empty-keys",
            "empty-pop-raises",
            "negative-index-raises",
            "not-json",
            "unchecked",
        }
    )

    @pytest.fixture
    def store(self) -> SimpleChatStore:
        return SimpleChatStore()


class TestMemOSAsyncChatStore(AsyncChatStoreConformance):
    @pytest.fixture
    def store(self, alice: MemorySession) -> MemOSAsyncChatStore:
        return MemOSAsyncChatStore(alice)


class TestSQLAlchemyChatStore(AsyncChatStoreConformance):
    """The host's own."""

    quirks = frozenset(
        {
            "empty-add-raises",
            "failed-set-empties",
            "first-use-race",
            "not-concurrent",
            "row-ids",
        }
    )

    @pytest.fixture
    def store(self, sql_store: Callable[[], SQLAlchemyChatStore]) -> SQLAlchemyChatStore:
        return sql_store()
