"""Embedders of other frameworks, by their methods: LangChain ``Embeddings`` and LlamaIndex
``BaseEmbedding`` are accepted as they are, and neither framework is imported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from memos_integrations.errors import EmbeddingError, InvalidInputError, MemOSError
from memos_integrations.protocols import Embedder, EmbedderFingerprint, Vectors

_NAMES = ("model_name", "model", "model_id", "repo_id", "deployment")


def as_embedder(candidate: object) -> Embedder:
    """``candidate`` as an :class:`~memos_integrations.protocols.Embedder`.

    Accepted: an ``Embedder``; an object with LangChain's ``embed_documents`` and
    ``embed_query``; one with LlamaIndex's ``get_text_embedding_batch`` and
    ``get_query_embedding``. Anything else raises :class:`InvalidInputError`.
    """
    if isinstance(candidate, type):
        raise InvalidInputError(
            f"embedder is the class {candidate.__name__}: give an instance of it"
        )
    documents, query = _methods(candidate, "embed_documents", "embed_query")
    own = isinstance(getattr(candidate, "fingerprint", None), EmbedderFingerprint)
    if own and documents is not None and query is not None:
        return candidate  # type: ignore[return-value]
    if documents is None or query is None:
        documents, query = _methods(candidate, "get_text_embedding_batch", "get_query_embedding")
    if documents is None or query is None:
        raise InvalidInputError(
            f"{type(candidate).__name__} is no embedder: give a LangChain Embeddings, a LlamaIndex "
            "BaseEmbedding, or an object with fingerprint, embed_documents and embed_query"
        )
    return AdaptedEmbedder(candidate, documents, query)


def _methods(candidate: object, *names: str) -> tuple[Callable[..., Any] | None, ...]:
    found = (getattr(candidate, name, None) for name in names)
    return tuple(method if callable(method) else None for method in found)


class AdaptedEmbedder:
    """A foreign embedder behind the protocol; its dimension is found with one embedding."""

    def __init__(
        self, origin: object, documents: Callable[..., Any], query: Callable[..., Any]
    ) -> None:
        self._origin, self._documents, self._query = origin, documents, query

    @cached_property
    def fingerprint(self) -> EmbedderFingerprint:
        """Class and model name of the foreign embedder, and the dimension of its vectors."""
        try:
            dimension = len(_float32(self._query("dimension")))
        except MemOSError:
            raise
        except Exception as error:  # foreign code: it may raise anything, and we name the embedder
            raise EmbeddingError(f"the embedder {self._name} failed: {error!r}") from error
        revision = getattr(self._origin, "revision", None)
        return EmbedderFingerprint(
            self._name, revision if isinstance(revision, str) else "", dimension
        )

    @property
    def _name(self) -> str:
        values = (getattr(self._origin, name, None) for name in _NAMES)
        model = next((value for value in values if isinstance(value, str) and value), "")
        return f"{type(self._origin).__name__}:{model}" if model else type(self._origin).__name__

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """float32, shape ``(len(texts), dimension)``."""
        return _float32(self._documents(list(texts)))

    def embed_query(self, text: str) -> Vectors:
        """float32, shape ``(dimension,)``."""
        return _float32(self._query(text))


def _float32(raw: Any) -> Vectors:
    # What is too large becomes inf, and is refused where all vectors are checked.
    with np.errstate(over="ignore"):
        return np.asarray(raw, dtype=np.float32)
