"""``CompressorReranker``: any LangChain document compressor puts hits into its order."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.documents import BaseDocumentCompressor, Document

from memos_integrations.errors import InvalidInputError
from memos_integrations.models.ordered import scores_of
from memos_integrations.query import Hit


class CompressorReranker:
    """``session.search(question, reranker=CompressorReranker(CohereRerank(...)))``.

    Documents have :attr:`Hit.said` as ``page_content`` and :meth:`Hit.metadata`. Their
    ``relevance_score`` counts if all that come back have one, else their order. What the compressor
    leaves out is not dropped: it stands after what it gave back. Changes of texts have no effect.
    """

    def __init__(self, compressor: BaseDocumentCompressor) -> None:
        if not isinstance(compressor, BaseDocumentCompressor):
            raise InvalidInputError(
                f"{type(compressor).__name__} is no BaseDocumentCompressor of LangChain"
            )
        self._compressor = compressor

    def rerank(self, question: str, hits: Sequence[Hit]) -> list[float]:
        """One score a hit, from what comes back."""
        documents = [
            Document(id=hit.cube.id, page_content=hit.said, metadata=hit.metadata()) for hit in hits
        ]
        back = self._compressor.compress_documents(documents, question)
        found = [(one.metadata.get("id"), one.metadata.get("relevance_score")) for one in back]
        return scores_of(found, hits)
