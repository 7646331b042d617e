"""Conformance suites for LlamaIndex: memories, chat stores, and the async stores of ``Memory``."""

from __future__ import annotations

import pytest

from memos_integrations.testing.memory_conformance_base import (
    FACT,
    PLENTY,
    QUESTION,
    QUIRKS,
    answer,
    talk,
    user,
)

# Before their import, so that a failing `assert` shows its values.
pytest.register_assert_rewrite(
    "memos_integrations.testing.memory_conformance_async_stores",
    "memos_integrations.testing.memory_conformance_chat_stores",
    "memos_integrations.testing.memory_conformance_history",
    "memos_integrations.testing.memory_conformance_limits",
    "memos_integrations.testing.memory_conformance_sharing",
)

from memos_integrations.testing.memory_conformance_async_stores import (  # noqa: E402
    AsyncChatStoreConformance,
)
from memos_integrations.testing.memory_conformance_chat_stores import (  # noqa: E402
    ChatStoreConformance,
)
from memos_integrations.testing.memory_conformance_history import (  # noqa: E402
    ConversationTests,
    HistoryTests,
)
from memos_integrations.testing.memory_conformance_limits import (  # noqa: E402
    InsertTests,
    LimitTests,
)
from memos_integrations.testing.memory_conformance_sharing import (  # noqa: E402
    AsyncTests,
    BadInputTests,
    ThreadTests,
)

__all__ = [
    "FACT",
    "PLENTY",
    "QUESTION",
    "QUIRKS",
    "AsyncChatStoreConformance",
    "ChatStoreConformance",
    "MemoryConformance",
    "answer",
    "talk",
    "user",
]


class MemoryConformance(
    HistoryTests,
    ConversationTests,
    InsertTests,
    LimitTests,
    AsyncTests,
    ThreadTests,
    BadInputTests,
):
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
