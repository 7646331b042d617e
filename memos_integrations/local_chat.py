"""A local model that answers chats, with the KV caches of memories behind it.

Both frameworks' chat models are thin skins over :class:`LocalChat`.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from memos_integrations.activation_memory import load_activations
from memos_integrations.cube import MemCube
from memos_integrations.errors import InvalidInputError
from memos_integrations.local_engine import GIB, engine_for, store_of
from memos_integrations.memories.activation.mode import Composed, Mode, composed
from memos_integrations.memories.activation.segments import Prompt, Source, Span
from memos_integrations.memories.activation.usage import Usage
from memos_integrations.memories.activation.words import Words
from memos_integrations.memories.block import entries
from memos_integrations.memories.ledger import Ledger
from memos_integrations.memos import MemOS
from memos_integrations.parameter_memory import ParameterMemory, Serving, Wanted
from memos_integrations.session import MemorySession
from memos_integrations.tool_calls import ToolCall, parse_tool_calls

if TYPE_CHECKING:
    from memos_integrations.memories.activation.composed import Composer
    from memos_integrations.memories.activation.composer_stats import Deviation
    from memos_integrations.memories.activation.engine import ActivationEngine
    from memos_integrations.memories.activation.sampling import Sampling
    from memos_integrations.models.causal import CausalModel


@dataclass
class Answer:
    """An answer, whole."""

    text: str
    tool_calls: list[ToolCall]
    usage: Usage


class LocalChat:
    """A causal model of transformers that reads memories from their KV caches.

    ``memory`` is the store, or one user's session: then every prompt counts as that user's, and
    what the session's principal may not read (any more) is served from no cache. A
    prompt of a store whose memories are all known to be one user's is cached for that user; what
    follows words of unknown memories is not kept. Thread-safe.
    """

    def __init__(
        self,
        memory: MemOS | MemorySession | None = None,
        model: CausalModel | str | Path | None = None,
        *,
        budget: int = 2 * GIB,
        ram_budget: int | None = None,
        disk_budget: int = 20 * GIB,
        disk_dtype: Literal["int8"] | None = None,
        remote: str | Path | None = None,
        remote_budget: int | None = None,
        compiled: bool | None = None,
        mode: Mode = "exact",
        parameter_memory: Wanted | ParameterMemory | None = None,
        engine: ActivationEngine | None = None,
    ) -> None:
        """``model``: loaded, a hub id, a folder, or ``None`` for the bundled one.

        ``budget`` and ``disk_budget`` are bytes of keys and values in memory and in the store.
        ``ram_budget``: bytes in RAM of what a GPU has no room for; ``None``: 4 GiB, and none where
        the model is on the CPU.
        ``disk_dtype="int8"``: what lies in the store is rounded to eight bits. That takes half to
        a quarter of the room, and answers that read it are near-exact: ``usage`` says which.
        ``remote``: a URL of fsspec (``s3://bucket/kv``) or a folder, where caches lie below the
        store's own; ``remote_budget`` bytes of them at most. See
        :class:`~memos_integrations.memories.activation.remote.RemoteTier`. ``compiled``: decode
        with ``torch.compile`` and a cache of fixed size, where the model can do that; the first
        answer waits for the compiler. ``mode``: ``"exact"``, ``"composed"``, or a
        :class:`~memos_integrations.memories.activation.mode.Composed` with options: then single
        answers are read from memories' own caches, joined in any order, and approximate.
        ``parameter_memory``:
        the adapters that the model is read through (:meth:`MemorySession.distill`): ``True`` for
        all of the session's namespace, ids, ids with weights, or a
        :class:`~memos_integrations.parameter_memory.ParameterMemory`.
        """
        options = composed(mode)
        store = store_of(memory)
        self._namespace = memory.namespace if isinstance(memory, MemorySession) else None
        self._ledger = store.ledger if store is not None else Ledger()
        self.store = store
        """Whose memories, if any."""
        self.engine = engine or engine_for(
            store,
            memory,
            model,
            budget=budget,
            ram_budget=ram_budget,
            disk_budget=disk_budget,
            disk_dtype=disk_dtype,
            remote=remote,
            remote_budget=remote_budget,
            compiled=bool(compiled),
        )
        self.model = self.engine.model
        self.mode = mode
        """How prompts are read, as it was given."""
        self.composer = None if options is None else _composer(self.engine, options)
        """What composes prompts; its ``refused`` and ``why_exact`` say where it does not. ``None``
        in exact mode."""
        self._memory, self._setting = memory, threading.Lock()
        if memory is not None and engine is None:
            load_activations(self.engine, memory)
        self._serving: Serving | None = None
        self._served: Serving | None = None  # last, with what it has loaded
        self.set_adapters(parameter_memory)

    def set_adapters(self, parameter_memory: Wanted | ParameterMemory | None) -> None:
        """Read the model through other adapters from the next request on; ``None``: through none.

        ``parameter_memory`` as when the chat is made. Nothing is loaded anew but adapters that were
        not read before, and requests under way go on with those that they began with. Thread-safe;
        what cannot be used is :class:`InvalidInputError`, and changes nothing.
        """
        with self._setting:
            if parameter_memory is None:
                self._serving = None
            elif self._served is None:
                self._served = Serving(self.engine, self._memory, parameter_memory)
                self._serving = self._served
            else:
                self._serving = self._served = self._served.reading(parameter_memory)

    # Prompts ------------------------------------------------------------------------------

    def prompt(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        begun: str = "",
    ) -> Prompt:
        """A chat as the model reads it, with the memories in it.

        ``begun``: how the answer begins; the model goes on from there.
        """
        return self.read(self.model.render(messages, tools=tools) + begun)

    def read(self, text: str) -> Prompt:
        """A text as the model reads it, with the memories in it."""
        tokens, offsets = self.model.offsets(text)
        found = list(entries(text))
        salt, known = self._ledger.read([line for *_, line in found], self._namespace)
        ends = [end for _, end in offsets]
        spans: list[Span] = []
        foreign: int | None = None
        for (start, end, _), sources in zip(found, known, strict=True):
            first, last = bisect_right(ends, start), bisect_right(ends, end)
            if not sources:
                foreign = first
                break
            at = spans[-1].end if spans else 0
            spans += [Span(max(first, at), max(last, at + 1), one) for one in sorted(sources)[:1]]
        if self._namespace is None and not found and self.store is not None:
            foreign = 0  # nobody knows whose words these are
        return Prompt(
            tuple(tokens),
            tuple(spans),
            salt=salt,
            foreign=foreign,
            also=_also(known, spans),
        )

    # Answers ------------------------------------------------------------------------------

    def stream(
        self,
        prompt: Prompt,
        sampling: Sampling | None = None,
        *,
        stop: Sequence[str] = (),
        usage: Usage | None = None,
    ) -> Iterator[str]:
        """The answer's words as they come, up to, not including, a stop string."""
        usage = usage if usage is not None else Usage()
        words = self._words(stop)
        reader = self._reader(usage)
        if self.composer is not None and reader is not self.composer:
            self.composer.passed_over("it is read through adapters")
        tokens = reader.generate(prompt, sampling, usage)
        try:
            for token in tokens:
                fresh = words.add(token)
                if words.over:
                    usage.finish_reason = "stop"
                if fresh:
                    yield fresh
                if words.over:
                    return
            if rest := words.rest():
                yield rest
        finally:
            tokens.close()  # type: ignore[attr-defined]

    def stream_batch(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling | Sequence[Sampling] | None = None,
        *,
        stop: Sequence[str] = (),
        usages: Sequence[Usage] | None = None,
        max_batch: int | None = None,
    ) -> Iterator[tuple[int, str]]:
        """Several answers as they come, decoded together: pairs of which prompt, and its words.

        ``max_batch`` at a time at most, by default 8. Answers may differ in rounding from those
        of :meth:`stream`. Models that cannot do it answer one after the other.
        """
        usages = [Usage() for _ in prompts] if usages is None else usages
        words = [self._words(stop) for _ in prompts]
        if self.composer is not None:
            self.composer.passed_over("it is asked for in a batch", len(prompts))
        most = {} if max_batch is None else {"max_batch": max_batch}
        batch = self._engine_for(usages).generate_batch(prompts, sampling, usages, **most)
        try:
            for which, token in batch:
                one = words[which]
                fresh = one.rest() if token is None else one.add(token)
                if one.over:
                    usages[which].finish_reason = "stop"
                    batch.stop(which)
                if fresh:
                    yield which, fresh
        finally:
            batch.close()

    def answer(
        self,
        prompt: Prompt,
        sampling: Sampling | None = None,
        *,
        stop: Sequence[str] = (),
        begun: str = "",
    ) -> Answer:
        """The whole answer; ``begun``: the part of it that stands in the prompt."""
        usage = Usage()
        words = self.stream(prompt, sampling, stop=stop, usage=usage)
        return _answer(begun + "".join(words), usage)

    def answer_batch(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling | Sequence[Sampling] | None = None,
        *,
        stop: Sequence[str] = (),
        begun: str = "",
        max_batch: int | None = None,
    ) -> list[Answer]:
        """The whole answers to several prompts, decoded together: see :meth:`stream_batch`."""
        usages = [Usage() for _ in prompts]
        texts = [begun] * len(prompts)
        for which, text in self.stream_batch(
            prompts, sampling, stop=stop, usages=usages, max_batch=max_batch
        ):
            texts[which] += text
        return [_answer(text, usage) for text, usage in zip(texts, usages, strict=True)]

    def warm(self, messages: Sequence[Mapping[str, Any]], *, background: bool = False) -> int:
        """Compute now what a chat begins with; return how many tokens were not cached."""
        return self.precompute(self.prompt(messages), background=background)

    def precompute(self, prompt: Prompt, *, background: bool = False) -> int:
        """:meth:`warm` for a prompt, as the model reads it now."""
        return self._reader(Usage()).precompute(prompt, background=background)

    def measure(self, prompts: Iterable[Prompt]) -> Deviation:
        """Read prompts both ways, and compare the distributions of the next token.

        In composed mode this takes the place of what was measured before, also for the threshold.
        Raises :class:`InvalidInputError` in exact mode, and if no prompt can be composed.
        """
        if self.composer is None:
            raise InvalidInputError('nothing deviates in exact mode: LocalChat(mode="composed")')
        return self.composer.measure(prompts)

    def load_activations(self, ids: Iterable[str | MemCube] | None = None) -> tuple[str, ...]:
        """Begin, as at the start, with what :meth:`MemorySession.precompute` has kept since.

        See :func:`~memos_integrations.activation_memory.load_activations`.
        """
        if self._memory is None:
            raise InvalidInputError("this chat has no memory: LocalChat(memory, ...)")
        return load_activations(self.engine, self._memory, ids)

    def known_memories(self) -> frozenset[tuple[str, int]]:
        """What the model knows without a prompt: the sources of the adapters that it is read
        through now, as (id, version). For :class:`RecallPolicy(skip_known=...)`."""
        serving = self._serving
        return frozenset() if serving is None else serving.known()

    def _reader(self, usage: Usage) -> ActivationEngine | Composer:
        """What reads a single request: the composer, unless there are adapters."""
        engine = self._engine_now(usage)
        return engine if self.composer is None or engine is not self.engine else self.composer

    def _engine_now(self, usage: Usage) -> ActivationEngine:
        serving = self._serving  # read once: it may be set meanwhile
        return self.engine if serving is None else serving.engine(usage)

    def _engine_for(self, usages: Sequence[Usage]) -> ActivationEngine:
        """One for all requests of a batch: they read the same adapters."""
        first = usages[0] if usages else Usage()
        engine = self._engine_now(first)
        for usage in usages:
            usage.adapters, usage.stale_adapters = first.adapters, first.stale_adapters
        return engine

    def _words(self, stop: Sequence[str]) -> Words:
        stops = [*self.model.stop_strings, *stop]
        if any(not isinstance(one, str) or not one for one in stops):
            raise InvalidInputError(f"stop is {stop!r}: give strings that are not empty")
        return Words(self.model.decode, stops)

    def stats(self) -> dict[str, Any]:
        """Hits, tokens saved, first-token times and sizes; JSON-plain. In composed mode,
        ``composer`` says what was composed, what not and why, and the measured deviation."""
        requests, tree = self.engine.stats()
        plain = {
            "model": self.model.name,
            "refused": self.engine.refused,
            **requests.as_dict(),
            "pieces": tree.nodes,
            "bytes": tree.bytes,
            "evicted": tree.evicted,
        }
        if self.composer is not None:
            composer = self.composer
            plain["composer"] = {"refused": composer.refused, **composer.stats.as_dict()}
        if self.engine.ram is not None:
            ram = self.engine.ram.stats()
            plain |= {"ram_pieces": ram.pieces, "ram_bytes": ram.bytes, "ram_hits": ram.hits}
        if self.store is not None:
            plain |= {
                "disk_pieces": len(self.store.pieces),
                "disk_bytes": self.store.pieces.bytes,
            }
        below = self.engine.tier if self.engine.ram is None else self.engine.ram.below
        report = getattr(below, "report", None)
        if report is not None:
            plain["remote"] = report()
        return plain

    def close(self) -> None:
        """Write what waits to be written."""
        close = getattr(self.engine.tier, "close", None)
        if close is not None:
            close()


def shared_or_new(
    chat: LocalChat | None,
    memory: MemOS | MemorySession | None,
    model: CausalModel | str | Path | None,
    **options: Any,
) -> LocalChat:
    """The chat that a framework's model was given, or one that it makes with these options."""
    given = {name: value for name, value in options.items() if value is not None}
    if chat is None:
        return LocalChat(memory, model, **given)
    if given:
        raise InvalidInputError(
            f"{', '.join(sorted(given))} and chat are given: the chat has its own, so make it with "
            f"LocalChat(..., {min(given)}=...)"
        )
    return chat


def _composer(engine: ActivationEngine, options: Composed) -> Composer:
    from memos_integrations.memories.activation.composed import Composer  # torch is there by now

    return Composer(engine, **vars(options))


def _also(known: Sequence[frozenset[Source]], spans: Sequence[Span]) -> frozenset[Source]:
    """Memories that a line may also be, besides the one its span names."""
    named = {span.source for span in spans}
    return frozenset(source for sources in known for source in sources) - named


def _answer(text: str, usage: Usage) -> Answer:
    text, calls = parse_tool_calls(text)
    return Answer(text, calls, usage)
