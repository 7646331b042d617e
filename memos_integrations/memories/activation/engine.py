"""The activation engine: prompts whose beginning was computed before start where that ended.

A request looks up the longest cached prefix, computes the rest piece by piece, keeps each piece,
and decodes. Hits and misses cut a prompt at the same places (see ``segments``), so they give the
same bits. A model whose cache cannot be forked exactly runs uncached, and the reason is kept.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from copy import copy
from dataclasses import asdict
from typing import Any, TypeVar

import torch
from transformers import DynamicCache

from memos_integrations.errors import InvalidInputError, ModelError
from memos_integrations.memories.activation.admission import Rates
from memos_integrations.memories.activation.batch import BATCH, Batch
from memos_integrations.memories.activation.compiled import Compiled
from memos_integrations.memories.activation.decoding import Decoding, Prefilled
from memos_integrations.memories.activation.faults import warn
from memos_integrations.memories.activation.forking import forking
from memos_integrations.memories.activation.forwards import (
    OwnCache,
    Turns,
    read_behind,
    takes_positions,
    with_head,
)
from memos_integrations.memories.activation.gate import Gate, allow
from memos_integrations.memories.activation.prefix_tree import (
    Lease,
    Node,
    PrefixTree,
    TreeStats,
    root_of,
)
from memos_integrations.memories.activation.ram import ram_for
from memos_integrations.memories.activation.sampling import Sampling
from memos_integrations.memories.activation.segments import Prompt, Source
from memos_integrations.memories.activation.tally import Tally
from memos_integrations.memories.activation.tensors import (
    DamagedPieceError,
    Piece,
    fork,
    fresh_piece,
    rounded,
)
from memos_integrations.memories.activation.through import Through
from memos_integrations.memories.activation.tier import Tier
from memos_integrations.memories.activation.together import Together
from memos_integrations.memories.activation.usage import EngineStats, Usage
from memos_integrations.memories.activation.writing import Writing
from memos_integrations.models.causal import CausalModel

log = logging.getLogger(__name__)

GIB = 1 << 30

T = TypeVar("T")


class ActivationEngine:
    """Serves one model to many requests at a time. Thread-safe.

    ``budget`` bytes of keys and values stay in memory, on the model's device, and ``ram_budget``
    bytes of what goes from there in RAM (see :func:`.ram_for`); ``tier`` keeps more below.
    ``gate`` is asked at each use which memories may not be served. ``compiled``: answers of single
    requests are decoded by a compiled forward (see :mod:`.compiled`), if that can be.
    """

    def __init__(
        self,
        model: CausalModel,
        *,
        budget: int = 2 * GIB,
        ram_budget: int | None = None,
        tier: Tier | None = None,
        gate: Gate = allow,
        compiled: bool = False,
    ) -> None:
        self.model = model
        tried = forking(model)
        self._keeps = tried.keeps
        self.refused = tried.reason
        """Why the model runs uncached; empty if it does not."""
        if self.refused:
            warn(log, "%s runs without a KV cache of memories: %s", model.name, self.refused)
        self.ram = None if self.refused else ram_for(model.device.type, tier, ram_budget)
        self.tier, self.gate = self.ram or tier, gate
        keep = self.ram.keep if self.ram is not None else None
        self.tree: PrefixTree[Piece] = PrefixTree(budget, evicted=keep)
        self._turns = Turns()
        self._tally = Tally()
        self._together = Together()
        self._compiled = Compiled() if compiled else None
        self._heads = with_head(model.model)
        self._takes_positions = takes_positions(model.model)
        self._through: Through | None = None

    def through(self, through: Through) -> ActivationEngine:
        """The same engine whose model is read through adapters: the same tree, tier and turns.

        What it keeps stands under a root of its own, and is dropped or forbidden with any of the
        adapters, or of what they were made of. Raises :class:`ModelError` for a trained prefix in
        front of a model whose cache cannot be forked.
        """
        if through.prefix is not None and self.refused:
            raise ModelError(f"{self.model.name} reads no trained prefix: {self.refused}")
        seen = copy(self)
        seen._through, seen.model = through, through.model
        seen._tally = copy(self._tally)
        seen._heads = with_head(through.model.model)
        return seen

    # Generating ---------------------------------------------------------------------------

    def generate(
        self, prompt: Prompt, sampling: Sampling | None = None, usage: Usage | None = None
    ) -> Iterator[int]:
        """Tokens of the answer, one by one; the end token is not among them.

        ``usage`` is filled in as the request goes on. Closing the iterator frees what it holds.
        """
        usage = usage if usage is not None else Usage()
        sampling = sampling or Sampling()
        writing = Writing(prompt, sampling, usage, model=self.model, tally=self._tally)
        read = self.prefill(prompt, usage)
        logits, decoding = read.logits, self._behind(read)
        try:
            while (token := writing.next(logits)) is not None:
                yield token
                if writing.is_full():
                    return
                logits = decoding.next(writing.so_far)
        finally:
            decoding.close()

    def generate_batch(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling | Sequence[Sampling] | None = None,
        usages: Sequence[Usage] | None = None,
        *,
        max_batch: int = BATCH,
    ) -> Batch:
        """:meth:`generate` for several prompts, decoded together: see :class:`Batch`.

        Where :meth:`why_in_turn` has a reason, they are answered one after the other.
        """
        return Batch(self, prompts, sampling, usages, max_batch=max_batch)

    def why_in_turn(self) -> str:
        """Why requests of a batch are not decoded together; empty if they are. Tried once."""
        return self._together.why_not(self)

    def why_not_compiled(self) -> str:
        """Why answers are decoded by the plain forward; empty if not. Compiles at the first call,
        which takes up to a minute or so."""
        return "it was not asked for" if self._compiled is None else self._compiled.why_not(self)

    def prefill(self, prompt: Prompt, usage: Usage | None = None) -> Prefilled:
        """Read a prompt, from the cache as far as that goes, and keep what was computed.

        Release the lease of what is returned: ``engine.tree.release(read.lease)``.
        """
        usage = usage if usage is not None else Usage()
        usage.prompt_tokens = len(prompt.tokens)

        def read(lease: Lease[Piece], cache: Any) -> Prefilled:
            usage.cached_tokens = at = lease.length
            usage.approximate_tokens = rounded(node.payload for node in lease.nodes)
            if not self.refused:
                at = self._compute(prompt, lease, cache, usage)
            logits = self._forward(cache, prompt.tokens[at:], at)
            return Prefilled(cache, logits, lease, usage)

        done = self._reading(prompt, read)
        self._count(usage)
        return done

    def precompute(self, prompt: Prompt, *, background: bool = False) -> int:
        """Compute and keep every piece of a prompt but the last; return how many tokens are new.

        In the background, each piece waits until no request wants the model.
        """
        usage = Usage()

        def read(lease: Lease[Piece], cache: Any) -> None:
            usage.approximate_tokens = rounded(node.payload for node in lease.nodes)
            self._compute(prompt, lease, cache, usage, background=background)
            self.tree.release(lease)

        if not self.refused:
            self._reading(prompt, read)
        return usage.kept_tokens

    def cached(self, prompt: Prompt) -> int:
        """How many tokens of a prompt need no prefill now."""
        if self.refused:
            return 0
        lease = self._lookup(prompt)
        try:
            return lease.length
        finally:
            self.tree.release(lease)

    # Keeping ------------------------------------------------------------------------------

    def drop_cubes(self, cube_ids: Collection[str]) -> int:
        """Forget every piece that knows one of these memories, in memory and below."""
        dropped = set(self.tree.drop_cubes(cube_ids))
        if self.tier is not None:
            self.tier.remove(dropped)
            dropped.update(self.tier.remove_cubes(cube_ids))
        self._tally.invalidated(len(dropped))
        return len(dropped)

    def clear(self) -> None:
        """Forget every piece in memory, on the model's device and in RAM."""
        self.tree.clear()
        if self.ram is not None:
            self.ram.clear()

    def stats(self) -> tuple[EngineStats, TreeStats]:
        """What happened so far."""
        return self._tally.stats(), self.tree.stats()

    def rates(self) -> Rates:
        """How fast this machine computes and loads keys and values; measured as it works."""
        return self._tally.rates(self.tier.loads if self.tier is not None else None)

    def root(self, salt: str, **mode: str) -> str:
        """The digest under which a model's empty prefix stands, for whom the salt says.

        Where the tier rounds, it is another one: exact and near-exact pieces never meet, neither
        in memory nor in a folder that both use.
        """
        kept = {"kept_as": self.tier.dtype} if self.tier is not None and self.tier.dtype else {}
        if self._through is not None:
            kept["adapters"] = self._through.key
        return root_of({**asdict(self.model.fingerprint), **kept, "salt": salt, **mode})

    def check(self, prompt: Prompt) -> None:
        """Raise :class:`InvalidInputError` if a prompt is longer than the model reads."""
        window = self.model.context_window - self._before
        if len(prompt.tokens) > window:
            raise InvalidInputError(
                f"the prompt has {len(prompt.tokens):,} tokens, {self.model.name} reads {window:,}"
            )

    # Within -------------------------------------------------------------------------------

    def _behind(self, read: Prefilled) -> Decoding:
        if self._compiled is None:
            return Decoding(self, read)
        return self._compiled.decoding(self, read)

    def _reading(self, prompt: Prompt, read: Callable[[Lease[Piece], Any], T]) -> T:
        """What ``read`` makes of what is cached of a prompt and a cache of the model on it.

        A piece whose file turns out to be damaged is dropped, and it is tried again without.
        ``read`` keeps the lease, or releases it.
        """
        self.check(prompt)
        while True:
            lease = Lease(self.root(prompt.salt)) if self.refused else self._lookup(prompt)
            try:
                return read(lease, self._stand_on(lease))
            except DamagedPieceError as error:
                for node in lease.nodes:
                    if node.digest == error.digest:
                        self.tree.discard(node)
                self.tree.release(lease)
                if self.tier is not None:
                    self.tier.lost(error)
            except BaseException:  # whatever it was, its blocks are free again
                self.tree.release(lease)
                raise

    def _stand_on(self, lease: Lease[Piece]) -> Any:
        """A cache of the model that begins with what is leased."""
        if self.refused:
            return OwnCache(keeps=self._keeps)
        prefix = self._through.prefix if self._through is not None else None
        pieces = [one.payload for one in lease.nodes]
        return fork(self.model.model.config, pieces if prefix is None else [prefix, *pieces])

    @property
    def _before(self) -> int:
        """Positions in front of the prompt."""
        return self._through.before if self._through is not None else 0

    def _lookup(self, prompt: Prompt) -> Lease[Piece]:
        """The longest prefix that is cached and may be served now."""
        root, pieces = self.root(prompt.salt), prompt.pieces()[:-1]
        while True:
            lease = self.tree.match(root, pieces, find=self._from_tier if self.tier else None)
            known = lease.nodes[-1].sources if lease.nodes else frozenset()
            forbidden = set(self.gate(known)) if known else set()
            if not forbidden:
                return lease
            self.tree.release(lease)
            self._forbid(forbidden)

    def _compute(
        self,
        prompt: Prompt,
        lease: Lease[Piece],
        cache: DynamicCache,
        usage: Usage,
        *,
        background: bool = False,
    ) -> int:
        """Go through all pieces but the last; return where that one begins."""
        at, keep = lease.length, True
        for piece in prompt.pieces()[len(lease.nodes) : -1]:
            started = time.perf_counter()
            self._forward(cache, piece, at, head=False, background=background)
            seconds = time.perf_counter() - started
            keep = keep and self._keep(prompt, lease, piece, cache, usage)
            at += len(piece)
            if keep:
                self._tally.computed(len(piece), seconds, lease.nodes[-1].payload.nbytes)
        return at

    def _forbid(self, sources: Collection[Source]) -> None:
        dropped = {*self.tree.drop(sources), *(self.ram.drop(sources) if self.ram else ())}
        if self.tier is not None:
            self.tier.remove(dropped)
        self._tally.invalidated(len(dropped))

    def _from_tier(
        self, digest: str, parent: Node[Piece] | None, tokens: Sequence[int]
    ) -> Node[Piece] | None:
        assert self.tier is not None
        found = self.tier.load(digest, tokens)
        if found is None:
            return None
        piece, sources = found
        length = (parent.length if parent else 0) + len(tokens)
        return Node(digest, parent, tuple(tokens), piece.to(self.model.device), sources, length)

    def _keep(
        self, prompt: Prompt, lease: Lease[Piece], tokens: tuple[int, ...], cache: Any, usage: Usage
    ) -> bool:
        """Put a computed piece into the tree, if the gate still lets its memories through."""
        at, end = lease.length, lease.length + len(tokens)
        if prompt.foreign is not None and end > prompt.foreign:
            return False
        also = self._through.sources if self._through is not None else frozenset()
        sources = prompt.sources(0, end) | also
        if sources and self.gate(sources):
            return False
        piece = fresh_piece(cache, approximate=usage.approximate_tokens > 0)
        node = self.tree.add(lease, tokens, piece, prompt.sources(at, end) | also)
        if node is None:
            return False
        usage.kept_tokens += len(tokens)
        if sources:
            self._save(node)
        return True

    def _save(self, node: Node[Piece]) -> None:
        """Hand a piece to the tier, with the label of the model."""
        if self.tier is not None:
            self.tier.save(node, asdict(self.model.fingerprint))

    def _forward(
        self,
        cache: Any,
        tokens: Sequence[int],
        at: int,
        *,
        head: bool = True,
        background: bool = False,
    ) -> torch.Tensor:
        """The model reads ``tokens`` behind ``at`` others; the next token's logits, if ``head``."""
        turn = self._turns.background if background else self._turns.foreground
        with turn(), torch.inference_mode():
            model = self.model.model
            if isinstance(cache, OwnCache):
                return cache.forward(model, torch.tensor([list(tokens)], device=model.device))
            return read_behind(model, self._heads, cache, tokens, self._before + at, head=head)

    def _count(self, usage: Usage) -> None:
        self._tally.request(usage, uncached=bool(self.refused))
