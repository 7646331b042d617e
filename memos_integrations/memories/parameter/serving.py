"""Adapters beside a model: each set of them loaded once, checked, and shared by requests."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from memos_integrations.cube import MemCube
from memos_integrations.errors import InvalidInputError
from memos_integrations.memories.activation.tensors import Piece
from memos_integrations.memories.parameter import storage, views
from memos_integrations.memories.parameter.lora import LoraShape
from memos_integrations.memories.parameter.probing import examine
from memos_integrations.memories.parameter.reading import Mind
from memos_integrations.memories.parameter.targets import student_text
from memos_integrations.memories.parameter.texts import course
from memos_integrations.models.causal import CausalModel

KEPT = 32
"""Sets of adapters that stay loaded; those used longest ago go first."""
Weighted = tuple[str, float]
"""An adapter by the digest of its file, and how much of it is added."""


@dataclass(frozen=True, eq=False)
class Reader:
    """A model with a set of adapters: what a request reads instead of the model itself."""

    key: str
    """Keeps the KV caches of this set apart from those of others."""
    model: CausalModel
    prefix: Piece | None = None
    """A trained prefix, in front of every prompt."""

    def mind(self) -> Mind:
        """The same, to be asked."""
        if self.prefix is None:
            return Mind(self.model)
        layers = [self.prefix.layer(i) for i in range(len(self.prefix))]
        return Mind(self.model, [one for one in layers if one is not None])


class Readers:
    """The sets of adapters of one model that are loaded. Thread-safe."""

    def __init__(self, model: CausalModel, read: Callable[[str], bytes]) -> None:
        """``read`` gives the bytes of a file by its digest."""
        self._model, self._read = model, read
        self._lock = threading.Lock()
        self._loaded: OrderedDict[tuple[Weighted, ...], Reader] = OrderedDict()

    def get(self, adapters: Sequence[Weighted]) -> Reader:
        """The model with these; raises :class:`WrongModelError`, :class:`AdapterCorruptError`."""
        wanted = tuple(adapters)
        with self._lock:
            found = self._loaded.get(wanted) or load(
                self._model, [(self._read(blob), weight) for blob, weight in wanted], wanted
            )
            self._loaded[wanted] = found
            self._loaded.move_to_end(wanted)
            while len(self._loaded) > KEPT:
                self._loaded.popitem(last=False)
            return found

    def clear(self) -> None:
        """Let go of all; requests that read one go on to their end."""
        with self._lock:
            self._loaded.clear()


def load(
    model: CausalModel,
    contents: Sequence[tuple[bytes, float]],
    named: Sequence[Weighted] = (),
) -> Reader:
    """A model with adapters, from their bytes and weights.

    Raises :class:`WrongModelError`, :class:`AdapterCorruptError`, and :class:`InvalidInputError`
    for two trained prefixes: each takes the first positions.
    """
    seen, prefix = model, None
    for i, (content, weight) in enumerate(contents):
        adapter = storage.from_bytes(content, model)
        about = adapter.manifest
        if about.kind == "lora":
            seen = views.view(model) if seen is model else seen
            views.put(seen, f"a{i}", adapter.tensors, LoraShape(rank=about.rank, alpha=about.alpha))
            views.scale(seen, f"a{i}", weight)
        elif prefix is not None:
            raise InvalidInputError("two trained prefixes cannot be read at once: name one")
        else:
            prefix = _piece(model, adapter.tensors)
    return Reader(storage.key_of(named), seen, prefix)


def confidences(model: CausalModel, content: bytes, cubes: Sequence[MemCube]) -> dict[str, float]:
    """How surely an adapter gives the answer of each memory: probability, the mean over its tokens.

    0 for a memory of which the rules make no question.
    """
    reader = load(model, [(content, 1.0)])
    found: dict[str, float] = {}
    for cube in cubes:
        try:
            probes = course([cube]).probes
        except InvalidInputError:
            found[cube.id] = 0.0
            continue
        known = examine(reader.mind(), lambda one: student_text(model, one), probes)
        found[cube.id] = known.probability
    return found


def _piece(model: CausalModel, tensors: dict[str, torch.Tensor]) -> Piece:
    moved = {name: one.to(device=model.device, dtype=model.dtype) for name, one in tensors.items()}
    return Piece([(moved[f"k{i}"], moved[f"v{i}"]) for i in range(len(moved) // 2)])
