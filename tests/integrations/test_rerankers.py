"""The rerankers of three libraries, behind the one protocol: their real classes, tiny scorers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from sentence_transformers import CrossEncoder
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

from memos_integrations import Hit, MemorySession
from memos_integrations.errors import InvalidInputError
from memos_integrations.langchain import CompressorReranker, MemOSRetriever
from memos_integrations.llama_index import MemOSRetriever as NodeRetriever
from memos_integrations.llama_index import PostprocessorReranker
from memos_integrations.models.cross_encoder import CrossEncoderReranker
from tests.conftest import Opener

FACTS = ["Maya moved to Utrecht", "Maya is allergic to walnuts", "Jonas plays the trumpet"]


def texts(hits: Sequence[Hit]) -> list[str]:
    return [hit.cube.text for hit in hits]


@pytest.fixture
def maya(alice: MemorySession) -> MemorySession:
    alice.add(FACTS, speaker="Maya")
    return alice


# sentence-transformers ---------------------------------------------------------------------------


def encoder(folder: Path, labels: int = 1) -> CrossEncoder:
    """A real cross-encoder with random weights, the same each time."""
    words = sorted({word for fact in FACTS for word in fact.lower().split()} | {"maya", "who"})
    vocabulary = folder / "vocab.txt"
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ":", *words]))
    torch.manual_seed(0)
    shape: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = BertConfig(
        vocab_size=6 + len(words), num_attention_heads=2, num_labels=labels, **shape
    )
    BertForSequenceClassification(config).eval().save_pretrained(folder)
    BertTokenizerFast(str(vocabulary), model_max_length=64).save_pretrained(folder)
    return CrossEncoder(str(folder), device="cpu")


def test_a_cross_encoder_as_it_is(maya: MemorySession, tmp_path: Path) -> None:
    model = encoder(tmp_path / "model")
    hits = maya.search("who moved", reranker=model)
    said = [f"Maya: {fact}" for fact in FACTS]
    wanted = dict(zip(FACTS, model.predict([("who moved", one) for one in said]), strict=True))
    assert texts(hits) == sorted(FACTS, key=lambda fact: -wanted[fact])
    assert len(set(wanted.values())) == len(FACTS)
    assert [h.parts["reranker"] for h in hits] == pytest.approx(
        [float(wanted[h.cube.text]) for h in hits], abs=1e-5
    )
    named = CrossEncoderReranker(str(tmp_path / "model"))
    assert texts(maya.search("who moved", reranker=named)) == texts(hits)


def test_a_cross_encoder_with_labels_is_none(
    maya: MemorySession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = encoder(tmp_path / "model", labels=3)
    hits = maya.search("who moved", reranker=model)
    assert texts(hits) == texts(maya.search("who moved"))
    assert "CrossEncoderReranker failed (RerankError)" in caplog.text


def test_a_model_that_is_not_there_leaves_the_searchs_order(
    maya: MemorySession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reranker = CrossEncoderReranker(str(tmp_path / "nothing" / "here"))
    with caplog.at_level(logging.WARNING, logger="memos_integrations"):
        assert texts(maya.search("who moved", reranker=reranker)) == texts(maya.search("who moved"))
    assert "CrossEncoderReranker failed" in caplog.text


# LangChain ---------------------------------------------------------------------------------------


class Longest(BaseDocumentCompressor):
    """The longest ``top_n``; with a score, as rerankers write it, or without."""

    scored: bool = True
    top_n: int = 10

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        order = sorted(documents, key=lambda one: -len(one.page_content))[: self.top_n]
        return [
            Document(page_content=one.page_content[:3], metadata=self._with_score(one))
            for one in order  # a compressor may shorten texts
        ]

    def _with_score(self, one: Document) -> dict[str, Any]:
        score = {"relevance_score": len(one.page_content) / 100} if self.scored else {}
        return {**one.metadata, **score}


@pytest.mark.parametrize("scored", [True, False])
def test_a_compressor(maya: MemorySession, scored: bool) -> None:
    hits = maya.search("who moved", reranker=CompressorReranker(Longest(scored=scored)))
    assert texts(hits) == sorted(FACTS, key=lambda one: -len(one))
    if scored:
        assert hits[0].parts["reranker"] == len(f"Maya: {hits[0].cube.text}") / 100


def test_what_a_compressor_leaves_out_comes_last(maya: MemorySession) -> None:
    hits = maya.search("who moved", reranker=CompressorReranker(Longest(top_n=1)))
    rest = [text for text in texts(maya.search("who moved")) if text != max(FACTS, key=len)]
    assert texts(hits) == [max(FACTS, key=len), *rest]


def test_a_compressor_that_loses_the_ids_is_logged(
    maya: MemorySession, caplog: pytest.LogCaptureFixture
) -> None:
    class Rewriting(Longest):
        def compress_documents(
            self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
        ) -> list[Document]:
            return [Document(page_content="all of it")]

    hits = maya.search("who moved", reranker=CompressorReranker(Rewriting()))
    assert texts(hits) == texts(maya.search("who moved"))
    assert "CompressorReranker failed (RerankError)" in caplog.text


async def test_through_the_langchain_retriever(open_store: Opener) -> None:
    session = open_store(reranker=CompressorReranker(Longest())).session("maya")
    session.add(FACTS)
    retriever = MemOSRetriever(session=session, limit=1)
    [found] = await retriever.ainvoke("who moved")
    assert found.page_content == max(FACTS, key=len)
    assert found.metadata["score_parts"]["reranker"] > 0
    [plain] = retriever.invoke("who moved", reranker=False)
    assert "reranker" not in plain.metadata["score_parts"]


# LlamaIndex --------------------------------------------------------------------------------------


class Reversed(BaseNodePostprocessor):
    """The shortest first, and only ``top_n`` of them."""

    top_n: int = 10

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        assert query_bundle is not None
        return sorted(nodes, key=lambda one: len(one.node.get_content()))[: self.top_n]


def test_a_postprocessor(maya: MemorySession) -> None:
    hits = maya.search("who moved", reranker=PostprocessorReranker(Reversed()))
    assert texts(hits) == sorted(FACTS, key=len)
    assert [hit.parts["reranker"] for hit in hits] == [1.0, 0.75, 0.5]
    few = maya.search("who moved", reranker=PostprocessorReranker(Reversed(top_n=1)))
    assert len(few) == len(FACTS)
    assert few[0].cube.text == min(FACTS, key=len)


def test_a_postprocessor_that_drops_all_changes_nothing(maya: MemorySession) -> None:
    nothing = PostprocessorReranker(SimilarityPostprocessor(similarity_cutoff=2.0))
    assert texts(maya.search("who moved", reranker=nothing)) == texts(maya.search("who moved"))


def test_a_postprocessor_that_makes_other_nodes_is_logged(
    maya: MemorySession, caplog: pytest.LogCaptureFixture
) -> None:
    class Other(Reversed):
        def _postprocess_nodes(
            self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
        ) -> list[NodeWithScore]:
            return [NodeWithScore(node=TextNode(text="another"), score=1.0)]

    hits = maya.search("who moved", reranker=PostprocessorReranker(Other()))
    assert texts(hits) == texts(maya.search("who moved"))
    assert "PostprocessorReranker failed (RerankError)" in caplog.text


async def test_through_the_llama_index_retriever(open_store: Opener) -> None:
    session = open_store(reranker=PostprocessorReranker(Reversed())).session("maya")
    session.add(FACTS)
    [found] = await NodeRetriever(session, limit=1).aretrieve("who moved")
    assert found.node.get_content() == min(FACTS, key=len)


# All ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unwrapped", "wrap"),
    [(Longest(), "CompressorReranker"), (Reversed(), "PostprocessorReranker")],
)
def test_what_must_be_wrapped_says_how(maya: MemorySession, unwrapped: object, wrap: str) -> None:
    with pytest.raises(InvalidInputError, match=wrap):
        maya.search("who moved", reranker=unwrapped)


@pytest.mark.parametrize("wrap", [CompressorReranker, PostprocessorReranker, CrossEncoderReranker])
def test_what_cannot_be_wrapped(wrap: Any) -> None:
    with pytest.raises(InvalidInputError):
        wrap(7)
