"""``MemOSMemoryBlock``: recalled memories as a block of LlamaIndex's ``Memory``."""

from __future__ import annotations

import hashlib
from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.memory.memory import BaseMemoryBlock

from memos_integrations.llama_index.messages import as_said
from memos_integrations.offload import offload
from memos_integrations.recall import CLOSING, Recall, RecallPolicy, Said, block
from memos_integrations.session import MemorySession


class MemOSMemoryBlock(BaseMemoryBlock[str]):
    """``Memory.from_defaults(memory_blocks=[MemOSMemoryBlock(session=alice)])``.

    It gives what is recalled for the newest user message, and keeps the messages that ``Memory``
    flushes. ``Memory`` flushes nothing before its history is full (21,000 tokens by default): with
    :class:`MemOSMemory` every message is kept at once. When tokens are short, the block gives up
    memories from its end, one by one; with ``priority=0`` it is never cut.
    """

    name: str = "memories"
    description: str | None = "What is remembered from earlier conversations."
    recall: RecallPolicy = Field(default_factory=RecallPolicy, exclude=True)
    """How much is recalled."""

    _session: MemorySession = PrivateAttr()
    _recall: Recall = PrivateAttr()

    def __init__(self, session: MemorySession, **fields: Any) -> None:
        super().__init__(**fields)
        self._session, self._recall = session, Recall(self.recall)

    @property
    def session(self) -> MemorySession:
        """Whose memory."""
        return self._session

    async def _aget(self, messages: list[ChatMessage] | None = None, **_: Any) -> str:
        """The block for the newest user message; empty if nothing is recalled."""
        asked = [m.content or "" for m in messages or () if m.role.value == "user"]
        if not asked:
            return ""
        shown = {m.content for m in messages or ()}
        recalled = await offload(self._recall.find, self._session, asked[-1])
        found = [cube for cube in recalled if cube.text not in shown]
        if not found:
            return ""
        prompt = f"{self.name}:{hashlib.sha256(asked[-1].encode()).hexdigest()[:16]}"
        await offload(
            self._recall.guarded,
            "reporting",
            lambda: self._session.record_uses(found, prompt=prompt),
            None,
        )
        return block(found)

    async def _aput(self, messages: list[ChatMessage]) -> None:
        """Keep what was said; the same message of a conversation once."""
        said = [
            Said(
                id=hashlib.sha256(f"{m.role.value}:{m.content}".encode()).hexdigest()[:16],
                role=m.role.value,
                text=m.content or "",
            )
            for m in as_said(messages)
            if m.role.value in ("user", "assistant")
        ]
        where = next((m.additional_kwargs.get("session_id", "") for m in messages), "")
        await offload(self._recall.record, self._session, said, conversation=str(where))

    async def atruncate(self, content: str, tokens_to_truncate: int) -> str | None:
        """Memories from the end are left out until about so many tokens are saved."""
        lines = content.splitlines()
        head, memories, saved = lines[:2], lines[2:-1], 0
        count = self._recall.policy.count_tokens
        while memories and saved < tokens_to_truncate:
            saved += count(memories.pop() + "\n")
            while memories and memories[-1].startswith("  "):  # never half a memory
                if memories[-1].startswith("- "):
                    break
                saved += count(memories.pop() + "\n")
        return "\n".join([*head, *memories, CLOSING]) if memories else None
