"""A prompt's cache that is joined from parts, and in which any of its tokens can be read again.

Parts are keys and values that were computed at one place and stand at another now: their keys are
turned (see ``rotary``) and copied, so what is kept is never written into. A token that is read
again attends to everything before it, as it is now, and its keys and values take the place of the
old ones, layer by layer.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.rotary import EXACT, ROUNDED, Rotation, Turner
from memos_integrations.memories.activation.segments import LONGEST
from memos_integrations.memories.activation.tensors import Pair, Piece, fork, fresh_piece

FIXED = frozenset({"default", "linear", "llama3", "yarn", "proportional"})
"""Kinds of rotary positions whose angles do not depend on the length of the prompt."""


@dataclass(frozen=True)
class Part:
    """Some pieces, one behind another."""

    start: int
    """Where they stand."""
    computed_at: int
    """Where they stood when they were computed."""
    pieces: Sequence[Piece]

    @property
    def end(self) -> int:
        """Where they end."""
        return self.start + sum(piece.tokens for piece in self.pieces)

    def layer(self, i: int) -> Pair:
        """Keys and values of one layer."""
        pairs = [pair for piece in self.pieces if (pair := piece.layer(i)) is not None]
        if len(pairs) == 1:
            return pairs[0]
        return torch.cat([p[0] for p in pairs], dim=-2), torch.cat([p[1] for p in pairs], dim=-2)


class JoinedLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """One layer of a joined prompt: what is read again is written where it stands."""

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values
        self.at = torch.empty(0, dtype=torch.long)
        """Where the tokens stand that are read now."""
        self.end = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> Pair:
        """Write at the places ``at``, and return everything before ``end``."""
        self.keys.index_copy_(-2, self.at, key_states)
        self.values.index_copy_(-2, self.at, value_states)
        return self.keys[..., : self.end, :], self.values[..., : self.end, :]

    def get_seq_length(self) -> int:
        """Tokens up to the last that is read now."""
        return self.end


def join(parts: Sequence[Part], rotations: Sequence[Rotation], tokens: int) -> list[JoinedLayer]:
    """All parts where they stand among so many tokens; zeros where there is none."""
    turners: dict[int, Turner] = {}
    for part in parts:
        if part.start != part.computed_at:
            now = torch.arange(part.start, part.end, device=part.layer(0)[0].device)
            turners[part.start] = Turner(now - part.start + part.computed_at, now)
    layers: list[JoinedLayer] = []
    with torch.inference_mode():
        for i, rotation in enumerate(rotations):
            layer = JoinedLayer(*(_room(one, tokens) for one in parts[0].layer(i)))
            for part in parts:
                keys, values = part.layer(i)
                if part.start in turners:
                    keys = turners[part.start](keys, rotation)
                layer.keys[..., part.start : part.end, :] = keys
                layer.values[..., part.start : part.end, :] = values
            layers.append(layer)
    return layers


def read_again(
    engine: ActivationEngine,
    layers: Sequence[JoinedLayer],
    tokens: Sequence[int],
    positions: Sequence[int],
) -> torch.Tensor:
    """Read the tokens at ``positions``, which ascend, in place; the logits behind the last token.

    No logits if the last token is not among them.
    """
    model, device = engine.model.model, engine.model.device
    logits = torch.empty(0)
    cache = DynamicCache()
    cache.layers = list(layers)
    for first in range(0, len(positions), LONGEST):
        some = positions[first : first + LONGEST]
        at = torch.tensor(some, device=device)
        for layer in layers:
            layer.at, layer.end = at, some[-1] + 1
        hidden = torch.arange(some[-1] + 1, device=device) > at[:, None]
        mask = torch.zeros(hidden.shape, dtype=engine.model.dtype, device=device)
        given = {
            "input_ids": torch.tensor([[tokens[one] for one in some]], device=device),
            "position_ids": at[None],
            "past_key_values": cache,
            "attention_mask": mask.masked_fill_(hidden, torch.finfo(mask.dtype).min)[None, None],
            "use_cache": True,
        }
        with engine._turns.foreground(), torch.inference_mode():
            if some[-1] + 1 == len(tokens):
                logits = engine._heads(given)[0, -1].float()
            else:
                model.base_model(**given)
    return logits


def cache_of(config: Any, layers: Sequence[JoinedLayer]) -> DynamicCache:
    """A cache that an answer goes on behind."""
    cache = fork(config, [Piece([(layer.keys, layer.values) for layer in layers])])
    made: list[Any] = cache.layers
    for layer, joined in zip(made, layers, strict=True):
        layer.keys, layer.values = joined.keys, joined.values  # where compiled decoding looks
    return cache


class _Seen(Exception):  # no error: the layers behind need not run
    """How far each token's values would move, ``(tokens,)``."""

    def __init__(self, changes: torch.Tensor) -> None:
        self.changes = changes


class _WatchingLayer(JoinedLayer):  # type: ignore[no-untyped-call]
    """Looks at how far values would move, and lets the model go no further."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> Pair:
        moved = value_states.float() - self.values[..., self.at, :].float()
        raise _Seen(moved.square().sum((0, 1, 3)))


def deviations(
    engine: ActivationEngine,
    layers: Sequence[JoinedLayer],
    tokens: Sequence[int],
    positions: Sequence[int],
) -> dict[int, float]:
    """How far the second layer's values would move, were all ``positions`` read again.

    That is the first layer at which memories have seen one another (CacheBlend,
    arXiv:2405.16444); so only one layer is computed.
    """
    second = min(1, len(layers) - 1)
    watched = [*layers[:second], _WatchingLayer(layers[second].keys, layers[second].values)]
    found: dict[int, float] = {}
    for first in range(0, len(positions), LONGEST):
        some = positions[first : first + LONGEST]
        try:
            read_again(engine, watched, tokens, some)
        except _Seen as seen:
            found.update(zip(some, seen.changes.tolist(), strict=True))
    return found


def why_not_joined(engine: ActivationEngine) -> str:
    """Why a model cannot be given joined caches, by its configuration; empty if it may."""
    model = engine.model.model
    config = model.config.get_text_config(decoder=True)
    kinds = (DynamicLayer, DynamicSlidingWindowLayer)
    if any(type(layer) not in kinds for layer in DynamicCache(config=config).layers):
        return "some of its layers use the keys of others"
    if other := set(_ropes(config)) - FIXED:
        return f"its rotary positions ({', '.join(sorted(other))}) are not known to be fixed"
    attention = str(model.config._attn_implementation)
    if attention not in ("sdpa", "eager"):
        return f"its attention ({attention}) takes no mask of ours"
    if "position_ids" not in inspect.signature(model.base_model.forward).parameters:
        return "it cannot be told where a token stands"
    return ""


def why_not_again(engine: ActivationEngine, tokens: Sequence[int]) -> str:
    """Why tokens in the middle cannot be read again, found by trying; empty if they can."""
    cache = fork(engine.model.model.config, [])
    engine._forward(cache, tokens, 0, head=False)
    right = Part(0, 0, [fresh_piece(cache)])
    none = Rotation(torch.empty(0))
    layers = join([right], [none] * len(cache.layers), len(tokens))
    again = [2, 3, len(tokens) - 1]
    with torch.inference_mode():
        for layer in layers:
            layer.keys[..., again, :] = layer.values[..., again, :] = 0
    read_again(engine, layers, tokens, again)
    tolerance = EXACT if engine.model.dtype in (torch.float32, torch.float64) else ROUNDED
    for i, layer in enumerate(layers):
        for one, other in zip(right.layer(i), (layer.keys, layer.values), strict=True):
            if not (one.float() - other.float()).norm() <= tolerance * one.float().norm():
                return "it cannot read tokens in the middle of a prompt again"
    return ""


def _ropes(config: Any) -> list[str]:
    given = getattr(config, "rope_parameters", None) or {}
    nested = [one for one in given.values() if isinstance(one, dict)] or [given]
    return [str(one.get("rope_type", "default")) for one in nested]


def _room(like: torch.Tensor, tokens: int) -> torch.Tensor:
    return like.new_zeros(*like.shape[:-2], tokens, like.shape[-1])
