"""``PostprocessorReranker``: any LlamaIndex node postprocessor puts hits into its order."""

from __future__ import annotations

from collections.abc import Sequence

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, TextNode

from memos_integrations.errors import InvalidInputError
from memos_integrations.models.ordered import scores_of
from memos_integrations.query import Hit


class PostprocessorReranker:
    """``session.search(question, reranker=PostprocessorReranker(LLMRerank(...)))``.

    Nodes have :attr:`Hit.said` as text, the hit's score, and :meth:`Hit.metadata`, which no model
    sees. The order that comes back counts, and not the scores: a postprocessor that gives none of
    its own leaves the search's. What it leaves out is not dropped: it stands after what it gave
    back. Changes of texts have no effect.
    """

    def __init__(self, postprocessor: BaseNodePostprocessor) -> None:
        if not isinstance(postprocessor, BaseNodePostprocessor):
            raise InvalidInputError(
                f"{type(postprocessor).__name__} is no BaseNodePostprocessor of LlamaIndex"
            )
        self._postprocessor = postprocessor

    def rerank(self, question: str, hits: Sequence[Hit]) -> list[float]:
        """One score a hit, from the order that comes back."""
        nodes = [NodeWithScore(node=_node(hit), score=hit.score) for hit in hits]
        back = self._postprocessor.postprocess_nodes(nodes, query_str=question)
        return scores_of([(one.node.node_id, None) for one in back], hits)


def _node(hit: Hit) -> TextNode:
    metadata = hit.metadata()
    hidden = list(metadata)
    return TextNode(
        id_=hit.cube.id,
        text=hit.said,
        metadata=metadata,
        excluded_llm_metadata_keys=hidden,
        excluded_embed_metadata_keys=hidden,
    )
