"""LlamaIndex: the same memory behind its interfaces. One class a file.

``MemOSMemory`` for chat engines and agents, ``MemOSMemoryBlock``, ``MemOSChatStore`` and
``MemOSAsyncChatStore`` for the host's own memories, ``MemOSToolSpec`` for agents,
``MemOSRetriever`` and ``MemOSEmbedding`` for retrieval, ``MemOSLLM`` for a local model that reads
memories from their KV cache, ``KVCacheAccelerator`` for keeping that cache warm,
``HostedPrefixCache`` for the prefix cache of a hosted model.
``PostprocessorReranker`` lets any node postprocessor order what a search finds.
"""

from __future__ import annotations

from memos_integrations.errors import MissingExtraError

try:
    import llama_index.core as _host  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        "the LlamaIndex adapters need llama-index-core: "
        "pip install 'memos-integrations[llama-index]'"
    ) from error

from memos_integrations.llama_index.accelerator import KVCacheAccelerator, KVCacheCallbackHandler
from memos_integrations.llama_index.async_chat_store import MemOSAsyncChatStore
from memos_integrations.llama_index.chat_store import MemOSChatStore
from memos_integrations.llama_index.embedding import MemOSEmbedding
from memos_integrations.llama_index.function_llm import MemOSFunctionLLM
from memos_integrations.llama_index.hosted_prefix import HostedPrefixCache
from memos_integrations.llama_index.llm import MemOSLLM
from memos_integrations.llama_index.memory import MemOSMemory
from memos_integrations.llama_index.memory_block import MemOSMemoryBlock
from memos_integrations.llama_index.reranker import PostprocessorReranker
from memos_integrations.llama_index.retriever import MemOSRetriever
from memos_integrations.llama_index.tool_spec import MemOSToolSpec

__all__ = [
    "HostedPrefixCache",
    "KVCacheAccelerator",
    "KVCacheCallbackHandler",
    "MemOSAsyncChatStore",
    "MemOSChatStore",
    "MemOSEmbedding",
    "MemOSFunctionLLM",
    "MemOSLLM",
    "MemOSMemory",
    "MemOSMemoryBlock",
    "MemOSRetriever",
    "MemOSToolSpec",
    "PostprocessorReranker",
]
