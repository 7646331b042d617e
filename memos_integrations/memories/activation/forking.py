"""Whether a model's cache can be forked: by its config, and by trying. Tried once, and remembered.

A config says which layers a cache has; whether the model's code reads and fills such a cache, and
attends as those layers keep, only shows when it runs. So a short prompt is read piece by piece
through forks, as the engine does, and at once without a cache.
"""

from __future__ import annotations

import inspect
import re
import sys
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from memos_integrations.memories.activation.forwards import OwnCache, read_behind, with_head
from memos_integrations.memories.activation.tensors import (
    Piece,
    fork,
    fresh_piece,
    shortest_window,
    why_not,
)
from memos_integrations.memories.activation.together import close_enough
from memos_integrations.models.causal import CausalModel

TRIED = 24
"""Tokens that a model is tried with."""
MOST = 128
"""And at most, where that is enough to reach past its shortest sliding window."""
BEYOND = 12
"""Tokens that then stand behind the window."""
MASKS = re.compile("create_sliding_window_causal_mask|sliding_attention|create_masks_for_generate")
"""How transformers' models mask what is behind a sliding window."""


@dataclass(frozen=True)
class Forking:
    """What was found of one model."""

    reason: str
    """Why its cache cannot be forked exactly; empty if it can."""
    keeps: bool
    """Whether the cache that it makes itself may be relied on."""


_found: weakref.WeakKeyDictionary[Any, Forking] = weakref.WeakKeyDictionary()
_finding = threading.Lock()


def forking(model: CausalModel) -> Forking:
    """What holds for a model. Thread-safe.

    The first call reads some 50 tokens with it, and more only to get past a sliding window that is
    short, or that its code may not know.
    """
    with _finding:
        if model.model not in _found:
            on_gpu = [model.device] if model.device.type == "cuda" else []
            with torch.no_grad(), torch.random.fork_rng(devices=on_gpu):
                _found[model.model] = _try(model)
        return _found[model.model]


def _try(model: CausalModel) -> Forking:
    reason, keeps = why_not(model.model.config), False
    try:
        length, window = TRIED, _window(model)
        if window is not None:
            knows = _knows_windows(model.model)
            if knows is False:
                reason = reason or f"its code does not know its window of {window:,} tokens"
            if knows is None:  # far behind, so that it shows in few bits, too
                length = max(TRIED, 2 * window)
            elif window + BEYOND <= MOST:
                length = max(TRIED, window + BEYOND)
        length = min(length, model.context_window - 1)
        tokens = _some_tokens(model.model, length + 1)
        alone = _alone(model.model, tokens)
        if not reason and not (reason := _try_forks(model, tokens, alone)):
            return Forking("", keeps=True)
        seen = window is None or knows is not False or length > window
        keeps = seen and _own_is_right(model, tokens, alone)
    except Exception as error:  # noqa: BLE001 - a model's own code
        reason = reason or _failed(error)
    return Forking(reason, keeps)


def _failed(error: Exception) -> str:
    said = (str(error).strip().splitlines() or [""])[0]
    return f"it does not read a forked cache ({type(error).__name__}{said and ': '}{said})"


def _window(model: CausalModel) -> int | None:
    """The shortest sliding window that a prompt can be longer than."""
    window = shortest_window(model.model.config)
    return window if window is not None and window < model.context_window else None


def _knows_windows(model: Any) -> bool | None:
    """Whether the code of a model masks what is behind a window; ``None`` where it is unclear."""
    body = model.base_model
    parts = [body, *(one for one in body.modules() if isinstance(one, PreTrainedModel))]
    code = "".join({_code(type(part)) for part in parts})
    if MASKS.search(code):
        return True
    return None if "sliding_window" in code else False


def _code(kind: type) -> str:
    """The file of a class without comments; where there is none, it may do anything."""
    try:
        return re.sub("#.*", "", inspect.getsource(sys.modules[kind.__module__]))
    except (OSError, TypeError, KeyError):
        return "sliding_window"


def _some_tokens(model: Any, count: int) -> list[int]:
    """From the middle of the vocabulary, where no token has a meaning of its own."""
    words = int(model.get_input_embeddings().weight.shape[0])
    return [words // 4 + (7 * at + 3) % max(1, words // 2) for at in range(count)]


def _alone(model: Any, tokens: Sequence[int]) -> torch.Tensor:
    """The logits behind the last but one and the last token, read at once: ``(2, vocabulary)``."""
    given: dict[str, Any] = {"use_cache": False}
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        given["logits_to_keep"] = 2
    ids = torch.tensor([list(tokens)], device=model.device)
    logits: torch.Tensor = model(input_ids=ids, **given).logits[0, -2:]
    return logits.float()


def _try_forks(model: CausalModel, tokens: Sequence[int], alone: torch.Tensor) -> str:
    """Two pieces, then the rest behind a fork of both, then one token more."""
    plain, heads = model.model, with_head(model.model)
    last = len(tokens) - 1
    first, second = last // 2, last - max(1, min(4, last // 4))
    pieces: list[Piece] = []
    for start, end in ((0, first), (first, second)):
        cache = fork(plain.config, pieces)
        read_behind(plain, heads, cache, tokens[start:end], start, head=False)
        if not any(getattr(layer, "fresh", None) for layer in cache.layers):
            return "its code keeps no keys and values"
        pieces.append(fresh_piece(cache))
    cache = fork(plain.config, pieces)
    for right, start, end in ((alone[0], second, last), (alone[1], last, last + 1)):
        got = read_behind(plain, heads, cache, tokens[start:end], start)
        if not close_enough(got, right, model.dtype):
            return "behind a forked cache it says something else"
    return ""


def _own_is_right(model: CausalModel, tokens: Sequence[int], alone: torch.Tensor) -> bool:
    """Whether a model goes on behind its own cache as it does without."""
    own = OwnCache()
    for right, some in zip(alone, (tokens[:-1], tokens[-1:]), strict=True):
        got = own.forward(model.model, torch.tensor([list(some)], device=model.device))
        if not own.holds or not close_enough(got, right, model.dtype):
            return False
    return True
