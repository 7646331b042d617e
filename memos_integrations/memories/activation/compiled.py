"""Decoding by a compiled forward over a cache of fixed size: fewer launches for each token.

A prompt is read as ever, so what is found in the cache and what is kept stay the same. With the
second token its keys and values are copied into a *room*: layers of transformers' static cache,
whose tensors keep their shapes and addresses while the answer grows. ``torch.compile`` makes one
program for each size of room, which on a GPU is replayed as CUDA graphs. A prompt that was found
and one that was computed stand in rooms of the same sizes, so they run the same programs; against
a plain forward the logits differ by rounding.

A model is tried once. Where its code cannot be compiled, keeps other layers, or says something
else then, it decodes as ever, and the reason is kept.
"""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from transformers import Cache
from transformers.cache_utils import StaticLayer

from memos_integrations.memories.activation.decoding import Decoding, Prefilled
from memos_integrations.memories.activation.faults import warn
from memos_integrations.memories.activation.prefix_tree import Lease
from memos_integrations.memories.activation.tensors import Pair, SharedLayer, SharedWindowLayer
from memos_integrations.memories.activation.together import close_enough

if TYPE_CHECKING:
    from memos_integrations.memories.activation.engine import ActivationEngine

log = logging.getLogger(__name__)

T = TypeVar("T")
Program = Callable[[dict[str, Any]], torch.Tensor]

SMALLEST = 256
"""Tokens of the smallest room; each other one is twice as large as the one before."""
TRIED = 11
"""Tokens that a model is tried with."""
STEPS = 6
"""And how many it says then: more than a CUDA graph is run before it is replayed."""
BACKEND: str | Callable[..., Any] = "inductor"
"""Of ``torch.compile``."""


@dataclass(frozen=True, eq=False)
class Room:
    """A cache of fixed size, for one request at a time."""

    size: int
    """Tokens that it has room for."""
    cache: Any

    def fill(self, pairs: Iterable[Pair], tokens: int) -> None:
        """Let it hold ``tokens`` tokens: of each layer the last ones, as many as are given.

        Layers with a sliding window have no more; what would stand before, their mask hides.
        """
        for layer, (keys, values) in zip(self.cache.layers, pairs, strict=True):
            if not layer.is_initialized:
                layer.lazy_initialization(keys, values)
            first = tokens - min(tokens, keys.shape[-2])
            layer.keys[:, :, first:tokens] = keys[:, :, first - tokens :]
            layer.values[:, :, first:tokens] = values[:, :, first - tokens :]
            layer.cumulative_length.fill_(tokens)

    def pairs(self, tokens: int) -> list[Pair]:
        """Keys and values of its first so many tokens, by layer."""
        layers = self.cache.layers
        return [(one.keys[:, :, :tokens], one.values[:, :, :tokens]) for one in layers]


class Compiled:
    """One model's programs, and the rooms that they run in. Thread-safe.

    All programs run in one thread, for CUDA graphs belong to the thread that recorded them.
    """

    def __init__(self) -> None:
        self._trying = threading.RLock()
        self._reason: str | None = None
        self._rooms = threading.RLock()  # taken in finalizers, too: nothing waits while it is held
        self._free: dict[int, Room] = {}
        self._worker = ThreadPoolExecutor(1, "memos-compiled")
        self._programs: dict[int, Program] = {}

    def why_not(self, engine: ActivationEngine) -> str:
        """Why a model decodes as ever; empty if it is compiled."""
        if engine.refused:
            return engine.refused
        if engine._through is not None:
            return "it is read through adapters"
        with self._trying:
            if self._reason is None:
                self._conclude(engine, self._try(engine))
            return self._reason or ""

    def decoding(self, engine: ActivationEngine, read: Prefilled) -> Decoding:
        """Go on behind a prompt. Nothing is done before the second token."""
        return _CompiledDecoding(self, engine, read)

    def room(self, pairs: Sequence[Pair], tokens: int) -> Room:
        """A room for one token more than these ``tokens``, and they stand in it."""
        size = SMALLEST
        while size <= tokens:
            size *= 2
        with self._rooms:
            found = self._free.pop(size, None)
        room = found or Room(size, Cache(layers=[StaticLayer(max_cache_len=size) for _ in pairs]))
        with torch.no_grad():
            room.fill(pairs, tokens)
        return room

    def step(self, engine: ActivationEngine, room: Room, token: int, at: int) -> torch.Tensor:
        """The logits ``(vocabulary,)`` behind ``token``, which stands at ``at``."""
        device = engine.model.device
        given: dict[str, Any] = {
            "input_ids": torch.tensor([[token]], device=device),
            "past_key_values": room.cache,
            "use_cache": True,
        }
        if engine._takes_positions:
            given["position_ids"] = torch.tensor([[at]], device=device)

        def run() -> torch.Tensor:
            with torch.no_grad():  # a graph's output is written over in its next run
                return self._program(engine, room.size)(given)[0, -1].float().clone()

        with engine._turns.foreground():
            return self._worker.submit(run).result()

    def give_back(self, room: Room) -> None:
        """Nothing of a request stays in it; one that cannot be emptied is let go."""
        try:
            with torch.no_grad():
                room.cache.reset()
        except Exception:  # noqa: BLE001 - a finalizer may run anywhere, also amid the compiler
            return
        with self._rooms:
            self._free[room.size] = room

    def failed(self, engine: ActivationEngine, error: Exception) -> None:
        """An answer goes on as ever; so do all others from now on, unless memory was short."""
        with self._rooms:
            self._free.clear()
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            warn(log, "%s decodes one answer uncompiled: out of memory", engine.model.name)
        else:
            self._conclude(engine, f"compiled, it failed ({_line(error)})")

    # Within -------------------------------------------------------------------------------

    def _conclude(self, engine: ActivationEngine, reason: str) -> None:
        self._reason = reason
        if reason:
            warn(log, "%s decodes uncompiled: %s", engine.model.name, reason)

    def _program(self, engine: ActivationEngine, size: int) -> Program:
        """For rooms of one size, whoever's they are; made when it first runs."""
        if size not in self._programs:
            graphs = engine.model.device.type == "cuda" and BACKEND == "inductor"
            options: dict[str, Any] = {}
            if "isolate_recompiles" in inspect.signature(torch.compile).parameters:
                options["isolate_recompiles"] = True  # other models' programs count apart
            self._programs[size] = torch.compile(
                engine._heads,
                backend=BACKEND,
                dynamic=False,
                mode="reduce-overhead" if graphs else None,
                **options,
            )
        return self._programs[size]

    def _try(self, engine: ActivationEngine) -> str:
        """A few steps, compiled and as ever."""
        try:
            cache = engine._stand_on(Lease(""))
            if other := sorted({type(one).__name__ for one in cache.layers} - KINDS):
                return f"its cache has layers of another kind: {', '.join(other)}"
            words = engine.model.model.get_input_embeddings().weight.shape[0]
            tokens = [(7 * at + 3) % words for at in range(TRIED)]
            logits = engine._forward(cache, tokens, 0)
            room = self.room(_pairs(cache), TRIED)
            for at in range(TRIED, TRIED + STEPS):
                token = int(logits.argmax())
                got = self.step(engine, room, token, at)
                logits = engine._forward(cache, [token], at)
                if not close_enough(got, logits, engine.model.dtype):
                    return "compiled, its answers are others"
            self.give_back(room)
        except Exception as error:  # noqa: BLE001 - a model's own code, and a compiler
            return f"it cannot be compiled ({_line(error)})"
        return ""


class _CompiledDecoding(Decoding):
    """Steps of a program; where there is none, or it fails, the answer goes on as ever."""

    def __init__(self, compiled: Compiled, engine: ActivationEngine, read: Prefilled) -> None:
        super().__init__(engine, read)
        self._compiled, self._plain = compiled, False
        self._room: Room | None = None

    def next(self, so_far: Sequence[int]) -> torch.Tensor:
        """The logits ``(vocabulary,)`` behind all tokens so far, of which the last one is new."""
        self._plain = self._plain or bool(self._compiled.why_not(self._engine))
        if not self._plain:
            try:
                room = self._in_a_room(len(so_far) - 1)
                return self._compiled.step(self._engine, room, so_far[-1], len(so_far) - 1)
            except Exception as error:  # noqa: BLE001 - a compiler's own code: nothing is lost
                self._compiled.failed(self._engine, error)
                self._read_again(so_far[:-1])
        return super().next(so_far)

    def close(self) -> None:
        """Free what is held."""
        super().close()
        room, self._room = self._room, None
        if room is not None:
            self._compiled.give_back(room)

    def _in_a_room(self, tokens: int) -> Room:
        """Where these tokens stand, with room for one more."""
        before = self._room
        if before is None:
            self._room = self._compiled.room(_pairs(self._read.cache), tokens)
            self._read.cache = None  # it was copied
            self._engine._tally.compiled()
        elif tokens >= before.size:
            self._room = self._compiled.room(before.pairs(tokens), tokens)
            self._compiled.give_back(before)
        assert self._room is not None
        return self._room

    def _read_again(self, tokens: Sequence[int]) -> None:
        """Stand on the leased pieces again, and read what came behind them."""
        self._plain, self._room = True, None
        if self._read.cache is None:
            lease = self._read.lease
            self._read.cache = self._engine._stand_on(lease)
            if rest := tokens[lease.length :]:
                self._engine._forward(self._read.cache, rest, lease.length, head=False)


KINDS = {SharedLayer.__name__, SharedWindowLayer.__name__}
"""Layers whose tokens can be copied into a room."""


def _pairs(cache: Any) -> list[Pair]:
    return [(layer.keys, layer.values) for layer in cache.layers]


def _line(error: Exception) -> str:
    """The first line of what it says; compilers say much."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
