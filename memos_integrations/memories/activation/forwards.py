"""How the engine runs a model: whose turn it is, with which head, with whose cache."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch


class OwnCache:
    """For a model whose cache is not ours to make: what it returned last time.

    Where it returns none, or (``keeps=False``) what it returns is not to be relied on, it reads
    everything again for each token, as ``generate(use_cache=False)`` of transformers does.
    """

    def __init__(self, *, keeps: bool = True) -> None:
        self._keeps = keeps
        self._given: dict[str, Any] = {}
        self._read: list[torch.Tensor] = []

    @property
    def holds(self) -> bool:
        """Whether the model has returned a cache."""
        return bool(self._given)

    def forward(self, model: Any, ids: torch.Tensor) -> torch.Tensor:
        """The logits ``(vocabulary,)`` behind ``ids``, ``(1, tokens)``, and all those before."""
        self._read.append(ids)
        if self._keeps:
            output = model(input_ids=ids, use_cache=True, **self._given)
            self._given = {
                name: found
                for name in ("past_key_values", "cache_params", "state")
                if (found := getattr(output, name, None)) is not None
            }
            self._keeps = self.holds
        if not self._keeps:
            output = model(**self._prepared(model))
        logits: torch.Tensor = output.logits[0, -1]
        return logits.float()

    def _prepared(self, model: Any) -> dict[str, Any]:
        """What a model of transformers reads to say what follows: some add tokens of their own."""
        whole = torch.cat(self._read, dim=1)
        known = inspect.signature(model.forward).parameters
        given: dict[str, Any] = {"use_cache": False}
        if "attention_mask" in known:
            given["attention_mask"] = torch.ones_like(whole)
        if "logits_to_keep" in known:
            given["logits_to_keep"] = 1
        prepared: dict[str, Any] = model.prepare_inputs_for_generation(
            whole, is_first_iteration=True, **given
        )
        return prepared


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


def read_behind(
    model: Any,
    heads: Callable[[dict[str, Any]], torch.Tensor],
    cache: Any,
    tokens: Sequence[int],
    before: int,
    *,
    head: bool = True,
) -> torch.Tensor:
    """The model reads ``tokens`` behind ``before`` others, all in ``cache``.

    Returns the logits of the next one, ``(vocabulary,)``, or nothing without its ``head``.
    """
    device = model.device
    given: dict[str, Any] = {
        "input_ids": torch.tensor([list(tokens)], device=device),
        "use_cache": True,
        "past_key_values": cache,
        "attention_mask": torch.ones(1, before + len(tokens), dtype=torch.long, device=device),
    }
    if not head:
        model.base_model(**given)
        return torch.empty(0)
    logits: torch.Tensor = heads(given)[0, -1]
    return logits.float()


def takes_positions(model: Any) -> bool:
    """Whether a model is told where tokens stand; others count, or ask the mask."""
    return "position_ids" in inspect.signature(model.forward).parameters
