"""``MemOSRetriever``: recalled memories as LangChain documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams
from pydantic import ConfigDict

from memos_integrations.operation.retrieving.policy import SearchPolicy
from memos_integrations.query import Hit
from memos_integrations.session import MemorySession


class MemOSRetriever(BaseRetriever):
    """Finds memories: ``MemOSRetriever(session=alice).invoke("where does she live?")``.

    Documents have the memory's id, its text as ``page_content``, and the keys of
    :meth:`memos_integrations.Hit.metadata`: version, score and its parts, reason, times.
    ``limit``, ``filters``, ``min_score``, ``policy`` and ``rewrite`` can be given per call:
    ``retriever.invoke(question, limit=3)``.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    session: MemorySession
    """Whose memory is searched."""
    limit: int = 10
    """The most documents returned."""
    filters: Mapping[str, Any] | None = None
    """As in :meth:`memos_integrations.MemorySession.search`."""
    min_score: float = 0.0
    """Hits below are left out (0 to 1)."""
    policy: SearchPolicy | None = None
    """How this retriever's searches weigh, if not as the store's."""
    rewrite: Any = None
    """Other wordings to search with, as in :meth:`memos_integrations.MemorySession.search`."""

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        return [_document(hit) for hit in self.session.search(query, **self._with(options))]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        hits = await self.session.asearch(query, **self._with(options))
        return [_document(hit) for hit in hits]

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        """What traces say about a retrieval: the kind of retriever, and what embeds."""
        embedder = self.session.embedder
        return LangSmithRetrieverParams(
            ls_retriever_name="memos",
            ls_vector_store_provider="MemOS",
            ls_embedding_provider="memos_integrations",
            ls_embedding_model=embedder.name,
        )

    def _with(self, options: dict[str, Any]) -> dict[str, Any]:
        own = {
            "limit": self.limit,
            "filters": self.filters,
            "min_score": self.min_score,
            "policy": self.policy,
            "rewrite": self.rewrite,
        }
        return {**own, **options}


def _document(hit: Hit) -> Document:
    return Document(id=hit.cube.id, page_content=hit.cube.text, metadata=hit.metadata())
