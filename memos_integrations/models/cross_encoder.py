"""Cross-encoders of the sentence-transformers library as rerankers: they read both texts at once.

Nogueira and Cho, *Passage Re-ranking with BERT*, arXiv 1901.04085.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from memos_integrations.errors import InvalidInputError, MissingExtraError, RerankError
from memos_integrations.protocols import Reranker
from memos_integrations.query import Hit

_INSTALL = "pip install 'memos-integrations[local]'"


class CrossEncoderReranker:
    """``CrossEncoderReranker("cross-encoder/ms-marco-MiniLM-L6-v2")``: a hub id, a folder, or a
    ``CrossEncoder`` that is loaded already (anything with its ``predict``).

    A model with several labels is no reranker (:class:`RerankError`, at the first search). By name
    it is loaded at the first search. One search at a time: models are not thread-safe.
    """

    def __init__(self, model: object, *, batch_size: int = 32) -> None:
        if isinstance(model, str) and find_spec("sentence_transformers") is None:
            raise MissingExtraError(f"this reranker needs sentence-transformers: {_INSTALL}")
        if not isinstance(model, str) and not callable(getattr(model, "predict", None)):
            raise InvalidInputError(
                f"{type(model).__name__} has no predict: give a CrossEncoder, a hub id or a folder"
            )
        self._model: Any = model
        self._batch_size = batch_size
        self._lock = threading.Lock()

    def rerank(self, question: str, hits: Sequence[Hit]) -> list[float]:
        """What ``predict`` says of each pair of the question and :attr:`Hit.said`."""
        pairs = [(question, hit.said) for hit in hits]
        with self._lock:
            if isinstance(self._model, str):
                from sentence_transformers import CrossEncoder

                self._model = CrossEncoder(self._model)
            found = self._model.predict(pairs, batch_size=self._batch_size, show_progress_bar=False)
        scores = np.asarray(found, dtype=np.float64)
        if scores.shape not in ((len(hits),), (len(hits), 1)):
            raise RerankError(
                f"the cross-encoder gave scores of shape {scores.shape} for {len(hits)} pairs: "
                "use a model with one label"
            )
        listed: list[float] = scores.reshape(-1).tolist()
        return listed


def as_reranker(candidate: object) -> Reranker:
    """A :class:`Reranker` as it is, a ``CrossEncoder`` behind the protocol; nothing else."""
    if isinstance(candidate, type):
        raise InvalidInputError(
            f"reranker is the class {candidate.__name__}: give an instance of it"
        )
    if isinstance(candidate, Reranker):
        return candidate
    if callable(getattr(candidate, "predict", None)):
        return CrossEncoderReranker(candidate)
    wrap = ""
    if callable(getattr(candidate, "compress_documents", None)):
        wrap = "; wrap it: memos_integrations.langchain.CompressorReranker(...)"
    if callable(getattr(candidate, "postprocess_nodes", None)):
        wrap = "; wrap it: memos_integrations.llama_index.PostprocessorReranker(...)"
    raise InvalidInputError(
        f"reranker is {candidate!r}: give an object with rerank(question, hits), such as a Ranker, "
        f"or a CrossEncoder{wrap}"
    )
