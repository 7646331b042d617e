"""One attempt at a pipeline: every step in order, over a session inside of a transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from memos_integrations.errors import MemOSError, PipelineError, StoreError
from memos_integrations.interface.pipelining.asked import Outside
from memos_integrations.interface.pipelining.memo import Known, Needed, signature
from memos_integrations.interface.pipelining.steps import AUGMENT, Step, resolved
from memos_integrations.interface.pipelining.verbs import VERBS, Touched, changed, touched

Functions = Mapping[str, Callable[..., Any]]
"""By step: what an ``augment`` step calls."""


@dataclass(frozen=True)
class StepRun:
    """What became of one step."""

    name: str
    verb: str
    output: Any
    """What it gave; ``None`` if it was skipped."""
    read: Touched
    """The memories that it was given or found: id and version."""
    wrote: Touched
    """The memories that it made, changed or moved: id, and version where it says one."""
    skipped: bool
    seconds: float
    """What it took, with all attempts of its function and of embedding its texts."""
    attempts: int
    """How often its slow part was tried; 1 for a step without one."""


@dataclass(frozen=True)
class Run:
    """What all attempts of one run share."""

    pipeline: str
    steps: Sequence[Step]
    inputs: Mapping[str, Any]
    functions: Functions
    known: Known
    """What was computed outside of the transaction."""


def attempt(run: Run, session: Any) -> list[StepRun]:
    """Do every step; raises :class:`Needed`, or a :class:`PipelineError` that names the step."""
    known, skipped, done = dict(run.inputs), set[str](), list[StepRun]()
    run.known.begin()
    for step in run.steps:
        run.known.step, begun = step.name, perf_counter()
        if _is_skipped(step, known, skipped):
            skipped.add(step.name)
            known[step.name] = None
            done.append(StepRun(step.name, step.verb, None, (), (), True, 0.0, 0))
            continue
        given = {name: resolved(value, known) for name, value in step.arguments.items()}
        output = known[step.name] = _done(run, session, step, given)
        read, wrote = _report(step, given, output)
        seconds = perf_counter() - begun
        done.append(StepRun(step.name, step.verb, output, read, wrote, False, seconds, 1))
    run.known.end()
    return done


def _is_skipped(step: Step, known: Mapping[str, Any], skipped: set[str]) -> bool:
    """Its condition does not hold, or it uses what a skipped step would have given."""
    if step.when is not None and not known[step.when]:
        return True
    return any(name in skipped for name in step.uses)


def _done(run: Run, session: Any, step: Step, given: dict[str, Any]) -> Any:
    try:
        if step.verb == AUGMENT:
            return _called(run, step, given)
        verb = VERBS[step.verb]
        told = dict(given)
        if verb.asks:
            told[verb.asks] = Outside(run.known, told[verb.asks], told.pop("model_name", None))
        return verb.do(session, told)
    except (Needed, StoreError):
        raise  # of the attempt, of the whole store: no step has failed
    except MemOSError as error:
        raise PipelineError(run.pipeline, step.name, str(error)) from error


def _called(run: Run, step: Step, given: dict[str, Any]) -> Any:
    function, key = run.functions[step.name], ("function", step.name, signature(given))
    # What it is given is kept: an object's signature is good for as long as it lives.
    return run.known.result(key, lambda: (function(**given), given), by_function=True)[0]


def _report(step: Step, given: Mapping[str, Any], output: Any) -> tuple[Touched, Touched]:
    handed = [one for value in given.values() for one in touched(value)]
    if step.writes:
        return _once(handed), _once(changed(step.verb, given, output))
    found = touched(output) if step.verb != AUGMENT else ()
    return _once([*handed, *found]), ()


def _once(many: Sequence[tuple[str, int | None]]) -> Touched:
    return tuple(dict.fromkeys(many))
