"""LangChain and LangGraph: the same memory behind their interfaces. One class a file.

``MemOSMiddleware`` and ``memory_tools`` for agents, ``MemOSStore`` for graphs, ``MemOSRetriever``
and ``MemOSEmbeddings`` for retrieval, ``MemOSChatMessageHistory`` and ``MemOSMemory`` for chains;
``ChatMemOS`` is a local model that reads memories from their KV cache, ``KVCacheAccelerator`` keeps
that cache warm. ``HostedPrefixCache`` does so for models that run elsewhere.
``CompressorReranker`` lets any document compressor order what a search finds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from memos_integrations.errors import MissingExtraError

try:
    import langchain_core as _host  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        "the LangChain adapters need langchain-core: pip install 'memos-integrations[langchain]'"
    ) from error

if TYPE_CHECKING:
    from memos_integrations.langchain.accelerator import KVCacheAccelerator
    from memos_integrations.langchain.chat_history import MemOSChatMessageHistory
    from memos_integrations.langchain.chat_model import ChatMemOS
    from memos_integrations.langchain.embeddings import MemOSEmbeddings
    from memos_integrations.langchain.hosted_prefix import HostedPrefixCache
    from memos_integrations.langchain.memory import MemOSMemory
    from memos_integrations.langchain.middleware import MemOSMiddleware
    from memos_integrations.langchain.reranker import CompressorReranker
    from memos_integrations.langchain.retriever import MemOSRetriever
    from memos_integrations.langchain.store import MemOSStore
    from memos_integrations.langchain.tools import memory_tools

_HOMES = {
    "ChatMemOS": "chat_model",
    "CompressorReranker": "reranker",
    "HostedPrefixCache": "hosted_prefix",
    "KVCacheAccelerator": "accelerator",
    "MemOSChatMessageHistory": "chat_history",
    "MemOSEmbeddings": "embeddings",
    "MemOSMemory": "memory",
    "MemOSMiddleware": "middleware",
    "MemOSRetriever": "retriever",
    "MemOSStore": "store",
    "memory_tools": "tools",
}
_EXTRAS = {
    "langchain": "langchain",
    "langgraph": "langchain",
    "langchain_classic": "langchain-classic",
}

__all__ = [
    "ChatMemOS",
    "CompressorReranker",
    "HostedPrefixCache",
    "KVCacheAccelerator",
    "MemOSChatMessageHistory",
    "MemOSEmbeddings",
    "MemOSMemory",
    "MemOSMiddleware",
    "MemOSRetriever",
    "MemOSStore",
    "memory_tools",
]


def __getattr__(name: str) -> Any:
    """Import a class when it is first used: each needs its own part of LangChain only."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRAS:
            raise
        raise MissingExtraError(
            f"{name} needs {missing.replace('_', '-')}: "
            f"pip install 'memos-integrations[{_EXTRAS[missing]}]'"
        ) from error


def __dir__() -> list[str]:
    return sorted(__all__)
