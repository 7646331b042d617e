"""An adapter as bytes: tensors and a manifest. It loads onto the model it was made for only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from memos_integrations.errors import AdapterCorruptError, WrongModelError
from memos_integrations.memories.activation.segments import Source
from memos_integrations.memories.parameter import files
from memos_integrations.models.causal import CausalModel
from memos_integrations.models.fingerprint import short_hash

FORMAT = "memos-parameter-1"
Kind = Literal["lora", "prefix"]
_SAME = ("weights", "tokenizer", "template")
"""Parts of a model's fingerprint that must be the same: what it computes, and what it reads."""


@dataclass(frozen=True)
class Manifest:
    """What an adapter says of itself."""

    kind: Kind
    model: Mapping[str, str]
    """The fingerprint of the model: name, revision, hashes."""
    rank: int
    """Of a low-rank adapter; the number of positions of a prefix."""
    alpha: float
    """B A x is added ``alpha / rank`` times; 0 for a prefix."""
    layers: tuple[str, ...]
    """The layers that are adapted; none for a prefix."""
    seed: int
    sources: tuple[Source, ...]
    report: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Adapter:
    """An adapter, loaded."""

    manifest: Manifest
    tensors: dict[str, torch.Tensor]


def to_bytes(adapter: Adapter) -> bytes:
    """A safetensors file with a manifest in its header."""
    plain = asdict(adapter.manifest)
    return files.packed(adapter.tensors, {"format": FORMAT, **plain})


def from_bytes(content: bytes, model: CausalModel | None = None) -> Adapter:
    """The adapter, onto ``model`` if one is given.

    Raises :class:`AdapterCorruptError` and :class:`WrongModelError`.
    """
    tensors, about = files.unpacked(content, "the adapter")
    try:
        if about.pop("format") != FORMAT or about["kind"] not in ("lora", "prefix"):
            raise ValueError("it is of another release")
        about["layers"] = tuple(about["layers"])
        about["sources"] = tuple(Source(**one) for one in about["sources"])
        adapter = Adapter(Manifest(**about), tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise AdapterCorruptError(f"the adapter's manifest cannot be read: {error}") from error
    if model is not None:
        check_model(adapter.manifest.model, model)
    return adapter


def check_model(made_for: Mapping[str, str], model: CausalModel) -> None:
    """Refuse an adapter of another model (:class:`WrongModelError`)."""
    own = asdict(model.fingerprint)
    other = [name for name in _SAME if own[name] != made_for.get(name)]
    if other:
        raise WrongModelError(
            f"the adapter was made for {made_for.get('name')} {made_for.get('revision')}, and "
            f"{model.name} {model.revision} differs in {', '.join(other)}: load that model, or "
            "distil the memories anew"
        )


def fingerprint_of(model: CausalModel) -> str:
    """One hash of what an adapter depends on, for the payload of a MemCube."""
    own = asdict(model.fingerprint)
    return f"{model.name} {short_hash(' '.join(own[name] for name in _SAME))}"


def key_of(adapters: Sequence[tuple[str, float]]) -> str:
    """What keeps the KV caches of these adapters (blob, weight) apart from those of others."""
    return (
        short_hash(repr([(blob, float(weight)) for blob, weight in adapters])) if adapters else ""
    )
