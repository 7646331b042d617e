"""What a session can do with pipelines: run several verbs as one.

A run is one transaction, made in attempts. Inside of it nothing slow is done: where a step needs
a function's result or the vector of a text that is not known yet, the attempt is rolled back, that
is computed while nobody is held up, and the next attempt begins with it. The last one commits.
So every step sees what the earlier ones wrote, and all of it fits together, whoever else writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from time import perf_counter
from typing import Any, NoReturn

from memos_integrations.cube import Principal
from memos_integrations.errors import (
    InvalidInputError,
    MemOSError,
    PipelineConflictError,
    PipelineError,
    StoreError,
)
from memos_integrations.infrastructure.joined import read_together, write_together
from memos_integrations.infrastructure.records import Activity
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.interface.pipeline import Pipeline
from memos_integrations.interface.pipelining.attempt import Functions, Run, StepRun, attempt
from memos_integrations.interface.pipelining.memo import Known, KnownVectors, Needed, SameIds, Task
from memos_integrations.interface.pipelining.steps import AUGMENT, REQUIRED, Step
from memos_integrations.offload import offload
from memos_integrations.operation.operator import MemOperator
from memos_integrations.operation.rate import HeldCounts
from memos_integrations.protocols import Clock

MOST_CALLS = 8
"""How often a function is called because what it is given has changed meanwhile."""
MOST_TEXTS = 100
"""How often a step may need vectors that are not known yet."""


@dataclass(frozen=True)
class PipelineRun:
    """What became of a run. ``run["name"]`` is what the step ``name`` gave."""

    pipeline: str
    activity_id: str | None
    """In the log and in lineages; ``None``: nothing was written."""
    dry_run: bool
    steps: tuple[StepRun, ...]
    """In the order in which they were done."""
    seconds: float
    rounds: int
    """How many attempts it took, with the one that counts."""

    def __getitem__(self, step: str) -> Any:
        for one in self.steps:
            if one.name == step:
                return one.output
        raise InvalidInputError(f"the pipeline {self.pipeline!r} has no step {step!r}")


class _StoppedClock:
    """A run happens at one moment."""

    def __init__(self, moment: datetime) -> None:
        self._moment = moment

    def now(self) -> datetime:
        return self._moment


class _RunOperator(MemOperator):
    """An operator whose verbs are all the same activity."""

    run: Activity

    def activity(
        self, verb: str, who: Principal, key: str | None = None, drafts: object = ()
    ) -> Activity:
        """That of the run."""
        return self.run


class _Undone(Exception):
    """Rolls a dry run back, and carries what it would have done."""

    def __init__(self, steps: list[StepRun]) -> None:
        self.steps = steps


class PipelineVerbs:
    """The verb of pipelines; see :mod:`memos_integrations.interface.pipeline`."""

    principal: Principal
    _vault: MemVault
    _operator: MemOperator
    _clock: Clock

    def run(
        self,
        pipeline: Pipeline,
        inputs: Mapping[str, Any] | None = None,
        *,
        functions: Functions | None = None,
        dry_run: bool = False,
    ) -> PipelineRun:
        """Do all steps of a pipeline, or none: one transaction, one activity.

        ``inputs`` by name; ``functions``: those that a pipeline from a file names. A ``dry_run``
        does everything but the commit, calls of functions included. Watchers, indexes and caches
        hear of the run once it is committed.

        Raises :class:`PipelineError`, which names the step and has its error as ``__cause__``;
        :class:`PipelineConflictError` if what a step is given does not stand still;
        :class:`InvalidInputError` for inputs, functions and graphs that do not fit;
        :class:`StoreError`. After any of them the store is as it was.
        """
        if not isinstance(pipeline, Pipeline):
            raise InvalidInputError(f"pipeline is {pipeline!r}: give a Pipeline")
        steps = pipeline.ordered()
        values = _inputs(pipeline, {} if inputs is None else inputs)
        called = _functions(steps, {} if functions is None else functions)
        run = Run(pipeline.name, steps, values, called, Known(self._operator.embedder))
        if pipeline.writes:
            self._may_write()
            self._vault.flush_counters()  # none of them in the run's own transaction
        done = _Rounds(run).of(self._attempts(run, pipeline.writes, dry_run))
        if dry_run or not any(one.wrote for one in done.steps):
            return replace(done, dry_run=dry_run, activity_id=None)
        self._after_run()
        return done

    async def arun(
        self, pipeline: Pipeline, inputs: Mapping[str, Any] | None = None, **options: Any
    ) -> PipelineRun:
        """:meth:`run`, without blocking the event loop; its functions run in that thread, too."""
        return await offload(self.run, pipeline, inputs, **options)

    def _attempts(
        self, run: Run, writes: bool, dry_run: bool
    ) -> Callable[[], tuple[str, list[StepRun]]]:
        """What makes one attempt; each gets the same ids, the same moment and activity."""
        moment, made = self._clock.now(), list[str]()
        operator = self._operator
        begun = Activity(operator.new_id(), f"pipeline {run.pipeline}", self.principal.id, moment)
        activity = replace(begun, asker=self._vault.asker, joins=True)

        def inside(vault: MemVault, held: HeldCounts | None) -> list[StepRun]:
            inner = _RunOperator(
                vault,
                KnownVectors(operator.embedder.fingerprint, run.known),
                clock=_StoppedClock(moment),
                ids=SameIds(operator.new_id, made),
                policy=operator.policy,
                door=replace(operator.door, limiter=held),
            )
            inner.run = activity
            steps = attempt(run, self._inside(vault, inner, _StoppedClock(moment)))
            if dry_run:
                raise _Undone(steps)
            return steps

        def once() -> tuple[str, list[StepRun]]:
            together = write_together if writes else read_together
            limiter = operator.door.limiter
            held = None if limiter is None else HeldCounts(limiter)
            try:
                steps = together(self._vault, lambda vault: inside(vault, held))
            except _Undone as undone:
                return activity.id, undone.steps
            if held is not None:
                held.settle(moment)
            return activity.id, steps

        return once

    def _inside(self, vault: MemVault, operator: MemOperator, clock: Clock) -> Any:
        """This session inside of a transaction."""
        raise NotImplementedError

    def _may_write(self) -> None:
        """Refuse, if nothing can be written in this session."""

    def _after_run(self) -> None:
        """Something was written."""


class _Rounds:
    """Attempts, and between them what they need."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._seconds: dict[str, float] = {}
        self._tries, self._asked = Counter[str](), Counter[str]()

    def of(self, once: Callable[[], tuple[str, list[StepRun]]]) -> PipelineRun:
        """Attempt until nothing is missing."""
        begun, rounds = perf_counter(), 0
        while True:
            rounds += 1
            try:
                activity_id, steps = once()
            except Needed as needed:
                for task in needed.tasks:
                    self._compute(task)
                continue
            told = tuple(self._with_work(one) for one in steps)
            seconds = perf_counter() - begun
            return PipelineRun(self._run.pipeline, activity_id, False, told, seconds, rounds)

    def _compute(self, task: Task) -> None:
        name = task.step
        step = next(one for one in self._run.steps if one.name == name)
        self._asked[name] += 1
        most = MOST_CALLS if task.by_function else MOST_TEXTS
        if self._asked[name] > most:
            why = f"what it is given changed {most} times while it was at work"
            raise PipelineConflictError(self._run.pipeline, name, why)
        begun = perf_counter()
        for left in range(step.retries, -1, -1):
            self._tries[name] += 1
            try:
                self._run.known.learn(task.compute())
                break
            except StoreError:
                raise
            except Exception as error:  # noqa: BLE001 - a caller's function may raise anything
                if not left:
                    self._fail(name, error)
        self._seconds[name] = self._seconds.get(name, 0.0) + perf_counter() - begun

    def _fail(self, name: str, error: Exception) -> NoReturn:
        what = "" if isinstance(error, MemOSError) else f"{type(error).__name__}: "
        tries = self._tries[name]
        often = f" (tried {tries} times)" if tries > 1 else ""
        raise PipelineError(self._run.pipeline, name, f"{what}{error}{often}") from error

    def _with_work(self, one: StepRun) -> StepRun:
        tries, seconds = self._tries[one.name], self._seconds.get(one.name, 0.0)
        return replace(one, attempts=max(one.attempts, tries), seconds=one.seconds + seconds)


def _inputs(pipeline: Pipeline, given: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise InvalidInputError(f"inputs is {given!r}: give a dict")
    unknown = [name for name in given if name not in pipeline.inputs]
    if unknown:
        known = ", ".join(pipeline.inputs) or "none"
        raise InvalidInputError(f"the pipeline takes no input {unknown[0]!r}; it takes: {known}")
    values = {**pipeline.inputs, **given}
    missing = [name for name, value in values.items() if value is REQUIRED]
    if missing:
        raise InvalidInputError(f"the input {missing[0]!r} is missing: give inputs={{...}}")
    return values


def _functions(steps: tuple[Step, ...], given: Functions) -> dict[str, Callable[..., Any]]:
    """By step: what it calls."""
    found: dict[str, Callable[..., Any]] = {}
    for step in steps:
        if step.verb != AUGMENT:
            continue
        function = given.get(step.function) if isinstance(step.function, str) else step.function
        if not callable(function):
            raise InvalidInputError(
                f"step {step.name!r} calls {step.function!r}: give functions={{"
                f"{step.function!r}: ...}}"
            )
        found[step.name] = function
    return found
