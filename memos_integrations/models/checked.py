"""What an embedder returned, checked and normalised, whoever wrote the embedder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from memos_integrations.errors import (
    EmbeddingDimensionError,
    EmbeddingError,
    InvalidInputError,
    MemOSError,
)
from memos_integrations.protocols import Embedder, TokenEmbedder, TokenVectors, Vectors

BATCH = 256
"""Texts handed to the embedder at a time, so that progress can be shown."""


def embed_checked(
    embedder: Embedder,
    texts: Sequence[str],
    *,
    batch: int = BATCH,
    progress: Callable[[int, int], None] | None = None,
) -> Vectors:
    """Unit vectors of ``texts``: float32, shape ``(len(texts), dimension)``.

    ``progress(done, total)`` is called after each ``batch`` of texts.

    Raises :class:`EmbeddingError` if the embedder raises, or returns something that is not one
    finite vector per text; :class:`EmbeddingDimensionError` for another dimension.
    """
    pages = []
    for start in range(0, len(texts), batch):
        page = list(texts[start : start + batch])
        raw = _called(embedder, lambda page=page: embedder.embed_documents(page))  # type: ignore[misc]
        pages.append(_unit(raw, embedder, rows=len(page)))
        if progress is not None:
            progress(start + len(page), len(texts))
    return np.concatenate(pages) if pages else np.empty((0, embedder.fingerprint.dimension), "<f4")


def embed_query_checked(embedder: Embedder, text: str) -> Vectors:
    """The unit vector of a question: float32, shape ``(dimension,)``. Errors as above."""
    raw = _called(embedder, lambda: [embedder.embed_query(text)])
    vector: Vectors = _unit(raw, embedder, rows=1)[0]
    return vector


def embed_tokens_checked(embedder: TokenEmbedder, texts: Sequence[str]) -> list[TokenVectors]:
    """Each text token by token. Raises :class:`EmbeddingError` if the embedder raises, or returns
    something that is not one finite vector a token for each text."""
    found = list(_called(embedder, lambda: embedder.embed_tokens(list(texts))))
    if len(found) != len(texts) or not all(map(_is_whole, found)):
        raise EmbeddingError(
            f"{type(embedder).__name__}.embed_tokens gave {len(found)} results for {len(texts)} "
            "texts: it returns one for each, in their order, with a finite vector a token"
        )
    return found


def _is_whole(one: TokenVectors) -> bool:
    shape = len(one.pieces), len(one.frame)
    return one.vectors.shape == shape and bool(np.isfinite(one.vectors).all())


def checked_vector(embedder: Embedder, vector: Any) -> Vectors:
    """A question's vector that a caller brought, as a unit vector: float32 ``(dimension,)``.

    Raises :class:`InvalidInputError` for what is no such vector.
    """
    try:
        unit: Vectors = _unit([vector], embedder, rows=1)[0]
    except EmbeddingError as error:
        expected = f"({embedder.fingerprint.dimension},), as embed() of the same store gives it"
        raise InvalidInputError(f"vector: give finite numbers of shape {expected}") from error
    return unit


def _called(embedder: Embedder, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except MemOSError:
        raise
    except Exception as error:  # foreign code: it may raise anything, and we name the embedder
        raise EmbeddingError(
            f"the embedder {embedder.fingerprint.name} failed: {error!r}. Nothing was stored"
        ) from error


def _unit(raw: Any, embedder: Embedder, *, rows: int) -> Vectors:
    name, dimension = embedder.fingerprint.name, embedder.fingerprint.dimension
    try:
        with np.errstate(over="ignore"):  # what is too large for float32 is found below, as inf
            vectors = np.asarray(raw, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise EmbeddingError(
            f"the embedder {name} returned no matrix of numbers: {error}"
        ) from error
    if vectors.ndim != 2 or len(vectors) != rows:
        raise EmbeddingError(
            f"the embedder {name} returned an array of shape {vectors.shape} for {rows} texts: "
            f"it must be ({rows}, {dimension})"
        )
    if vectors.shape[1] != dimension:
        raise EmbeddingDimensionError(
            f"the embedder {name} returned vectors of dimension {vectors.shape[1]}, "
            f"the store holds dimension {dimension}"
        )
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not (lengths > 0).all():
        raise EmbeddingError(
            f"the embedder {name} returned a vector that is not finite or has length 0"
        )
    return np.ascontiguousarray(vectors / lengths, dtype=np.float32)
