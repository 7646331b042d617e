"""Adapters beside a model: loaded once, checked against it, and shared by requests."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from memos_integrations.cube import MemCube
from memos_integrations.memories.activation.tensors import Piece
from memos_integrations.memories.parameter import storage
from memos_integrations.memories.parameter.active import Weighted, active, attach
from memos_integrations.memories.parameter.lora import weighted
from memos_integrations.memories.parameter.probing import examine
from memos_integrations.memories.parameter.reading import Read, logits
from memos_integrations.memories.parameter.storage import Adapter
from memos_integrations.memories.parameter.targets import student_text
from memos_integrations.memories.parameter.texts import course
from memos_integrations.models.causal import CausalModel

KEPT = 64
"""Adapters that stay loaded; those used longest ago go first."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """An adapter on a model's device, in its data type."""

    adapter: Adapter
    lora: Weighted | None = None
    prefix: Piece | None = None

    def at(self, weight: float) -> Weighted | None:
        """So much of it."""
        return self.lora and Weighted(self.lora.pairs, self.lora.scale * weight)


class Shelf:
    """The adapters of one model that are loaded, by the digest of their files. Thread-safe."""

    def __init__(self, model: CausalModel, read: Callable[[str], bytes]) -> None:
        attach(model.model)
        self._model, self._read = model, read
        self._lock = threading.Lock()
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()

    def get(self, blob: str) -> Loaded:
        """The adapter; raises :class:`WrongModelError`, :class:`AdapterCorruptError`."""
        with self._lock:
            found = self._loaded.get(blob) or load(self._model, self._read(blob))
            self._loaded[blob] = found
            self._loaded.move_to_end(blob)
            while len(self._loaded) > KEPT:
                self._loaded.popitem(last=False)
            return found

    def clear(self) -> None:
        """Let go of all; requests that read one go on to their end."""
        with self._lock:
            self._loaded.clear()


def load(model: CausalModel, content: bytes) -> Loaded:
    """An adapter from its bytes, onto a model."""
    adapter = storage.from_bytes(content, model)
    if adapter.manifest.kind == "lora":
        return Loaded(adapter, lora=weighted(adapter.tensors, adapter.manifest.scale, model.model))
    moved = {
        name: one.to(device=model.device, dtype=model.dtype)
        for name, one in adapter.tensors.items()
    }
    layers = [(moved[f"k{i}"], moved[f"v{i}"]) for i in range(len(moved) // 2)]
    return Loaded(adapter, prefix=Piece(layers))


def confidences(model: CausalModel, content: bytes, cubes: Sequence[MemCube]) -> dict[str, float]:
    """How surely an adapter gives the answer of each memory: probability, the mean over its tokens.

    0 for a memory of which the rules make no question.
    """
    attach(model.model)
    loaded = load(model, content)
    before = None
    if loaded.prefix is not None:
        layers = [loaded.prefix.layer(i) for i in range(len(loaded.prefix))]
        before = [one for one in layers if one is not None]

    def ask(texts: Sequence[Read]) -> list[torch.Tensor]:
        with active([loaded.lora] if loaded.lora else []):
            return logits(model, texts, before)

    found: dict[str, float] = {}
    for cube in cubes:
        probes = course([cube]).probes
        known = examine(
            ask, lambda one: student_text(model, one), probes, model.decode, model.eos_ids
        )
        found[cube.id] = known.probability
    return found
