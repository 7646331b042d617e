"""What a session can do with parameter memory: memories become weights, and come back as words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memos_integrations.cube import (
    Draft,
    MemCube,
    Namespace,
    Parameter,
    Principal,
    check_id,
)
from memos_integrations.errors import CubeNotFoundError, InvalidInputError, MissingExtraError
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.memories.activation.segments import Source
from memos_integrations.memories.plaintext import embedding_text
from memos_integrations.models.checked import embed_checked
from memos_integrations.operation.operator import MemOperator
from memos_integrations.query import Hit

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


@dataclass(frozen=True)
class Fact:
    """Something an adapter was taught, and how surely it still says so."""

    text: str
    source: Source
    confidence: float
    """The probability of the memory's answer to a question, the geometric mean of its tokens."""


class DistillVerbs:
    """Verbs of parameter memory; see :mod:`memos_integrations.memories.parameter`."""

    principal: Principal
    namespace: Namespace
    _vault: MemVault
    _operator: MemOperator

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

        Raises :class:`GateError` if it does not pass (``error.report`` has the figures),
        :class:`VersionConflictError` if a source changed meanwhile, :class:`TrainingError`,
        :class:`OutOfMemoryError`; then nothing is stored.
        """
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
        content = training.storage.to_bytes(adapter)
        kept = self._keep(
            content,
            adapter.manifest.kind,
            training.storage.fingerprint_of(model),
            sources,
            report.as_dict(),
        )
        if place is not None:
            place.unlink(missing_ok=True)
        return kept

    def adapters(self) -> list[AdapterNote]:
        """The adapters of this namespace, with the sources that changed since each was trained."""
        with self._vault.snapshot(self.namespace) as view:
            clauses = self._vault.clauses({"memory_type": "parameter"})
            cubes = view.page(clauses, 1_000, None)
        asked = {(one.cube_id, one.version) for cube in cubes for one in sources_of(cube)}
        gone = self._vault.outdated(asked)
        return [
            AdapterNote(
                cube,
                tuple(one for one in sources_of(cube) if (one.cube_id, one.version) in gone),
            )
            for cube in cubes
        ]

    def retrain(self, id: str, *, model: CausalModel, **options: Any) -> MemCube:
        """Train an adapter anew, from its sources as they are now; the old one is deleted.

        Sources that were deleted meanwhile are left out. ``options`` as for :meth:`distill`. After
        an erasure, distil the receipt's ``kept_sources``: the old adapter is no more.
        """
        note = self._note(id)
        alive = self._vault.heads([one.cube_id for one in note.sources])
        fresh = self.distill([one for one in alive if one.text], model=model, **options)
        self._operator.delete(self.namespace, self.principal, note.cube.id)
        return fresh

    def externalise(self, id: str, *, model: CausalModel) -> list[Fact]:
        """What an adapter was taught, from its provenance, and how surely it says so when asked.

        Of a source that was changed since, the words are those it was trained on.
        """
        note = self._note(id)
        training = _training()
        cubes = [one for one in map(self._version, note.sources) if one is not None and one.text]
        content = self._vault.blobs.get(_payload(note.cube).blob)
        sure = training.serving.confidences(model, content, cubes)
        return [Fact(cube.text, Source(cube.id, cube.version), sure[cube.id]) for cube in cubes]

    # Within -------------------------------------------------------------------------------

    def _sources(self, memories: Iterable[str | MemCube | Hit]) -> list[MemCube]:
        if isinstance(memories, str | MemCube | Hit):
            memories = [memories]
        given = [one.cube if isinstance(one, Hit) else one for one in memories]
        ids = [one.id if isinstance(one, MemCube) else check_id(one) for one in given]
        if not ids:
            raise InvalidInputError("there are no memories to distil: give one or more")
        with self._vault.snapshot(self.namespace) as view:
            heads = {one: view.head(one) for one in dict.fromkeys(ids)}
        found = [head.cube for head in heads.values() if head is not None]
        missing = [one for one, head in heads.items() if head is None]
        if missing:
            raise CubeNotFoundError(
                f"no memory {missing[0]} in namespace {'/'.join(self.namespace)}"
            )
        wordless = [one for one in found if not one.text]
        if wordless:
            raise InvalidInputError(
                f"memory {wordless[0].id} has no words ({wordless[0].memory_type}): distil the "
                "plaintext memories that it was made of"
            )
        return found

    def _keep(
        self,
        content: bytes,
        kind: Any,
        fingerprint: str,
        sources: list[MemCube],
        report: Mapping[str, Any],
    ) -> MemCube:
        """Store the adapter; if it cannot be, its bytes go again."""
        blob = self._vault.blobs.put(content)
        try:
            activity = self._operator.activity("distill", self.principal)
            rules = [one.header.governance for one in sources]
            draft = Draft(
                payload=Parameter(blob=blob, size=len(content), model=fingerprint, kind=kind),
                origin="derived",
                semantic_type="adapter",
                sensitivity=tuple(dict.fromkeys(x for one in rules for x in one.sensitivity)),
                metadata={
                    "report": dict(report),
                    "sources": [[one.id, one.version] for one in sources],
                },
            )
            cube = self._operator.cube(self.namespace, self.principal, draft, activity)
            embedder = self._operator.embedder
            vectors = embed_checked(embedder, [embedding_text(cube) or "adapter"])
            return self._vault.derive(
                self.namespace, activity, cube, vectors, embedder.fingerprint, sources, None
            )
        except BaseException:
            self._vault.blobs.delete(blob)
            raise

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


def sources_of(cube: MemCube) -> tuple[Source, ...]:
    """The versions that an adapter was made of."""
    return tuple(Source(str(id), int(version)) for id, version in cube.metadata.get("sources", ()))


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
