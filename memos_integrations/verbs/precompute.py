"""What a session can do with activation memory: the KV cache of memories, kept as a memory."""

from __future__ import annotations

import builtins
import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from memos_integrations.cube import Activation, MemCube
from memos_integrations.errors import (
    CubeNotFoundError,
    InvalidInputError,
    ModelError,
    VersionConflictError,
)
from memos_integrations.memories.activation.segments import Prompt, Source, Span
from memos_integrations.memories.block import block
from memos_integrations.memories.ledger import Ledger
from memos_integrations.offload import offload
from memos_integrations.operation.adapters import draft_of, keep_file, sources_of
from memos_integrations.query import Hit
from memos_integrations.verbs.made_of import MadeOf

if TYPE_CHECKING:
    from memos_integrations.memories.activation.cache_files import Pieces
    from memos_integrations.memories.activation.engine import ActivationEngine

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ActivationNote:
    """A KV cache of this namespace, and which of its sources have changed since."""

    cube: MemCube
    outdated: tuple[Source, ...]
    """Sources that were changed, deleted or hidden: with any of them it is not served."""

    @property
    def sources(self) -> tuple[Source, ...]:
        """What it was made of."""
        return sources_of(self.cube)


@runtime_checkable
class Reads(Protocol):
    """A :class:`~memos_integrations.local_chat.LocalChat`."""

    engine: ActivationEngine
    store: Any

    def prompt(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> Prompt:
        """A chat as the model reads it, with the memories in it."""
        ...


class PrecomputeVerbs(MadeOf):
    """Verbs of activation memory; see :mod:`memos_integrations.memories.activation`."""

    _ledger: Ledger

    def precompute(
        self, memories: Iterable[str | MemCube | Hit], *, model: Any, system: str = ""
    ) -> MemCube:
        """Compute the KV cache of a prompt that begins with these memories, and keep it.

        The cache is a memory of its own, of type ``activation``: a safetensors file with the keys
        and values of every token up to the end of the last memory. Its lineage names the sources,
        it has their labels and their lowest trust, and it is private. A chat that is made for
        this session or its store with the same model begins with it, and is served nothing of it
        once a source was changed, deleted, ended or hidden. What erases a source erases it, too.

        ``model``: a ``ChatMemOS``, ``MemOSLLM`` or ``LocalChat`` of this store. The prompt is a
        system message: ``system``, an empty line, and the block of the memories in the order
        given; a prompt that begins otherwise finds nothing.

        What was sealed is read as its mask; a memory in quarantine is not read. Raises
        :class:`AccessDeniedError`, :class:`VersionConflictError` if a source changed meanwhile,
        :class:`ModelError` for a model that runs uncached, :class:`InvalidInputError`; then
        nothing is stored.
        """
        self._vault.require("write", self.namespace, "precompute in")
        sources = self._sources(memories, "precompute")
        chat = getattr(model, "local", model)
        store = chat.store if isinstance(chat, Reads) else None
        if store is None or store.path != self._vault.folder:
            raise InvalidInputError(
                f"model is {model!r}: give a ChatMemOS, MemOSLLM or LocalChat of this store"
            )
        content, tokens = self._computed(chat, sources, system)
        own = chat.engine.model
        payload = Activation(
            blob=hashlib.sha256(content).hexdigest(),
            size=len(content),
            model=own.fingerprint.computes,
            tokens=tokens,
        )
        draft = draft_of(payload, sources, "kv_cache", {"model": own.name}, access="private")
        who = self.principal
        return keep_file(self._operator, self.namespace, who, "precompute", content, draft, sources)

    def activations(self) -> builtins.list[ActivationNote]:
        """The KV caches of this namespace, with the sources that changed since each was made."""
        return [ActivationNote(cube, outdated) for cube, outdated in self._made("activation")]

    # Async twins --------------------------------------------------------------------------

    async def aprecompute(
        self, memories: Iterable[str | MemCube | Hit], *, model: Any, system: str = ""
    ) -> MemCube:
        """:meth:`precompute`, without blocking the event loop."""
        return await offload(self.precompute, memories, model=model, system=system)

    async def aactivations(self) -> builtins.list[ActivationNote]:
        """:meth:`activations`, without blocking the event loop."""
        return await offload(self.activations)

    # Within -------------------------------------------------------------------------------

    def _computed(self, chat: Reads, sources: Sequence[MemCube], system: str) -> tuple[bytes, int]:
        """The pieces of a prompt up to the end of its last memory, as a file; and their tokens."""
        from memos_integrations.memories.activation.cache_files import to_bytes
        from memos_integrations.memories.activation.tensors import DamagedPieceError

        engine = chat.engine
        if engine.refused:
            raise ModelError(f"{engine.model.name} runs without a KV cache: {engine.refused}")
        prompt = self._prompt(chat, sources, system)
        last = prompt.spans[-1].end
        wanted = prompt.pieces()[: prompt.ends.index(last) + 1]
        known = sorted(prompt.sources(0, last))
        try:
            content = to_bytes(self._pieces(engine, prompt, wanted, sources), known, engine.model)
        except DamagedPieceError as error:  # a file in the chat's folder: it is computed again
            log.warning("%s: what it knows of these memories is computed again", error)
            engine.drop_cubes([one.id for one in sources])
            content = to_bytes(self._pieces(engine, prompt, wanted, sources), known, engine.model)
        return content, last

    def _pieces(
        self,
        engine: ActivationEngine,
        prompt: Prompt,
        wanted: Sequence[tuple[int, ...]],
        sources: Sequence[MemCube],
    ) -> Pieces:
        engine.precompute(prompt)
        with engine.tree.leased(engine.root(prompt.salt), wanted) as lease:
            pieces = [(node.tokens, node.payload) for node in lease.nodes]
        if len(pieces) < len(wanted):
            self._say_why_not(sources)
        if any(piece.approximate for _, piece in pieces):
            raise InvalidInputError(
                "this chat's caches are rounded, and what is kept must be exact: give a chat "
                "without disk_dtype"
            )
        return pieces

    def _prompt(self, chat: Reads, sources: Sequence[MemCube], system: str) -> Prompt:
        """As the model reads it, and known to be this namespace's alone."""
        self._ledger.note(sources)
        said = f"{system}\n\n{block(sources)}" if system else block(sources)
        # A user message follows in any chat, and some templates refuse a chat without one.
        shown = [{"role": "system", "content": said}, {"role": "user", "content": "?"}]
        prompt = chat.prompt(shown)
        if len(prompt.spans) != len(sources) or prompt.foreign is not None:
            raise InvalidInputError(
                "system has a block of memories, or the chat template changes the one that is "
                "shown: give a system prompt without, or another template"
            )
        spans = tuple(
            Span(span.start, span.end, Source(cube.id, cube.version))
            for span, cube in zip(prompt.spans, sources, strict=True)
        )
        salt = self._ledger.salt([self.namespace])
        return replace(prompt, spans=spans, salt=salt, also=frozenset())

    def _say_why_not(self, sources: Sequence[MemCube]) -> None:
        now = {one.id: one for one in self._vault.heads([one.id for one in sources])}
        for seen in sources:
            if seen.id not in now:
                raise CubeNotFoundError(f"memory {seen.id} was deleted, has ended, or is hidden")
            if now[seen.id].version != seen.version:
                raise VersionConflictError(
                    seen.id, expected=seen.version, actual=now[seen.id].version
                )
        raise InvalidInputError(
            "the KV cache of these memories does not fit into the chat: give it a larger budget"
        )
