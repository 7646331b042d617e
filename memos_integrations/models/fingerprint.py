"""What identifies a language model: hashes of its weights, its tokenizer and its template."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from memos_integrations.errors import ModelError

_SAYS_NOTHING = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version")
"""Parts of a configuration that change nothing of what is computed from given weights."""


@dataclass(frozen=True)
class ModelFingerprint:
    """What makes two KV caches interchangeable."""

    name: str
    revision: str
    weights: str
    """Of each weight, and of the configuration, which has the angles of the positions."""
    tokenizer: str
    template: str
    dtype: str
    attention: str
    """The implementation, such as ``sdpa``: each rounds in its own way."""

    @property
    def computes(self) -> str:
        """One hash of what decides the numbers in a KV cache: not of the name or revision."""
        parts = (self.weights, self.tokenizer, self.template, self.dtype, self.attention)
        return short_hash(" ".join(parts))


def short_hash(content: str | bytes) -> str:
    """The first 16 digits of a sha256."""
    content = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(content).hexdigest()[:16]


def hash_of_weights(model: Any) -> str:
    """Of each parameter and saved buffer, in the order of their names, and the configuration."""
    config = {k: v for k, v in model.config.to_dict().items() if k not in _SAYS_NOTHING}
    parts = [json.dumps(config, sort_keys=True, default=str)]
    for name, tensor in sorted(model.state_dict().items()):
        if tensor.is_meta:
            raise ModelError(f"the weight {name} is not in memory: load the model without offload")
        parts.append(f"{name} {tuple(tensor.shape)} {tensor.dtype} {_hash_of_tensor(tensor)}")
    return short_hash("\n".join(parts))


def _hash_of_tensor(tensor: Any) -> str:
    import torch
    import xxhash

    # As bytes, since numpy knows no bfloat16; flat, since a scalar has no view as bytes.
    content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return xxhash.xxh3_128_hexdigest(content.numpy())


def hash_of_tokenizer(tokenizer: Any) -> str:
    """Of all that a fast tokenizer does; of a slow one, its words and special tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        # Before the tokens stand the padding and truncation that its last user set.
        _, _, lasting = backend.to_str().partition('"added_tokens"')
        return short_hash(lasting)
    known = [type(tokenizer).__name__, tokenizer.get_vocab(), tokenizer.special_tokens_map]
    return short_hash(json.dumps(known, sort_keys=True, default=str))
