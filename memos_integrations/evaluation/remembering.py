"""An embedder that embeds each text once: all rows get the same vectors, and timings none."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from memos_integrations.protocols import (
    Embedder,
    EmbedderFingerprint,
    TokenEmbedder,
    TokenVectors,
    Vectors,
)


class RememberingEmbedder:
    """Any embedder, each text once. Not for threads."""

    def __init__(self, origin: Embedder) -> None:
        self._origin = origin
        self._documents: dict[str, Vectors] = {}
        self._queries: dict[str, Vectors] = {}
        self._tokens: dict[str, TokenVectors] = {}
        if isinstance(origin, TokenEmbedder):
            self.embed_tokens: Callable[[Sequence[str]], list[TokenVectors]] = self._embed_tokens

    @property
    def fingerprint(self) -> EmbedderFingerprint:
        """That of the embedder."""
        return self._origin.fingerprint

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """float32, shape ``(len(texts), dimension)``."""
        new = [text for text in dict.fromkeys(texts) if text not in self._documents]
        if new:
            made = self._origin.embed_documents(new)
            self._documents.update(zip(new, made, strict=True))
        return np.stack([self._documents[text] for text in texts])

    def embed_query(self, text: str) -> Vectors:
        """float32, shape ``(dimension,)``."""
        if text not in self._queries:
            self._queries[text] = self._origin.embed_query(text)
        return self._queries[text]

    def _embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """One for each text."""
        assert isinstance(self._origin, TokenEmbedder)
        new = [text for text in dict.fromkeys(texts) if text not in self._tokens]
        for text, one in zip(new, self._origin.embed_tokens(new) if new else (), strict=True):
            self._tokens[text] = one
        return [self._tokens[text] for text in texts]
