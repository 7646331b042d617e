"""Whether a model can go on with several requests in one forward: tried once, and remembered.

Where a request stands is told to a model in two ways: positions, and a mask of what stands in front
of the shorter ones. Whether a model's code heeds both shows in what it says, so it is asked.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from memos_integrations.memories.activation.faults import warn
from memos_integrations.memories.activation.prefix_tree import Lease
from memos_integrations.memories.activation.rows import Row, joined, shown

if TYPE_CHECKING:
    from memos_integrations.memories.activation.engine import ActivationEngine

log = logging.getLogger(__name__)

LENGTHS = (11, 3)
"""Tokens of the two requests that a model is tried with."""
EXACT, ROUNDED = 1e-3, 0.05
"""How far logits may be from those of a request alone, as a share of their range: in float32, and
in types with fewer bits."""


class Together:
    """What one model can do. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: str | None = None

    def why_not(self, engine: ActivationEngine) -> str:
        """Why requests of a batch are answered in turn; empty if they are decoded together."""
        if engine.refused:
            return engine.refused
        with self._lock:
            if self._reason is None:
                self._reason = _try(engine)
                if self._reason:
                    warn(
                        log,
                        "%s answers the requests of a batch in turn: %s",
                        engine.model.name,
                        self._reason,
                    )
            return self._reason


def step(engine: ActivationEngine, rows: Sequence[Row], tokens: Sequence[int]) -> torch.Tensor:
    """All rows read one token more each; the logits of the next, ``(rows, vocabulary)``.

    All of the rows stand in one cache, and are all that stands there.
    """
    device = engine.model.device
    with engine._turns.foreground(), torch.inference_mode():
        positions, mask = shown(rows, device)
        given: dict[str, Any] = {
            "input_ids": torch.tensor([[token] for token in tokens], device=device),
            "attention_mask": mask,
            "past_key_values": rows[0].cache,
            "use_cache": True,
        }
        if engine._takes_positions:
            given["position_ids"] = positions
        logits = engine._heads(given)[:, -1]
        for row in rows:
            row.length += 1
        return logits.float()


def _try(engine: ActivationEngine) -> str:
    """Two short requests, together and alone."""
    words = engine.model.model.get_input_embeddings().weight.shape[0]
    try:
        caches, rows = [], []
        for length in LENGTHS:
            cache = engine._stand_on(Lease(""))
            engine._forward(cache, [(7 * at + length) % words for at in range(length)], 0)
            caches.append(cache)
            rows.append(Row(cache, engine._before + length))
        joined(engine.model.model.config, rows)
        both = step(engine, rows, [5 % words, 5 % words])
        for cache, length, got in zip(caches, LENGTHS, both, strict=True):
            alone = engine._forward(cache, [5 % words], length)
            if not close_enough(got, alone, engine.model.dtype):
                return "its answers depend on the requests beside them"
    except Exception as error:  # noqa: BLE001 - a model's own code
        return f"it cannot read several requests at once ({error})"
    return ""


def close_enough(got: torch.Tensor, alone: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether logits are those of a request alone, but for rounding."""
    share = EXACT if dtype in (torch.float32, torch.float64) else ROUNDED
    said = alone > torch.finfo(dtype).min / 2  # not what the model never says
    if not torch.equal(said, got > torch.finfo(dtype).min / 2):
        return False
    got, alone = got[said], alone[said]
    return bool((got - alone).abs().max() <= share * (alone.max() - alone.min()))
