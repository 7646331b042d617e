"""A chat engine that remembers: ``python cookbook/llama_index_chat_engine.py [FOLDER]``.

Run it twice on one folder: the second process knows what the first was told.
"""

from __future__ import annotations

import sys
import tempfile
from typing import Any

from llama_index.core.base.llms.types import CompletionResponse, LLMMetadata
from llama_index.core.chat_engine import ContextChatEngine
from llama_index.core.llms import CustomLLM
from llama_index.core.memory import Memory

from memos_integrations import MemOS
from memos_integrations.llama_index import (
    MemOSAsyncChatStore,
    MemOSMemory,
    MemOSMemoryBlock,
    MemOSRetriever,
)


class StandIn(CustomLLM):
    """Stands in for any LLM: it repeats the fact that it was shown."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    def complete(self, prompt: str, **_: Any) -> CompletionResponse:
        lines = [line for line in prompt.splitlines() if line.startswith("- ")]
        facts = [line for line in lines if "walnuts" in line]
        return CompletionResponse(text=f"You told me: {facts[0][2:]}" if facts else "I see.")

    def stream_complete(self, prompt: str, **_: Any) -> Any:
        raise NotImplementedError


def main(folder: str) -> None:
    with MemOS.open(folder) as store:
        maya, handbook = store.session("maya"), store.session("handbook")
        if handbook.count() == 0:
            handbook.add("The canteen opens at noon.")

        def engine(conversation: str) -> ContextChatEngine:
            return ContextChatEngine.from_defaults(
                retriever=MemOSRetriever(handbook, limit=1),
                llm=StandIn(),
                memory=MemOSMemory.from_defaults(maya, conversation_id=conversation),
            )

        monday = engine("monday")
        print("Monday:", monday.chat("I am allergic to nuts: walnuts above all."))
        print("Tuesday:", engine("tuesday").chat("What should I avoid in the canteen?"))
        # The history is emptied; what was said is still remembered.
        monday.reset()
        memory = MemOSMemory.from_defaults(maya, conversation_id="monday")
        print("Monday's history:", memory.get_all())
        print("Wednesday:", engine("wednesday").chat("May I have the cake with nuts?"))

        # The host's own Memory, with our block and our store underneath.
        stock = Memory.from_defaults(
            session_id="thursday",
            chat_store=MemOSAsyncChatStore(maya),
            memory_blocks=[MemOSMemoryBlock(session=maya)],
        )
        shown = stock.get(input="Which nuts are bad for me?")[0].content or ""
        print("the stock Memory shows:", "walnuts above all" in shown)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(sys.argv[1] if len(sys.argv) > 1 else scratch)
