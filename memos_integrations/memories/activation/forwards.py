"""How the engine runs a model: whose turn it is, with which head, with whose cache."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


class OwnCache:
    """For a model whose cache is not ours to make: whatever it returned last time."""

    def __init__(self) -> None:
        self._given: dict[str, Any] = {}

    def forward(self, model: Any, given: dict[str, Any]) -> torch.Tensor:
        """The next token's logits."""
        output = model(**given, **self._given)
        for name in ("past_key_values", "cache_params"):
            if getattr(output, name, None) is not None:
                self._given = {name: getattr(output, name)}
        logits: torch.Tensor = output.logits[0, -1]
        return logits.float()


class Turns:
    """One forward at a time; those in the background wait until nobody else wants the model."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._quiet = threading.Condition()
        self._waiting = 0

    @contextmanager
    def foreground(self) -> Iterator[None]:
        with self._quiet:
            self._waiting += 1
        try:
            with self._lock:
                yield
        finally:
            with self._quiet:
                self._waiting -= 1
                self._quiet.notify_all()

    @contextmanager
    def background(self) -> Iterator[None]:
        with self._quiet:
            self._quiet.wait_for(lambda: self._waiting == 0)
        with self._lock:
            yield


def with_head(model: Any) -> Callable[[dict[str, Any]], torch.Tensor]:
    """The forward that gives logits, of the last position alone where the model can do that."""
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        return lambda given: model(**given, logits_to_keep=1).logits
    return lambda given: model(**given).logits


def takes_positions(model: Any) -> bool:
    """Whether a model is told where tokens stand; others count, or ask the mask."""
    return "position_ids" in inspect.signature(model.forward).parameters
