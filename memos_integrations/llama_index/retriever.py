"""``MemOSRetriever``: recalled memories as LlamaIndex nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.vector_stores.types import MetadataFilters

from memos_integrations.interface.rewriting import Rewriter
from memos_integrations.llama_index.filters import as_filters
from memos_integrations.operation.retrieving.policy import SearchPolicy
from memos_integrations.query import Hit
from memos_integrations.session import MemorySession

_SHOWN = ("speaker", "said_at", "event_time")
"""Metadata that a language model and an embedding model see with the text."""


class MemOSRetriever(BaseRetriever):
    """Finds memories: ``MemOSRetriever(session=alice).retrieve("where does she live?")``.

    Nodes have the memory's id and text, its score, and the keys of
    :meth:`memos_integrations.Hit.metadata` as metadata; of these, models are shown only the
    speaker and the times. ``filters`` are ``MetadataFilters``, or those of
    :meth:`memos_integrations.MemorySession.search`, as are ``policy`` and ``rewrite``.
    """

    def __init__(
        self,
        session: MemorySession,
        *,
        limit: int = 10,
        filters: MetadataFilters | Mapping[str, Any] | None = None,
        min_score: float = 0.0,
        policy: SearchPolicy | None = None,
        rewrite: Rewriter | None = None,
        callback_manager: CallbackManager | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(callback_manager=callback_manager, verbose=verbose)
        self.session = session
        self.limit, self.filters, self.min_score = limit, as_filters(filters), min_score
        self.policy, self.rewrite = policy, rewrite

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [_node(hit) for hit in self.session.search(query_bundle.query_str, **self._options)]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        hits = await self.session.asearch(query_bundle.query_str, **self._options)
        return [_node(hit) for hit in hits]

    @property
    def _options(self) -> dict[str, Any]:
        return {
            "limit": self.limit,
            "filters": self.filters,
            "min_score": self.min_score,
            "policy": self.policy,
            "rewrite": self.rewrite,
        }


def _node(hit: Hit) -> NodeWithScore:
    metadata = hit.metadata()
    hidden = [name for name in metadata if name not in _SHOWN]
    node = TextNode(
        id_=hit.cube.id,
        text=hit.cube.text,
        metadata=metadata,
        excluded_llm_metadata_keys=hidden,
        excluded_embed_metadata_keys=hidden,
    )
    return NodeWithScore(node=node, score=hit.score)
