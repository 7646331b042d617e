"""``MemOSEmbedding``: the embedder of the memory as LlamaIndex ``BaseEmbedding``."""

from __future__ import annotations

from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr

from memos_integrations.memos import default_embedder
from memos_integrations.models.checked import embed_checked, embed_query_checked
from memos_integrations.offload import offload
from memos_integrations.protocols import Embedder


class MemOSEmbedding(BaseEmbedding):
    """The bundled all-MiniLM-L6-v2 (384 dimensions, offline, without torch), or another embedder.

    Vectors have unit length. Raises :class:`MissingExtraError` if the bundled model is not
    installed, and :class:`EmbeddingError` if the embedder fails.
    """

    _embedder: Embedder = PrivateAttr()

    def __init__(self, embedder: Embedder | None = None, **fields: Any) -> None:
        chosen = default_embedder() if embedder is None else embedder
        super().__init__(**{"model_name": chosen.fingerprint.name, **fields})
        self._embedder = chosen

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex knows it."""
        return "MemOSEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        vector: list[float] = embed_query_checked(self._embedder, query).tolist()
        return vector

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = embed_checked(self._embedder, texts).tolist()
        return vectors

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await offload(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await offload(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await offload(self._get_text_embeddings, texts)
