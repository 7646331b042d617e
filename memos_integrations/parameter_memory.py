"""Which adapters a local chat model reads, looked up anew for each request."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from memos_integrations.checks import check_id
from memos_integrations.cube import MemCube, Parameter
from memos_integrations.errors import (
    AdapterGoneError,
    InvalidInputError,
    MissingExtraError,
)
from memos_integrations.memories.activation.segments import Source
from memos_integrations.memories.activation.usage import Usage
from memos_integrations.memos import MemOS
from memos_integrations.operation.adapters import content_of, sources_of
from memos_integrations.session import MemorySession
from memos_integrations.verbs.distill import AdapterNote

if TYPE_CHECKING:
    from memos_integrations.memories.activation.engine import ActivationEngine
    from memos_integrations.memories.activation.through import Through

log = logging.getLogger(__name__)

Named = str | MemCube | AdapterNote
Wanted = bool | Named | Iterable[Named] | Mapping[Any, float]
Stale = Literal["leave", "serve", "refuse"]


@dataclass(frozen=True)
class ParameterMemory:
    """Which adapters, how much of each, and what becomes of those whose sources changed."""

    adapters: Wanted = True
    """By id, as cubes, or with weights (``{id: 0.5}``); ``True``: all that the session's namespace
    has for this model."""
    stale: Stale = "leave"
    """An adapter with a source that was changed, ended or hidden: ``leave`` it out, ``serve`` it
    all the same, or ``refuse`` to answer (:class:`AdapterGoneError`). The usage of an answer
    names it in the first two cases. One that was erased is never served."""

    def __post_init__(self) -> None:
        if self.stale not in ("leave", "serve", "refuse"):
            raise InvalidInputError(f"stale is {self.stale!r}: use 'leave', 'serve' or 'refuse'")


@dataclass(frozen=True)
class _Found:
    """Adapters that can be read now, with their weights, and those that are stale."""

    served: list[tuple[MemCube, float]] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)


class Serving:
    """Gives each request the engine that reads its adapters. Thread-safe."""

    def __init__(
        self,
        engine: ActivationEngine,
        memory: MemOS | MemorySession | None,
        wanted: Wanted | ParameterMemory,
    ) -> None:
        if memory is None:
            raise InvalidInputError("parameter_memory is given, and no memory that has adapters")
        self._session = memory if isinstance(memory, MemorySession) else None
        self._vault = memory.vault if isinstance(memory, MemOS) else memory._vault
        self._engine = engine
        self._want(wanted)
        try:
            from memos_integrations.memories.parameter import serving, storage
        except ImportError as error:
            raise MissingExtraError(
                f"parameter memory needs {error.name}: pip install 'memos-integrations[parameter]'"
            ) from error
        self._model = storage.fingerprint_of(engine.model)
        self._readers = serving.Readers(engine.model, partial(content_of, self._vault))
        self._vault.watch_erasures(lambda ids: self._readers.clear())

    def reading(self, wanted: Wanted | ParameterMemory) -> Serving:
        """One that reads other adapters, and shares those that are loaded."""
        other = copy(self)
        other._want(wanted)
        return other

    def engine(self, usage: Usage) -> ActivationEngine:
        """For one request; ``usage`` says which adapters it reads, and which are stale.

        Raises :class:`WrongModelError`, :class:`AdapterCorruptError`, :class:`AdapterGoneError`.
        """
        found = self._found()
        usage.stale_adapters = tuple(found.stale)
        if found.stale and self._stale == "refuse":
            raise AdapterGoneError(
                f"adapter {found.stale[0]} is gone, or a memory it was made of was changed: "
                "retrain() it, or leave it out"
            )
        usage.adapters = tuple(cube.id for cube, _ in found.served)
        return self._engine.through(self._through(found)) if found.served else self._engine

    def known(self) -> frozenset[tuple[str, int]]:
        """The versions (memory, version) that are known to what is read now, in full and fresh."""
        found = self._found()
        behind = {
            (one.cube_id, one.version)
            for cube, weight in found.served
            if weight >= 1 and cube.id not in found.stale
            for one in sources_of(cube)
        }
        return frozenset(behind)

    # Within -------------------------------------------------------------------------------

    def _want(self, wanted: Wanted | ParameterMemory) -> None:
        policy = wanted if isinstance(wanted, ParameterMemory) else ParameterMemory(wanted)
        self._stale, self._weights = policy.stale, _weights(policy.adapters)
        if self._weights is None and self._session is None:
            raise InvalidInputError(
                "parameter_memory=True means those of a session: give one as memory, or ids"
            )

    def _through(self, found: _Found) -> Through:
        from memos_integrations.memories.activation.through import Through

        wanted = [(_blob(cube), weight) for cube, weight in found.served]
        reader = self._readers.get(wanted)  # AdapterGoneError: erased since we looked
        sources = {one for cube, _ in found.served for one in _behind(cube)}
        kept = {Source(*one) for one in self._outdated(sources)}  # stale, and served all the same
        return Through(reader.model, reader.key, frozenset(sources - kept), reader.prefix)

    def _found(self) -> _Found:
        cubes, missing = self._cubes()
        outdated = self._outdated(one for cube in cubes for one in _behind(cube))
        stale = [
            cube.id
            for cube in cubes
            if any((one.cube_id, one.version) in outdated for one in sources_of(cube))
        ]
        left = set(stale) if self._stale != "serve" else set()
        if stale or missing:
            log.info("adapters out of date: %s", ", ".join([*stale, *missing]))
        served = [(cube, self._weight(cube)) for cube in cubes if cube.id not in left]
        return _Found(served, [*stale, *missing])

    def _cubes(self) -> tuple[list[MemCube], list[str]]:
        """The adapters, in one order always; and those named that are not there."""
        if self._weights is None:
            assert self._session is not None
            cubes = [note.cube for note in self._session.adapters()]
            return [cube for cube in cubes if _payload(cube).model == self._model], []
        cubes = [one for one in self._vault.heads(self._weights) if _is_adapter(one)]
        cubes.sort(key=lambda cube: cube.id)
        return cubes, sorted(set(self._weights) - {cube.id for cube in cubes})

    def _outdated(self, sources: Iterable[Source]) -> set[tuple[str, int]]:
        return self._vault.outdated([(one.cube_id, one.version) for one in sources])

    def _weight(self, cube: MemCube) -> float:
        return 1.0 if self._weights is None else self._weights[cube.id]


def _weights(wanted: Wanted) -> dict[str, float] | None:
    """By id; ``None``: whatever there is."""
    if wanted is True:
        return None
    if wanted is False:
        raise InvalidInputError("parameter_memory is False: leave it out")
    if isinstance(wanted, Mapping):
        return {_id(one): _share(weight) for one, weight in wanted.items()}
    several: Collection[Named] = (
        [wanted] if isinstance(wanted, str | MemCube | AdapterNote) else [*wanted]
    )
    return {_id(one): 1.0 for one in several}


def _share(weight: object) -> float:
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not abs(weight) < 100:
        raise InvalidInputError(f"the weight of an adapter is {weight!r}: give a number such as 1")
    return float(weight)


def _id(one: Named) -> str:
    cube = one.cube if isinstance(one, AdapterNote) else one
    return cube.id if isinstance(cube, MemCube) else check_id(cube)


def _behind(cube: MemCube) -> set[Source]:
    """The adapter itself, and what it was made of."""
    return {Source(cube.id, cube.version), *sources_of(cube)}


def _is_adapter(cube: MemCube) -> bool:
    return isinstance(cube.payload, Parameter)


def _payload(cube: MemCube) -> Parameter:
    assert isinstance(cube.payload, Parameter)
    return cube.payload


def _blob(cube: MemCube) -> str:
    return _payload(cube).blob
