"""A conformance suite for LlamaIndex chat stores (``BaseChatStore``)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.base.llms.types import (
    ChatMessage,
    MessageRole,
    TextBlock,
)
from llama_index.core.storage.chat_store.base import BaseChatStore

from memos_integrations.testing.memory_conformance_base import (
    BAD,
    EXAMPLES,
    KEYS,
    MESSAGES,
    NAMED,
    PARAMS,
    Suite,
    fails_cleanly,
    fresh,
    result,
    talk,
    together,
    user,
)

STORE_CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["set", "add", "delete", "delete_one", "delete_last"]),
        st.sampled_from(["k", "k2"]),
        st.integers(0, 4),
    ),
    max_size=12,
)


class ChatStoreConformance(Suite):
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

    @EXAMPLES
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
