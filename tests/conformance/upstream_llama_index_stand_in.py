"""A pytest plugin beside LlamaIndex's own tests: their memories and chat stores are ours.

Only the making is replaced; every call of the tests goes to real objects over a store on disk.
``MEMOS_UPSTREAM`` says what is put in: ``memory`` makes each ``Memory`` and ``ChatMemoryBuffer`` a
``MemOSMemory``; ``store`` leaves ``Memory`` and puts it over a ``MemOSAsyncChatStore``.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from typing import Any

import pytest
from llama_index.core import memory as memories
from llama_index.core.llms import MockLLM
from llama_index.core.memory import chat_memory_buffer
from llama_index.core.memory import memory as memory_module
from llama_index.core.settings import Settings
from llama_index.core.storage import chat_store as chat_stores
from llama_index.core.storage.chat_store import simple_chat_store, sql

from memos_integrations import MemOS
from memos_integrations.llama_index import MemOSAsyncChatStore, MemOSChatStore, MemOSMemory
from memos_integrations.testing import WordEmbedder

AS_MEMORY = os.environ.get("MEMOS_UPSTREAM", "memory") == "memory"

ESTIMATES = "looks into the token estimates of Memory"
LEFT_OUT = {
    "test_persist_non_ascii_unescaped": "the file of SimpleChatStore; ours has its folder",
    "test_delete_message": "asks for the ids of table rows; ours are places in the history",
}
"""Tests by name, in both rounds."""
NOT_THE_MEMORY = {
    "test_initialization": "the settings of Memory's queue; MemOSMemory has no queue to flush",
    "test_estimate_token_count_": ESTIMATES,
    "test_manage_queue_flushes_large_tool_calls": "aget_all is the whole history, whatever status",
    "test_manage_queue_over_limit": "asks that 500 words be left out of a limit of 1,000",
    "test_simple_chat_engine": "after a reset, what was said before is recalled",
    "test_get_when_initial_tokens_exceed_limit_": "gives the newest message instead of raising",
    "test_get_when_initial_tokens_same_as_limit_": "the newest user message is never left out",
    "test_get_when_space_for_assistant_": "the newest user message is never left out",
}
"""Tests by name, or by its beginning, where ``MemOSMemory`` stands for ``Memory``."""

_folder = tempfile.TemporaryDirectory(prefix="memos-upstream-")
_memos = MemOS.open(_folder.name, embedder=WordEmbedder())
_numbers = itertools.count()


def _session() -> Any:
    """Of a user that nobody else is."""
    return _memos.session(f"user {next(_numbers)}")


class MemoryStandIn(MemOSMemory):
    """Made as ``Memory`` and ``ChatMemoryBuffer`` are."""

    @classmethod
    def from_defaults(cls, *values: Any, **options: Any) -> MemOSMemory:  # type: ignore[override]
        session = values[0] if values and not isinstance(values[0], list) else _session()
        history = options.pop("chat_history", None) or next(
            (value for value in values if isinstance(value, list)), None
        )
        return super().from_defaults(session, chat_history=history, **options)

    @classmethod
    def from_string(cls, text: str, **options: Any) -> MemOSMemory:
        import json

        return cls.from_dict(json.loads(text), **options)

    def to_string(self) -> str:
        import json

        return json.dumps(self.to_dict())

    def get_all(self, **_: Any) -> Any:  # Memory's takes a status
        return super().get_all()

    async def aget_all(self, **_: Any) -> Any:
        return await super().aget_all()

    async def areset(self, **_: Any) -> None:
        await super().areset()


class Constructed(type):
    """``Memory(token_limit=…)`` is ``Memory.from_defaults(token_limit=…)`` here."""

    def __call__(cls, **options: Any) -> Any:
        return MemoryStandIn.from_defaults(
            token_limit=options.get("token_limit"), tokenizer_fn=options.get("tokenizer_fn")
        )

    def __getattr__(cls, name: str) -> Any:
        return getattr(MemoryStandIn, name)

    def __instancecheck__(cls, one: object) -> bool:
        return isinstance(one, MemoryStandIn)


class NewMemory(metaclass=Constructed):
    """What the tests know as ``Memory``."""


class SimpleStandIn(MemOSChatStore):
    """Made as ``SimpleChatStore`` is."""

    def __init__(self, **_: Any) -> None:
        super().__init__(_session())


class AsyncStandIn(MemOSAsyncChatStore):
    """Made as ``SQLAlchemyChatStore`` is."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__(_session())


_origin = memory_module.Memory


class MemoryOverOurs(_origin):  # type: ignore[misc, valid-type]
    """The host's ``Memory``, over our chat store."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("sql_store", AsyncStandIn())
        super().__init__(**options)


def _over_ours(_: Any, *values: Any, **options: Any) -> Any:
    options.setdefault("chat_store", AsyncStandIn())
    return _from_defaults(*values, **options)


_from_defaults = _origin.from_defaults
if AS_MEMORY:
    memory_module.Memory = memories.Memory = NewMemory  # type: ignore[misc, assignment]
    chat_memory_buffer.ChatMemoryBuffer = NewMemory  # type: ignore[misc, assignment]
    memories.ChatMemoryBuffer = NewMemory  # type: ignore[misc, assignment]
    # The chat engines hold the class itself.
    _origin.from_defaults = staticmethod(MemoryStandIn.from_defaults)
else:
    memory_module.Memory = memories.Memory = MemoryOverOurs  # type: ignore[misc]
    _origin.from_defaults = classmethod(_over_ours)
simple_chat_store.SimpleChatStore = SimpleStandIn  # type: ignore[misc, assignment]
chat_stores.SimpleChatStore = SimpleStandIn  # type: ignore[misc, assignment]
sql.SQLAlchemyChatStore = AsyncStandIn  # type: ignore[misc, assignment]
Settings.llm = MockLLM()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        name = item.name.partition("[")[0]
        if name in LEFT_OUT:
            item.add_marker(pytest.mark.skip(reason=LEFT_OUT[name]))
        for start, reason in NOT_THE_MEMORY.items():
            if AS_MEMORY and (name == start or (start.endswith("_") and name.startswith(start))):
                item.add_marker(pytest.mark.skip(reason=reason))
