"""LlamaIndex: the same memory behind its interfaces. One class a file."""

from __future__ import annotations

from memos_integrations.errors import MissingExtraError

try:
    import llama_index.core as _host  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        "the LlamaIndex adapters need llama-index-core: "
        "pip install 'memos-integrations[llama-index]'"
    ) from error

from memos_integrations.llama_index.retriever import MemOSRetriever

__all__ = ["MemOSRetriever"]
