"""LangChain and LangGraph: the same memory behind their interfaces. One class a file."""

from __future__ import annotations

from memos_integrations.errors import MissingExtraError

try:
    import langchain_core as _host  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        "the LangChain adapters need langchain-core: pip install 'memos-integrations[langchain]'"
    ) from error

from memos_integrations.langchain.embeddings import MemOSEmbeddings
from memos_integrations.langchain.retriever import MemOSRetriever
from memos_integrations.langchain.store import MemOSStore

__all__ = ["MemOSEmbeddings", "MemOSRetriever", "MemOSStore"]
