"""Composed prompts: memories' keys and values computed once each, and joined in any order.

Approximate, and never used unless it is asked for. Each memory is read once behind the *header*,
the prompt's beginning up to the first memory. In a prompt with any of them, in any order, the kept
segments are joined: keys are turned to where they stand now (see ``rotary``), and some tokens are
read again over the joined cache, together with what is no memory (see ``joined``). That brings back
a part of what the memories would have seen of one another: the first tokens of each (EPIC,
arXiv:2410.15332), or those whose values deviate most (CacheBlend, arXiv:2405.16444). With all of
them read again the answer is the exact one.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from copy import copy
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import torch

from memos_integrations.errors import InvalidInputError
from memos_integrations.memories.activation.composer_stats import (
    ComposerStats,
    Deviation,
    Measured,
)
from memos_integrations.memories.activation.decoding import Prefilled
from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.faults import warn
from memos_integrations.memories.activation.joined import (
    JoinedLayer,
    Part,
    cache_of,
    deviations,
    join,
    read_again,
    why_not_again,
    why_not_joined,
)
from memos_integrations.memories.activation.mode import RECOMPUTE, Composed
from memos_integrations.memories.activation.prefix_tree import Lease
from memos_integrations.memories.activation.rotary import NotRotaryError, Rotation, rotations
from memos_integrations.memories.activation.sampling import Sampling
from memos_integrations.memories.activation.segments import LONGEST, Prompt, Span
from memos_integrations.memories.activation.tensors import (
    DamagedPieceError,
    Piece,
    fork,
    fresh_piece,
    shortest_window,
)
from memos_integrations.memories.activation.usage import Usage

log = logging.getLogger(__name__)

T = TypeVar("T")

PROBE = "The old mill stands behind the walnut trees, and Maya walks there."
"""What a model is tried with."""


@dataclass
class _Request:
    """What is under way."""

    prompt: Prompt
    usage: Usage
    leases: ExitStack
    """Of everything that it reads from the tree."""
    background: bool = False
    """Whether each forward waits until no other request wants the model."""
    computed: set[int] = field(default_factory=set)
    """Tokens that were in no segment."""
    rounded: set[int] = field(default_factory=set)
    """Tokens that were read from rounded numbers, or computed behind such."""

    @property
    def header(self) -> int:
        """Tokens before the first memory."""
        return self.prompt.spans[0].start


class Composer:
    """Prefills prompts from memories' segments, with an engine's model, tree, tier and gate.

    Segments stand in the engine's tree under roots of their own: what the engine drops or forbids
    is gone here, too. ``recompute`` is the share of the memories' tokens that is read again;
    ``choose`` says which: the ``first`` of each memory, or the ``deviating`` ones. Above a measured
    mean KL of ``threshold`` nats (see :meth:`measure`) prompts run exactly. ``within_window``:
    serve models with a sliding window as well, where a prompt fits it whole. ``trial``: the first
    so many prompts of several memories are read both ways, answered exactly, and measure the
    deviation; then, or after :meth:`measure`, prompts are composed. Thread-safe.
    """

    mode = "composed"

    def __init__(
        self,
        engine: ActivationEngine,
        *,
        recompute: float = RECOMPUTE,
        choose: Literal["first", "deviating"] = "deviating",
        threshold: float | None = None,
        within_window: bool = False,
        trial: int = 0,
    ) -> None:
        Composed(recompute, choose, threshold, within_window, trial)  # raises if they make no sense
        self.engine = engine
        self.recompute, self.choose, self.threshold = recompute, choose, threshold
        self.trial, self._left, self._tried = trial, trial, Measured()
        self._stats, self._counting = ComposerStats(), threading.Lock()
        self._rotations: list[Rotation] = []
        self.window: int | None = None
        """Tokens that a prompt may have, for a model with a sliding window."""
        self.refused = self._why_never(within_window)
        """Why this model's prompts are never composed; empty if they are."""
        if self.refused:
            warn(log, "%s: prompts are not composed: %s", engine.model.name, self.refused)

    # Reading ------------------------------------------------------------------------------

    def prefill(self, prompt: Prompt, usage: Usage | None = None) -> Prefilled:
        """Read a prompt, its memories from segments; exactly where :meth:`why_exact` says so.

        The tokens before the first of ``prompt.spans`` are the header. Release the lease of what
        is returned, as with ``engine.prefill``.
        """
        usage = usage if usage is not None else Usage()
        reason, tried = self._whether(prompt)
        if not reason:
            return self._compose(prompt, usage)
        self.passed_over(reason)
        if not tried:
            return self.engine.prefill(prompt, usage)
        composed = self._read(prompt, Usage())[1]  # first, for it leaves nothing that is leased
        read = self.engine.prefill(prompt, usage)
        with self._counting:
            if self._left:  # else the trial ended meanwhile
                self._left -= 1
                self._tried.add(read.logits, composed)
                self._stats.deviation = self._tried.result()
        return read

    def precompute(self, prompt: Prompt, *, background: bool = False) -> int:
        """Compute and keep a prompt's header and memories, as ``engine.precompute`` does its
        pieces; return how many tokens are new. Exact pieces, where prompts are never composed."""
        reason, tried = self._whether(prompt)
        if reason and not tried:
            return self.engine.precompute(prompt, background=background)
        usage = Usage()
        self._with(prompt, usage, self._parts, background=background)
        return usage.kept_tokens

    def generate(
        self, prompt: Prompt, sampling: Sampling | None = None, usage: Usage | None = None
    ) -> Iterator[int]:
        """Tokens of the answer, one by one, as ``engine.generate``."""
        engine = copy(self.engine)  # the same tree, model and counts
        engine.prefill = self.prefill  # type: ignore[method-assign]
        return engine.generate(prompt, sampling, usage)

    def why_exact(self, prompt: Prompt) -> str:
        """Why a prompt is not composed; empty if it is."""
        return self._whether(prompt)[0]

    def passed_over(self, reason: str, requests: int = 1) -> None:
        """Count requests that ran exactly, here or elsewhere."""
        with self._counting:
            self._stats.exact[reason] += requests

    # Measuring ----------------------------------------------------------------------------

    def measure(self, prompts: Iterable[Prompt]) -> Deviation:
        """Read prompts both ways and compare the distributions of the next token.

        Decides, if there is a threshold, whether prompts are composed from now on. Prompts that
        cannot be composed are passed over; raises ``InvalidInputError`` if no other is there. The
        trial is over then.
        """
        both = Measured()
        reason = "there is none"
        for prompt in prompts:
            if why := self._why_not(prompt):
                reason = why
                continue
            read = self.engine.prefill(prompt)
            self.engine.tree.release(read.lease)
            both.add(read.logits, self._read(prompt, Usage())[1])
        if not both.kls:
            raise InvalidInputError(f"no prompt can be measured: {reason}")
        found = both.result()
        with self._counting:
            self._stats.deviation, self._left = found, 0
        return found

    @property
    def stats(self) -> ComposerStats:
        """What happened so far."""
        with self._counting:
            now = copy(self._stats)
            now.exact = Counter(now.exact)
            return now

    def root(self, salt: str) -> str:
        """The digest under which composed pieces stand: exact prompts find none of them."""
        return self.engine.root(salt, mode=self.mode)

    # Whether ------------------------------------------------------------------------------

    def _why_never(self, within_window: bool) -> str:
        engine = self.engine
        if engine.refused:
            return engine.refused
        self.window = shortest_window(engine.model.model.config)
        if self.window is not None and not within_window:
            return f"it has a sliding window of {self.window:,} tokens"
        if reason := why_not_joined(engine):
            return reason
        tokens = engine.model.encode(PROBE)[:12]
        try:
            with engine._turns.foreground():
                self._rotations = rotations(engine.model.model, tokens)
        except NotRotaryError as error:
            return str(error)
        return why_not_again(engine, tokens)

    def _whether(self, prompt: Prompt) -> tuple[str, bool]:
        """Why a prompt runs exactly, empty if it does not; and whether that is for the trial."""
        if reason := self._why_not(prompt):
            return reason, False
        with self._counting:
            left, measured = self._left, self._stats.deviation
        if left and len(prompt.spans) > 1:
            return f"one of the first {self.trial:,}, which are read both ways", True
        if self.threshold is None or measured is None or left:
            return "", False
        if not measured.mean_kl <= self.threshold:  # what is no number is not below it
            return f"the measured deviation is above {self.threshold:g} nats", False
        return "", False

    def _why_not(self, prompt: Prompt) -> str:
        if self.refused:
            return self.refused
        if not prompt.spans:
            return "the prompt has no memories"
        if self.window is not None and len(prompt.tokens) > self.window:
            return f"the prompt is longer than the sliding window of {self.window:,} tokens"
        if len(prompt.tokens) > self.engine.model.context_window:
            return "the prompt is longer than the model reads"
        return ""

    # How ----------------------------------------------------------------------------------

    def _compose(self, prompt: Prompt, usage: Usage) -> Prefilled:
        layers, logits, again = self._read(prompt, usage)
        self.engine._count(usage)
        with self._counting:
            self._stats.composed += 1
            self._stats.cached_tokens += usage.cached_tokens
            self._stats.recomputed_tokens += again
        cache = cache_of(self.engine.model.model.config, layers)
        return Prefilled(cache, logits, Lease(self.root(prompt.salt)), usage)

    def _read(self, prompt: Prompt, usage: Usage) -> tuple[list[JoinedLayer], torch.Tensor, int]:
        """The joined cache, the next token's logits, and how many tokens of memories were read
        again for it."""
        layers, request = self._joined(prompt, usage)
        no_memory = _no_memory(prompt)
        chosen = self._chosen(prompt, layers, no_memory)
        again = no_memory | chosen
        logits = read_again(self.engine, layers, prompt.tokens, sorted(again))
        usage.prompt_tokens = len(prompt.tokens)
        usage.cached_tokens = len(prompt.tokens) - len(again | request.computed)
        usage.approximate_tokens = len(request.rounded | _of_memories(prompt.spans[1:]) - again)
        return layers, logits, len(chosen - no_memory)

    def _joined(self, prompt: Prompt, usage: Usage) -> tuple[list[JoinedLayer], _Request]:
        """The header and all memories where they stand; and what was done for that."""
        length = len(prompt.tokens)
        return self._with(
            prompt, usage, lambda one: (join(self._parts(one), self._rotations, length), one)
        )

    def _with(
        self, prompt: Prompt, usage: Usage, do: Callable[[_Request], T], *, background: bool = False
    ) -> T:
        """What is done with a prompt while what it reads is leased; again, without what turns out
        to be damaged."""
        while True:
            try:
                with ExitStack() as leases:
                    return do(_Request(prompt, usage, leases, background))
            except DamagedPieceError as error:
                for node in self.engine.tree.nodes():
                    if node.digest == error.digest:
                        self.engine.tree.discard(node)
                if self.engine.tier is not None:
                    self.engine.tier.lost(error)

    def _parts(self, request: _Request) -> list[Part]:
        """The header and each memory, from the cache, or computed and kept."""
        header = self._pieces(request, [], _cut(0, request.header))
        parts = [Part(0, 0, header)] if header else []
        for span in request.prompt.spans:
            pieces = self._pieces(request, header, _cut(span.start, span.end))
            parts.append(Part(span.start, request.header, pieces))
        return parts

    def _pieces(
        self, request: _Request, header: Sequence[Piece], cuts: Sequence[tuple[int, int]]
    ) -> list[Piece]:
        """The pieces between these tokens, as the model reads them behind the header."""
        prompt, engine = request.prompt, self.engine
        places = [*(_cut(0, request.header) if header else ()), *cuts]
        chain = [prompt.tokens[start:end] for start, end in places]
        lease = self._lookup(self.root(prompt.salt), chain)
        request.leases.callback(engine.tree.release, lease)
        pieces = [node.payload for node in lease.nodes]
        pieces += header[len(pieces) :]  # where the tree had no room for it
        cache = None
        for (start, end), tokens in list(zip(places, chain, strict=True))[len(pieces) :]:
            cache = cache or fork(engine.model.model.config, pieces)
            at, wait = sum(piece.tokens for piece in pieces), request.background
            engine._forward(cache, tokens, at, head=False, background=wait)
            rounded = any(piece.approximate for piece in pieces)
            pieces.append(fresh_piece(cache, approximate=rounded))
            request.computed.update(range(start, end))
            if len(lease.nodes) == len(pieces) - 1:
                self._keep(request, lease, pieces[-1], start, end)
        own = pieces[len(header) :]
        for (start, end), one in zip(cuts, own, strict=True):
            if one.approximate:
                request.rounded.update(range(start, end))
        return own

    def _lookup(self, root: str, chain: Sequence[Sequence[int]]) -> Lease[Piece]:
        """The longest chain that is cached and may be served now, as the engine finds its own."""
        engine = self.engine
        while True:
            lease = engine.tree.match(root, chain, find=engine._from_tier if engine.tier else None)
            known = lease.nodes[-1].sources if lease.nodes else frozenset()
            forbidden = set(engine.gate(known)) if known else set()
            if not forbidden:
                return lease
            engine.tree.release(lease)
            engine._forbid(forbidden)

    def _keep(
        self, request: _Request, lease: Lease[Piece], piece: Piece, start: int, end: int
    ) -> None:
        """Put a piece into the tree behind what is leased, if the gate lets it through."""
        engine, prompt = self.engine, request.prompt
        sources = prompt.sources(start, end)
        if prompt.foreign is not None and end > prompt.foreign:
            return
        if sources and engine.gate(sources):
            return
        node = engine.tree.add(lease, prompt.tokens[start:end], piece, sources)
        if node is None:
            return
        request.usage.kept_tokens += end - start
        if sources:
            engine._save(node)

    def _chosen(
        self, prompt: Prompt, layers: Sequence[JoinedLayer], no_memory: set[int]
    ) -> set[int]:
        """Which tokens of memories to read again; the first memory is exact as it is."""
        spans = prompt.spans[1:]
        if self.choose == "first" or self.recompute in (0, 1):
            firsts = [range(s.start, s.start + self._share(s.end - s.start)) for s in spans]
            return {at for some in firsts for at in some}
        tokens = _of_memories(spans)
        seen = sorted(tokens | {at for at in no_memory if at < max(tokens, default=0)})
        moved = deviations(self.engine, layers, prompt.tokens, seen)
        ranked = sorted(tokens, key=lambda at: (-moved[at], at))
        return set(ranked[: self._share(len(tokens))])

    def _share(self, tokens: int) -> int:
        return math.ceil(self.recompute * tokens - 1e-9)


def _no_memory(prompt: Prompt) -> set[int]:
    """Tokens behind the header that belong to no memory; and the last one in any case."""
    inside = _of_memories(prompt.spans)
    last = len(prompt.tokens) - 1
    return {*range(prompt.spans[0].start, last)} - inside | {last}


def _of_memories(spans: Sequence[Span]) -> set[int]:
    return {at for span in spans for at in range(span.start, span.end)}


def _cut(start: int, end: int) -> list[tuple[int, int]]:
    return [(at, min(at + LONGEST, end)) for at in range(start, end, LONGEST)]
