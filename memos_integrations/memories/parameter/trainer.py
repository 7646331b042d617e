"""What a scheduler trains with: a model, how, and when it pays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

from memos_integrations.cube import MemCube
from memos_integrations.errors import InvalidInputError
from memos_integrations.memories.activation.admission import Rates
from memos_integrations.memories.parameter import lora, storage
from memos_integrations.memories.parameter.distilling import Distillation, distil
from memos_integrations.memories.parameter.new_adapter import NewAdapter, TrainingStopped
from memos_integrations.memories.parameter.worth import Worth, WorthPolicy, worth
from memos_integrations.models.causal import CausalModel
from memos_integrations.models.fingerprint import short_hash

_HEADER = 1 << 16
"""Bytes for the names in a file, and the report."""


@dataclass(frozen=True)
class ParameterTrainer:
    """Distils memories into adapters of a model; for ``memory.scheduler(trainer=...)``.

    ``rates``: measured ones (``chat.engine.rates()``) make the milliseconds true; by default they
    are a guess.
    """

    loaded: CausalModel
    _: KW_ONLY
    how: Distillation = field(default_factory=Distillation)
    policy: WorthPolicy = field(default_factory=WorthPolicy)
    rates: Rates = field(default_factory=Rates)
    most: int = 64
    """Memories that one adapter knows, at most."""

    def __post_init__(self) -> None:
        if isinstance(self.most, bool) or not isinstance(self.most, int) or self.most < 1:
            raise InvalidInputError(f"most is {self.most!r}: give 1 or more")

    @cached_property
    def model(self) -> str:
        """Whose adapters it makes."""
        return storage.fingerprint_of(self.loaded)

    @cached_property
    def key(self) -> str:
        """The same for trainings that would come out the same."""
        how = self.how
        return short_hash(
            repr([self.model, how.kind, how.shape, how.positions, how.schedule, how.gate])
        )

    @cached_property
    def size(self) -> int:
        """Bytes of an adapter, however many memories it knows."""
        network = self.loaded.model
        if self.how.kind == "lora":
            return lora.bytes_of(network, self.how.shape) + _HEADER
        about = network.config
        heads = getattr(about, "num_key_value_heads", None) or about.num_attention_heads
        width = getattr(about, "head_dim", None) or about.hidden_size // about.num_attention_heads
        wide = 2 * about.num_hidden_layers * heads * width * self.loaded.dtype.itemsize
        return int(self.how.positions * wide) + _HEADER

    def weigh(
        self, cubes: Sequence[MemCube], now: datetime, *, known: Collection[str] = ()
    ) -> Worth:
        """Whether one adapter of these memories pays; ``known``: what one knows already."""
        rounds = self.how.schedule.rounds
        return worth(cubes, now, self.policy, self.rates, rounds=rounds, known=known)

    def learn(
        self,
        cubes: Sequence[MemCube],
        goes_on: Callable[[], bool],
        checkpoint: Path | None = None,
    ) -> NewAdapter:
        """Train one adapter of these memories, for as long as that is wanted.

        ``checkpoint``: a file that is written every few steps, and gone on from.
        Raises what :func:`distil` raises, and :class:`TrainingStopped`.
        """

        def tell(step: int, steps: int, loss: float) -> None:
            if not goes_on():
                raise TrainingStopped

        adapter, report = distil(self.loaded, cubes, self.how, checkpoint_at=checkpoint, tell=tell)
        return NewAdapter(
            storage.to_bytes(adapter), adapter.manifest.kind, self.model, report.as_dict()
        )
