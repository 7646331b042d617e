"""An embedder that embeds each text once: all rows get the same vectors, and timings none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from memos_integrations.protocols import Embedder, EmbedderFingerprint, Vectors


class RememberingEmbedder:
    """Any embedder, each text once. Not for threads."""

    def __init__(self, origin: Embedder) -> None:
        self._origin = origin
        self._documents: dict[str, Vectors] = {}
        self._queries: dict[str, Vectors] = {}

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
