"""A conformance suite for the async chat stores of ``Memory`` (``AsyncDBChatStore``)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.base.llms.types import (
    ChatMessage,
    MessageRole,
    TextBlock,
)
from llama_index.core.memory import Memory
from llama_index.core.storage.chat_store.base_db import AsyncDBChatStore, MessageStatus

from memos_integrations.testing.memory_conformance_base import (
    BAD,
    EXAMPLES,
    KEYS,
    NAMED,
    PARAMS,
    Suite,
    fails_cleanly,
    fresh,
    result,
    talk,
    user,
)

ACTIVE, ARCHIVED = MessageStatus.ACTIVE, MessageStatus.ARCHIVED

DB_CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["add", "add_many", "set", "delete", "delete_oldest", "archive"]),
        st.sampled_from([ACTIVE, ARCHIVED, None]),
        st.integers(1, 3),
    ),
    max_size=10,
)


class AsyncChatStoreConformance(Suite):
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

    @EXAMPLES
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
