"""``MemOSEmbeddings``: the embedder of the memory as LangChain ``Embeddings``."""

from __future__ import annotations

from langchain_core.embeddings import Embeddings

from memos_integrations.memos import default_embedder
from memos_integrations.models.adapted import as_embedder
from memos_integrations.models.checked import embed_checked, embed_query_checked
from memos_integrations.offload import offload
from memos_integrations.protocols import Embedder


class MemOSEmbeddings(Embeddings):
    """The bundled all-MiniLM-L6-v2 (384 dimensions, offline, without torch), or another embedder.

    Vectors have unit length. Raises :class:`MissingExtraError` if the bundled model is not
    installed, and :class:`EmbeddingError` if the embedder fails.
    """

    def __init__(self, embedder: object | None = None) -> None:
        self.embedder: Embedder = default_embedder() if embedder is None else as_embedder(embedder)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector a text."""
        vectors: list[list[float]] = embed_checked(self.embedder, texts).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """The vector of a question."""
        vector: list[float] = embed_query_checked(self.embedder, text).tolist()
        return vector

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """:meth:`embed_documents` in a worker thread."""
        return await offload(self.embed_documents, texts)

    async def aembed_query(self, text: str) -> list[float]:
        """:meth:`embed_query` in a worker thread."""
        return await offload(self.embed_query, text)
