"""One memory behind both: ``python cookbook/one_memory_two_frameworks.py [FOLDER]``."""

from __future__ import annotations

import sys
import tempfile

from langchain.agents import create_agent
from langchain_core.language_models import FakeListChatModel
from llama_index.core.base.llms.types import ChatMessage, CompletionResponse, LLMMetadata
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.llms import CustomLLM

from memos_integrations import MemorySession, MemOS
from memos_integrations.langchain import MemOSChatMessageHistory, MemOSMiddleware
from memos_integrations.llama_index import MemOSMemory, MemOSRetriever


class ShowsItsPrompt(CustomLLM):
    """Stands in for any LLM."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    def complete(self, prompt: str, **_: object) -> CompletionResponse:
        print("--- LlamaIndex sees:", prompt, sep="\n")
        return CompletionResponse(text="At seven, as always.")

    def stream_complete(self, prompt: str, **_: object) -> None:  # type: ignore[override]
        raise NotImplementedError


def langchain_day(maya: MemorySession) -> None:
    """Monday: a LangChain agent hears something."""
    model = FakeListChatModel(responses=["Have fun!"])
    agent = create_agent(model, middleware=[MemOSMiddleware(maya)])
    agent.invoke({"messages": [("user", "On Thursdays I swim at seven, in the canal pool.")]})


def llama_index_day(maya: MemorySession) -> None:
    """Tuesday: a LlamaIndex chat engine recalls it, in a conversation of its own."""
    memory = MemOSMemory.from_defaults(maya, conversation_id="tuesday")
    engine = SimpleChatEngine.from_defaults(llm=ShowsItsPrompt(), memory=memory)
    engine.chat("When do I swim on Thursdays?")


def one_conversation(maya: MemorySession) -> None:
    """The same conversation, read by the other framework."""
    for message in MemOSChatMessageHistory(maya, "tuesday").messages:
        print(f"LangChain reads: {message.type}: {message.text}")
    MemOSMemory.from_defaults(maya, conversation_id="tuesday").put(
        ChatMessage(role="user", content="Thank you.")
    )
    print("messages now:", len(MemOSChatMessageHistory(maya, "tuesday").messages))


def main(folder: str) -> None:
    with MemOS.open(folder) as memory:
        maya = memory.session("maya")
        langchain_day(maya)
        llama_index_day(maya)
        one_conversation(maya)
        node = MemOSRetriever(maya, limit=1).retrieve("the canal pool")[0]
        print("same id:", node.node.node_id == maya.search("the canal pool")[0].cube.id)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(sys.argv[1] if len(sys.argv) > 1 else scratch)
