"""Conformance of memories: asyncio, threads, bad input."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    ChatMessage,
    TextBlock,
)
from llama_index.core.memory.types import BaseMemory

from memos_integrations.testing.memory_conformance_base import (
    BAD,
    MESSAGES,
    MemorySuite,
    answer,
    fails_cleanly,
    fresh,
    talk,
    together,
    user,
)


class AsyncTests(MemorySuite):
    """The async twins, also at once."""

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


class ThreadTests(MemorySuite):
    """Several threads on one memory."""

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


class BadInputTests(MemorySuite):
    """What is no message, and what cannot be written."""

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
