"""Memories become weights by themselves: one adapter for each namespace, of what is worth it there.

The planner says which memories are used much and stable; here they are weighed as the set that one
adapter would know, trained outside of any transaction, and kept in one that ends their jobs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.cube import MemCube, Parameter, Principal
from memos_integrations.errors import (
    CubeNotFoundError,
    GateError,
    InvalidInputError,
    VersionConflictError,
)
from memos_integrations.infrastructure import crashpoints, jobs, lookups
from memos_integrations.infrastructure.jobs import Job
from memos_integrations.infrastructure.units import SYSTEM
from memos_integrations.memories.activation.segments import Source
from memos_integrations.memories.parameter.new_adapter import NewAdapter, TrainingStopped
from memos_integrations.memories.parameter.underway import Underway
from memos_integrations.memories.parameter.worth import Worth
from memos_integrations.operation.adapters import keep, sources_of
from memos_integrations.operation.operator import MemOperator
from memos_integrations.operation.scheduling.events import Event, Learned, Lost, Weighed
from memos_integrations.operation.scheduling.planner import Planner
from memos_integrations.operation.scheduling.rules import DAY
from memos_integrations.operation.scheduling.tiers import Form, Tier

_SYSTEM = Principal(id=SYSTEM, kind="service")
_CHANGED = "a memory of the set was changed, hidden or taken away while it trained"

End = Callable[[Job, str], None]
"""Ends a job that was not done, and says why."""


class Overtaken(Exception):
    """What was decided is not so any more."""


class Trainer(Protocol):
    """Who makes weights of memories, such as a
    :class:`~memos_integrations.memories.parameter.trainer.ParameterTrainer`."""

    @property
    def model(self) -> str:
        """The fingerprint of the model whose adapters it makes."""
        ...

    @property
    def key(self) -> str:
        """The same for trainings that would come out the same."""
        ...

    @property
    def size(self) -> int:
        """Bytes of an adapter, at most."""
        ...

    @property
    def most(self) -> int:
        """Memories that one adapter knows, at most."""
        ...

    def weigh(
        self, cubes: Sequence[MemCube], now: datetime, *, known: Collection[str] = ()
    ) -> Worth:
        """Whether one adapter of these memories pays; ``known``: what one knows already."""
        ...

    def learn(
        self,
        cubes: Sequence[MemCube],
        goes_on: Callable[[], bool],
        checkpoint: Path | None = None,
    ) -> NewAdapter:
        """Train it; :class:`GateError` if it is not to be kept, :class:`TrainingStopped`.

        ``checkpoint``: a file to go on from, if there is one of the same training.
        """
        ...


@dataclass(frozen=True)
class Standing:
    """What parameter memory there is for this model."""

    ours: dict[Namespace, MemCube]
    """The adapters that were trained by themselves: the latest of each namespace."""
    replaced: dict[Namespace, list[str]]
    """All of these, by id: what a new one takes the place of."""
    known: dict[Namespace, tuple[str, ...]]
    """What those of them know of which no source has changed."""
    elsewhere: frozenset[str]
    """What adapters know that somebody else has made."""


class Consolidation:
    """Parameter memory of a store, for its scheduler."""

    def __init__(self, operator: MemOperator, trainer: Trainer, underway: Underway) -> None:
        self._operator, self._vault, self._trainer = operator, operator.vault, trainer
        self._underway = underway

    # Deciding -----------------------------------------------------------------------------

    def events(self, planner: Planner, now: float, waiting: Sequence[Job]) -> Iterator[Event]:
        """What adapters know, and whether more of them pay.

        ``waiting``: jobs that are decided already; their namespaces are not looked at.
        """
        standing, busy = self._standing(), {job.cube_id for job in waiting}
        known = {one for ids in standing.known.values() for one in ids}
        for memory in list(planner.holding):
            if memory.tier is Tier.PARAMETER and memory.cube_id not in known | busy:
                yield Lost(now, memory.cube_id, Tier.PARAMETER)
        for path, ids in standing.known.items():
            payload = standing.ours[path].payload
            yield Learned(now, ids, payload.size if isinstance(payload, Parameter) else 0)
        refused, decided = self._refused(), {job.namespace for job in waiting}
        for path, cubes in self._sets(planner.ready(), standing).items():
            if path not in decided:
                yield self._weighed(now, cubes, standing.known.get(path, ()), refused.get(path))

    def explain(self, planner: Planner, cube_id: str) -> str:
        """Whether weights pay for a memory, with the others of its set: the figures."""
        found = self._vault.heads([cube_id])
        if not found:
            return ""
        [cube], standing = found, self._standing()
        known = standing.known.get(cube.namespace, ())
        if cube_id in known:
            all_of_it = self._trainer.weigh(self._vault.heads(known), self._operator.now())
            return f"adapter {standing.ours[cube.namespace].id} knows it; {all_of_it.reason}"
        ready = planner.ready()
        others = [one for one in ready if one != cube_id]
        members = self._sets([cube_id, *others], standing).get(cube.namespace)
        if members is None:
            other = "an adapter that was made by a call knows it"
            return other if cube_id in standing.elsewhere else "the adapter here knows enough"
        refused = self._refused().get(cube.namespace)
        reason = self._weighed(planner.now, members, known, refused).reason
        return reason if cube_id in ready else f"{reason}; {_not_yet(planner, cube_id)}"

    def _sets(self, ready: Sequence[str], standing: Standing) -> dict[Namespace, list[MemCube]]:
        """By namespace: what its adapter knows, and what would come to it; the most valuable."""
        heads = {cube.id: cube for cube in self._vault.heads(ready)}
        found: dict[Namespace, list[MemCube]] = {}
        for one in ready:
            if one in heads and one not in standing.elsewhere:
                found.setdefault(heads[one].namespace, []).append(heads[one])
        sets = {}
        for path, new in found.items():
            known = self._vault.heads(standing.known.get(path, ()))
            room = self._trainer.most - len(known)
            if room > 0:
                sets[path] = [*known, *new[:room]]
        return sets

    def _weighed(
        self,
        now: float,
        cubes: Sequence[MemCube],
        known: Collection[str],
        refused: tuple[str, str] | None,
    ) -> Weighed:
        worth = self._trainer.weigh(cubes, self._operator.now(), known=known)
        pays, reason = worth.pays, worth.reason
        if refused is not None and refused[0] == self._key(cubes):
            pays = False
            reason += f"; trained before and not kept: {refused[1]}; not again as it stands"
        form = Form(self._trainer.size, worth.training_ms)
        return Weighed(now, tuple(cube.id for cube in cubes), pays, reason, form)

    # Doing --------------------------------------------------------------------------------

    @staticmethod
    def is_training(job: Job) -> bool:
        """Whether a job is done here, with the others of its set."""
        return job.target == Tier.PARAMETER

    @staticmethod
    def together(waiting: Sequence[Job]) -> list[list[Job]]:
        """Jobs that are one training: those of one namespace."""
        sets: dict[Namespace, list[Job]] = {}
        for job in filter(Consolidation.is_training, waiting):
            sets.setdefault(job.namespace, []).append(job)
        return list(sets.values())

    def train(self, decided: Sequence[Job], end: End, goes_on: Callable[[], bool]) -> bool:
        """Train what was decided for one namespace, and keep it; whether that was done.

        Jobs that are neither done nor ended wait on. Raises what a trainer does.
        """
        path, standing = decided[0].namespace, self._standing()
        members, left = self._members(decided, standing.known.get(path, ()), end)
        if not left:
            return False
        known = standing.known.get(path, ())
        weighed = self._weighed(0.0, members, known, self._refused().get(path))
        checkpoint = self._underway.begin(str(path), self._trainer.key, _named(members))
        if not weighed.pays:
            self._underway.end(checkpoint)
            return _end_all(left, weighed.reason, end)
        try:
            new = self._learned(members, goes_on, checkpoint)
            if new is None:
                return False
            self._keep(path, new, members, left, standing.replaced.get(path, ()))
            self._underway.end(checkpoint)
        except (GateError, InvalidInputError) as error:
            self._refuse(path, members, str(error))
            return _end_all(left, str(error), end)
        except (CubeNotFoundError, VersionConflictError, Overtaken) as error:
            self._underway.end(checkpoint)  # it may have been written since they changed
            return _end_all(left, str(error), end)
        except Exception as error:  # what a trainer raises ends a set after some tries, and goes on
            if decided[0].attempts + 1 >= jobs.ATTEMPTS:
                self._refuse(path, members, f"{type(error).__name__}: {error}")
            raise
        crashpoints.reach("job-done")
        return True

    def drop(self, job: Job) -> None:
        """Delete the adapter that knows a memory; what else it knew is trained anew if it pays."""
        standing = self._standing()
        if job.cube_id in standing.known.get(job.namespace, ()):
            self._operator.delete(job.namespace, _SYSTEM, standing.ours[job.namespace].id)

    def _members(
        self, decided: Sequence[Job], known: Collection[str], end: End
    ) -> tuple[list[MemCube], list[Job]]:
        """What is trained, and the jobs that are about it; those overtaken are ended."""
        wanted = {cube.id: cube for cube in self._vault.heads([job.cube_id for job in decided])}
        left = []
        for job in decided:
            if job.cube_id not in wanted:
                end(job, "the memory is gone, or may not be shown any more")
            elif wanted[job.cube_id].created_at > job.at:
                end(job, "it was changed meanwhile")
            else:
                left.append(job)
        new = {job.cube_id: wanted[job.cube_id] for job in left}
        before = [one for one in self._vault.heads(known) if one.id not in new]
        return [*before, *new.values()], left

    def _learned(
        self, members: Sequence[MemCube], goes_on: Callable[[], bool], checkpoint: Path
    ) -> NewAdapter | None:
        """The adapter; ``None`` if nobody waits for it now: then the checkpoint stays."""
        versions = _versions(members)
        try:
            return self._trainer.learn(
                members, lambda: goes_on() and not self._vault.outdated(versions), checkpoint
            )
        except TrainingStopped:
            if not self._vault.outdated(versions):
                return None
            self._underway.end(checkpoint)
            raise Overtaken(_CHANGED) from None
        except Exception:  # whatever a trainer raises: it begins anew, if it is tried again
            self._underway.end(checkpoint)
            raise

    def _keep(
        self,
        path: Namespace,
        new: NewAdapter,
        members: Sequence[MemCube],
        done: Sequence[Job],
        replaces: Sequence[str],
    ) -> None:
        now = self._operator.now()

        def with_it(tx: sa.Connection) -> None:
            if self._vault.outdated_in(tx, _versions(members)):
                raise Overtaken(_CHANGED)
            jobs.forgive(tx, path)
            for job in done:
                jobs.end(tx, job.pk, "done", "", now)

        keep(self._operator, path, _SYSTEM, new, members, replaces=replaces, also=with_it)

    # What there is ------------------------------------------------------------------------

    def _standing(self) -> Standing:
        with self._vault.reading() as (tx, _):
            ids = lookups.of_type(tx, "parameter")
        cubes = [one for one in self._vault.heads(ids) if self._is_for_model(one)]
        cubes.sort(key=lambda one: one.id)
        asked = {(one.cube_id, one.version) for cube in cubes for one in sources_of(cube)}
        outdated = self._vault.outdated(asked)
        ours: dict[Namespace, MemCube] = {}
        replaced: dict[Namespace, list[str]] = {}
        known: dict[Namespace, tuple[str, ...]] = {}
        elsewhere: set[str] = set()
        for cube in cubes:
            sources = sources_of(cube)
            fresh = not any((one.cube_id, one.version) in outdated for one in sources)
            ids = [one.cube_id for one in sources] if fresh else []
            if cube.header.governance.owner != SYSTEM:
                elsewhere.update(ids)
                continue
            ours[cube.namespace], known[cube.namespace] = cube, tuple(ids)
            replaced.setdefault(cube.namespace, []).append(cube.id)
        return Standing(ours, replaced, known, frozenset(elsewhere))

    def _is_for_model(self, cube: MemCube) -> bool:
        payload = cube.payload
        return isinstance(payload, Parameter) and payload.model == self._trainer.model

    def _refused(self) -> dict[Namespace, tuple[str, str]]:
        with self._vault.reading() as (tx, _):
            return jobs.refused(tx)

    def _refuse(self, path: Namespace, members: Sequence[MemCube], why: str) -> None:
        key = self._key(members)

        def note(tx: sa.Connection) -> tuple[None, bool]:
            jobs.refuse(tx, path, key, why)
            return None, False

        self._vault.commit(note)

    def _key(self, members: Sequence[MemCube]) -> str:
        """What tells a training from others: the set, the model and how."""
        of = repr([self._trainer.key, sorted(_versions(members))])
        return hashlib.sha256(of.encode()).hexdigest()[:32]


def _not_yet(planner: Planner, cube_id: str) -> str:
    """What a memory lacks to be weighed at all."""
    memory, rules = planner.holding.get(cube_id), planner.rules
    if memory is None:
        return "it is not known yet"
    days, least = (planner.now - memory.changed_at) / DAY, rules.stable_for / DAY
    return (
        f"not weighed yet: used {memory.uses:g} of {rules.consolidate_uses:g} times, unchanged for "
        f"{days:.1f} of {least:g} days"
    )


def _versions(cubes: Sequence[MemCube]) -> set[tuple[str, int]]:
    return {(cube.id, cube.version) for cube in cubes}


def _named(cubes: Sequence[MemCube]) -> list[Source]:
    return [Source(cube.id, cube.version) for cube in cubes]


def _end_all(left: Sequence[Job], why: str, end: End) -> bool:
    for job in left:
        end(job, why)
    return False
