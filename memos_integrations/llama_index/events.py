"""What observability sees: LlamaIndex instrumentation events of recalling and recording."""

from __future__ import annotations

from llama_index.core.instrumentation.events import BaseEvent


class MemoryRecalled(BaseEvent):
    """Memories were searched for a user's message."""

    question: str
    memory_ids: list[str]
    """In the order of the prompt."""

    @classmethod
    def class_name(cls) -> str:
        """The event's name in traces."""
        return "MemoryRecalled"


class MemoryRecorded(BaseEvent):
    """Messages were kept."""

    count: int

    @classmethod
    def class_name(cls) -> str:
        """The event's name in traces."""
        return "MemoryRecorded"
