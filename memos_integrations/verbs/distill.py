"""What a session can do with parameter memory: memories become weights, and come back as words."""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memos_integrations.checks import check_id
from memos_integrations.cube import MemCube, Parameter
from memos_integrations.errors import CubeNotFoundError, InvalidInputError, MissingExtraError
from memos_integrations.memories.activation.admission import Rates
from memos_integrations.memories.activation.segments import Source
from memos_integrations.memories.parameter.new_adapter import NewAdapter
from memos_integrations.memories.parameter.worth import Worth, WorthPolicy, worth
from memos_integrations.offload import offload
from memos_integrations.operation.adapters import content_of, keep, sources_of
from memos_integrations.operation.bringing_back import bring_back
from memos_integrations.query import Hit
from memos_integrations.verbs.made_of import MadeOf

if TYPE_CHECKING:
    from memos_integrations.memories.parameter.distilling import Distillation
    from memos_integrations.models.causal import CausalModel

Told = Callable[[int, int, float], None]
"""Called with the step, how many there are at most, and the loss."""


@dataclass(frozen=True)
class AdapterNote:
    """An adapter of this namespace, and which of its sources have changed since."""

    cube: MemCube
    outdated: tuple[Source, ...]
    """Sources that were changed, deleted or hidden: with any of them it is not served."""

    @property
    def sources(self) -> tuple[Source, ...]:
        """What it was made of."""
        return sources_of(self.cube)

    def draw(self, path: str | os.PathLike[str]) -> Path:
        """Write what its examination showed to a ``.png`` or ``.svg`` file, as bars."""
        from memos_integrations.infrastructure.pictures.adapter import draw_report

        return draw_report(self.cube.metadata["report"], path)


@dataclass(frozen=True)
class Fact:
    """Something an adapter was taught, and how surely it still says so."""

    text: str
    source: Source
    confidence: float
    """The probability of the memory's answer to a question, the geometric mean of its tokens."""
    kept: MemCube | None = None
    """The memory that it was written as, if it was."""


class DistillVerbs(MadeOf):
    """Verbs of parameter memory; see :mod:`memos_integrations.memories.parameter`."""

    def _may_write(self) -> None:
        """A session of the past may not."""

    def distill(
        self,
        memories: Iterable[str | MemCube | Hit],
        *,
        model: CausalModel,
        how: Distillation | None = None,
        checkpoint: str | Path | None = None,
        progress: Told | None = None,
    ) -> MemCube:
        """Train an adapter of a model that knows these memories, examine it, and keep it.

        The adapter is a memory of its own, of type ``parameter``; its lineage names the sources.
        ``checkpoint``: a file from which the same call goes on after a crash; it holds what was
        learned, so it is deleted at the end. ``progress(step, steps, loss)`` is called each step.

        What was sealed is learned as its mask; a memory in quarantine is not learned. The adapter
        has the labels of its sources and their lowest trust. Raises :class:`AccessDeniedError`,
        :class:`GateError` if it does not pass (``error.report`` has the figures),
        :class:`VersionConflictError` if a source changed meanwhile, :class:`TrainingError`,
        :class:`OutOfMemoryError`; then nothing is stored.
        """
        return self._distilled(memories, model, how, checkpoint, progress)

    def _distilled(
        self,
        memories: Iterable[str | MemCube | Hit],
        model: CausalModel,
        how: Distillation | None = None,
        checkpoint: str | Path | None = None,
        progress: Told | None = None,
        *,
        replaces: Sequence[str] = (),
    ) -> MemCube:
        """A new adapter; those that it ``replaces`` are deleted in the same transaction."""
        self._vault.require("write", self.namespace, "distil into")
        sources = self._sources(memories)
        training = _training()
        place = None if checkpoint is None else Path(checkpoint)
        adapter, report = training.distilling.distil(
            model,
            sources,
            how or training.distilling.Distillation(),
            checkpoint_at=place,
            tell=progress,
        )
        new = NewAdapter(
            training.storage.to_bytes(adapter),
            adapter.manifest.kind,
            training.storage.fingerprint_of(model),
            report.as_dict(),
        )
        kept = keep(self._operator, self.namespace, self.principal, new, sources, replaces=replaces)
        if place is not None:
            place.unlink(missing_ok=True)
        return kept

    def worth_distilling(
        self,
        memories: Iterable[str | MemCube | Hit],
        *,
        policy: WorthPolicy | None = None,
        rates: Rates | None = None,
        rounds: int = 6,
    ) -> Worth:
        """Whether an adapter of these memories pays, and why: their uses so far against training.

        Estimates: four characters a token, uses that go on at the rate of the last weeks. The
        milliseconds are a guess unless ``rates`` are measured ones (``chat.engine.rates()``).
        """
        cubes = self._vault.heads([one.id for one in self._sources(memories)])
        policy, rates = policy or WorthPolicy(), rates or Rates()
        return worth(cubes, self._operator.now(), policy, rates, rounds=rounds)

    def adapters(self) -> builtins.list[AdapterNote]:
        """The adapters of this namespace, with the sources that changed since each was trained."""
        return [AdapterNote(cube, outdated) for cube, outdated in self._made("parameter")]

    def retrain(self, id: str, *, model: CausalModel, **options: Any) -> MemCube:
        """Train an adapter anew, from its sources as they are now, and delete the old one with it.

        Sources that were deleted meanwhile are left out. ``options`` as for :meth:`distill`. After
        an erasure, distil the receipt's ``kept_sources``: the old adapter is no more.
        """
        note = self._note(id)
        alive = self._vault.heads([one.cube_id for one in note.sources])
        there = [one for one in alive if one.text]
        return self._distilled(there, model, **options, replaces=[note.cube.id])

    def externalise(
        self, id: str, *, model: CausalModel, keep: bool = False
    ) -> builtins.list[Fact]:
        """What an adapter was taught, from its provenance, and how surely it says so when asked.

        Of a source that was changed since, the words are those it was trained on. ``keep``: those
        whose memory was deleted since are written as new memories, in one transaction; each names
        its source and the adapter in its lineage, has the source's labels and the lowest trust of
        both, and its confidence in ``metadata["confidence"]``. What was erased has no words any
        more, what has ended does not begin again, and what the namespace still says is not
        doubled. It takes the right to write. Raises :class:`AdapterCorruptError` if the adapter's
        file was altered, :class:`AdapterGoneError` if it is missing, :class:`WrongModelError`.
        """
        if keep:
            self._may_write()
            self._vault.require("write", self.namespace, "externalise into")
        note = self._note(id)
        training = _training()
        cubes = [one for one in map(self._version, note.sources) if one is not None and one.text]
        content = content_of(self._vault, _payload(note.cube).blob)
        sure = training.serving.confidences(model, content, cubes)
        kept: dict[str, MemCube] = {}
        if keep:
            whole = self._operator, self.namespace, self.principal
            kept = bring_back(*whole, note.cube, cubes, sure)
        return [
            Fact(cube.text, Source(cube.id, cube.version), sure[cube.id], kept.get(cube.id))
            for cube in cubes
        ]

    # Async twins --------------------------------------------------------------------------

    async def adistill(self, memories: Iterable[str | MemCube | Hit], **options: Any) -> MemCube:
        """:meth:`distill`, without blocking the event loop."""
        return await offload(self.distill, memories, **options)

    async def aworth_distilling(
        self, memories: Iterable[str | MemCube | Hit], **options: Any
    ) -> Worth:
        """:meth:`worth_distilling`, without blocking the event loop."""
        return await offload(self.worth_distilling, memories, **options)

    async def aadapters(self) -> builtins.list[AdapterNote]:
        """:meth:`adapters`, without blocking the event loop."""
        return await offload(self.adapters)

    async def aretrain(self, id: str, **options: Any) -> MemCube:
        """:meth:`retrain`, without blocking the event loop."""
        return await offload(self.retrain, id, **options)

    async def aexternalise(self, id: str, **options: Any) -> builtins.list[Fact]:
        """:meth:`externalise`, without blocking the event loop."""
        return await offload(self.externalise, id, **options)

    # Within -------------------------------------------------------------------------------

    def _note(self, id: str) -> AdapterNote:
        wanted = check_id(id)
        for note in self.adapters():
            if note.cube.id == wanted:
                return note
        raise CubeNotFoundError(f"no adapter {wanted} in namespace {'/'.join(self.namespace)}")

    def _version(self, source: Source) -> MemCube | None:
        with self._vault.snapshot(self.namespace) as view:
            head = view.head(source.cube_id, deleted=True)
            versions = [] if head is None else view.chain(head)
        return next((one for one in versions if one.version == source.version), None)


def _payload(cube: MemCube) -> Parameter:
    if not isinstance(cube.payload, Parameter):
        raise InvalidInputError(f"memory {cube.id} is no adapter but {cube.memory_type}")
    return cube.payload


def _training() -> Any:
    """The modules that need torch."""
    try:
        from memos_integrations.memories import parameter
        from memos_integrations.memories.parameter import distilling, serving, storage
    except ImportError as error:
        raise MissingExtraError(
            f"parameter memory needs {error.name}: pip install 'memos-integrations[parameter]'"
        ) from error
    assert distilling and serving and storage
    return parameter
