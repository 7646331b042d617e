"""Decoding by a compiled forward over a cache of fixed size: fewer launches for each token.

A prompt is read as ever, so what is found in the cache and what is kept stay the same. Then its
keys and values are copied into transformers' static cache, whose tensors keep their shapes and
addresses while the answer grows: so ``torch.compile`` needs one program for all steps, and on a GPU
it replays them as CUDA graphs. The program is made in the first request that wants it. Both ways
to read a prompt go on with the same program, so hit and miss still have the same bits; against a
plain forward the logits differ by rounding.

A model is tried once. Where its code cannot be compiled, keeps other layers, or says something
else then, it decodes as ever, and the reason is kept.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from transformers import StaticCache
from transformers.cache_utils import StaticLayer, StaticSlidingWindowLayer

from memos_integrations.memories.activation.decoding import Decoding, Prefilled
from memos_integrations.memories.activation.prefix_tree import Lease
from memos_integrations.memories.activation.segments import Prompt
from memos_integrations.memories.activation.together import close_enough

if TYPE_CHECKING:
    from memos_integrations.memories.activation.engine import ActivationEngine

log = logging.getLogger(__name__)

T = TypeVar("T")

SMALLEST = 256
"""Tokens of the smallest cache; each other one is twice as large as the one before."""
TRIED = 11
"""Tokens that a model is tried with."""
STEPS = 3
"""And how many it says then."""
BACKEND = "inductor"
"""Of ``torch.compile``."""
KINDS = (StaticLayer, StaticSlidingWindowLayer)
"""Layers that are copied into."""


@dataclass(frozen=True, eq=False)
class Room:
    """A cache of fixed size, for one request at a time."""

    size: int
    """Tokens that it has room for."""
    cache: StaticCache


class Compiled:
    """One model's program, and the caches that it runs on. Thread-safe.

    Everything runs in one thread, for CUDA graphs belong to the thread that recorded them.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._reason: str | None = None
        self._free: dict[int, Room] = {}
        self._worker = ThreadPoolExecutor(1, "memos-compiled")
        self._program: Callable[[dict[str, Any]], torch.Tensor] | None = None

    def why_not(self, engine: ActivationEngine) -> str:
        """Why a model decodes as ever; empty if it is compiled."""
        if engine.refused:
            return engine.refused
        if engine._through is not None:
            return "it is read through adapters"
        with self._lock:
            if self._reason is None:
                self._fail(engine, self._try(engine))
            return self._reason or ""

    def begin(
        self, engine: ActivationEngine, read: Prefilled, prompt: Prompt, most: int
    ) -> Decoding:
        """Go on behind a prompt with ``most`` tokens at most."""
        if self.why_not(engine):
            return Decoding(engine, read)
        try:
            room = self._filled(engine, read.cache, len(prompt.tokens), most)
        except Exception as error:  # noqa: BLE001 - such as no memory: then as ever
            log.warning("%s decodes one answer uncompiled: %s", engine.model.name, error)
            return Decoding(engine, read)
        engine._tally.compiled()
        return _CompiledDecoding(self, engine, read, prompt, room)

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
        with engine._turns.foreground():
            return self._run(lambda: self._made(engine)(given)[0, -1].float().clone())

    def give_back(self, room: Room) -> None:
        """Nothing of a request stays in it; one that cannot be emptied is let go."""
        try:
            self._run(room.cache.reset)
        except RuntimeError:  # such as at the end of the process
            return
        with self._lock:
            self._free[room.size] = room

    def failed(self, engine: ActivationEngine, error: Exception) -> None:
        """It ran, and does not any more: from now on as ever."""
        with self._lock:
            self._fail(engine, f"compiled, it failed ({error})")

    # Within -------------------------------------------------------------------------------

    def _fail(self, engine: ActivationEngine, reason: str) -> None:
        self._reason = reason
        if reason:
            log.warning("%s decodes uncompiled: %s", engine.model.name, reason)

    def _run(self, work: Callable[[], T]) -> T:
        def quietly() -> T:
            with torch.no_grad():
                return work()

        return self._worker.submit(quietly).result()

    def _made(self, engine: ActivationEngine) -> Callable[[dict[str, Any]], torch.Tensor]:
        if self._program is None:
            heads = engine._heads
            graphs = engine.model.device.type == "cuda" and BACKEND == "inductor"
            self._program = torch.compile(
                lambda given: heads(given),
                backend=BACKEND,
                mode="reduce-overhead" if graphs else None,
            )
        return self._program

    def _filled(self, engine: ActivationEngine, cache: Any, tokens: int, most: int) -> Room:
        """A cache of fixed size that holds what the request's own does, and room for more."""
        size = SMALLEST
        while size < tokens + most:
            size *= 2
        with self._lock:
            room = self._free.pop(size, None)
        if room is None:
            room = Room(size, StaticCache(engine.model.model.config, max_cache_len=size))
        self._run(lambda: _fill(room.cache, cache, tokens))
        return room

    def _try(self, engine: ActivationEngine) -> str:
        """A few steps, compiled and as ever."""
        model = engine.model.model
        try:
            layers = StaticCache(model.config, max_cache_len=SMALLEST).layers
            if other := sorted({type(one).__name__ for one in layers if type(one) not in KINDS}):
                return f"its cache has layers of another kind: {', '.join(other)}"
            words = model.get_input_embeddings().weight.shape[0]
            tokens = [(7 * at + 3) % words for at in range(TRIED)]
            cache = engine._stand_on(Lease(""))
            logits = engine._forward(cache, tokens, 0)
            room = self._filled(engine, cache, TRIED, STEPS)
            for at in range(TRIED, TRIED + STEPS):
                token = int(logits.argmax())
                got = self.step(engine, room, token, at)
                logits = engine._forward(cache, [token], at)
                if not close_enough(got, logits, engine.model.dtype):
                    return "compiled, its answers are others"
        except Exception as error:  # noqa: BLE001 - a model's own code, and a compiler
            return f"it cannot be compiled ({str(error).strip().splitlines()[0]})"
        return ""


class _CompiledDecoding(Decoding):
    """Steps of the program; if one fails, the answer goes on as ever."""

    def __init__(
        self,
        compiled: Compiled,
        engine: ActivationEngine,
        read: Prefilled,
        prompt: Prompt,
        room: Room,
    ) -> None:
        super().__init__(engine, read)
        self._compiled, self._prompt, self._room = compiled, prompt, room
        self._instead: Decoding | None = None
        read.cache = None  # it was copied

    def next(self, so_far: Sequence[int]) -> torch.Tensor:
        """The logits ``(vocabulary,)`` behind all tokens so far, of which the last one is new."""
        if self._instead is not None:
            return self._instead.next(so_far)
        try:
            return self._compiled.step(self._engine, self._room, so_far[-1], len(so_far) - 1)
        except Exception as error:  # noqa: BLE001 - a compiler's own code: nothing of it is lost
            self._compiled.failed(self._engine, error)
            again = self._engine.prefill(replace(self._prompt, tokens=tuple(so_far)))
            self._instead = Decoding(self._engine, again)
            return again.logits

    def close(self) -> None:
        """Free what is held."""
        super().close()
        if self._instead is not None:
            self._instead.close()
        else:
            self._compiled.give_back(self._room)


def _fill(fixed: Any, cache: Any, tokens: int) -> None:
    """Copy the last ``tokens`` of each layer, as many as that layer holds."""
    for layer, before in zip(fixed.layers, cache.layers, strict=True):
        if not layer.is_initialized:
            layer.lazy_initialization(before.keys, before.values)
        count = min(tokens, layer.max_cache_len)
        layer.keys[:, :, :count] = before.keys[:, :, -count:]
        layer.values[:, :, :count] = before.values[:, :, -count:]
        layer.cumulative_length.fill_(tokens)
        if isinstance(layer, StaticSlidingWindowLayer):
            layer.cumulative_length_int = tokens
