"""MemLifecycle: the one table of states and the ways between them (MemOS, section 5.3.2).

A state is kept beside the versions of a memory: to be used, archived or frozen changes no word of
it. Every change of state is an activity of somebody, with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from memos_integrations.checks import Namespace
from memos_integrations.cube import MemCube, Principal, State
from memos_integrations.errors import IllegalTransitionError, InvalidInputError
from memos_integrations.infrastructure.records import Activity
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.protocols import Clock

NewActivity = Callable[[str, Principal], Activity]

_LIVING = (State.GENERATED, State.ACTIVATED)


@dataclass(frozen=True)
class Transition:
    """One way from some states to another."""

    verb: str
    """The provenance activity, and the name of the call."""
    sources: tuple[State, ...]
    target: State
    actor: str
    """Who takes it: the ``user`` by a call, or the ``system`` by itself."""
    guard: str
    """What must hold besides the state."""


TRANSITIONS = (
    Transition("activate", (State.GENERATED,), State.ACTIVATED, "system", "its first use"),
    Transition("merge", _LIVING, State.MERGED, "user, system", "another memory says it now"),
    Transition("archive", _LIVING, State.ARCHIVED, "user, system", "cold, or asked for"),
    Transition(
        "expire", (*_LIVING, State.ARCHIVED), State.EXPIRED, "system", "its lifespan is over"
    ),
    Transition(
        "restore",
        (State.ARCHIVED, State.MERGED, State.EXPIRED),
        State.ACTIVATED,
        "user, system",
        "an expired one gets a new lifespan",
    ),
    Transition("freeze", _LIVING, State.FROZEN, "user", "asked for"),
    Transition("unfreeze", (State.FROZEN,), State.ACTIVATED, "user", "asked for"),
)
"""All of them. What is not here is illegal."""

_BY_VERB = {one.verb: one for one in TRANSITIONS}
TARGETS = {one.verb: one.target for one in TRANSITIONS}
"""Where each verb leads."""


def after(verb: str, cube_id: str, state: State) -> State:
    """The state that ``verb`` leads to; :class:`IllegalTransitionError` if it leads nowhere."""
    transition = _BY_VERB[verb]
    if state not in transition.sources:
        raise IllegalTransitionError(cube_id, verb, state.value, [t.verb for t in legal(state)])
    return transition.target


def legal(state: State) -> list[Transition]:
    """The ways out of a state."""
    return [one for one in TRANSITIONS if state in one.sources]


def is_over(cube: MemCube, now: datetime) -> bool:
    """The guard of ``expire``: whether the lifespan has ended."""
    ends = cube.header.governance.expires_at
    return ends is not None and ends <= now


def mermaid() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> generated: add"]
    for one in TRANSITIONS:
        lines += [f"    {source} --> {one.target}: {one.verb}" for source in one.sources]
    return "\n".join(lines)


class MemLifecycle:
    """The table at work. Thread-safe."""

    def __init__(self, vault: MemVault, *, clock: Clock, activity: NewActivity) -> None:
        self._vault, self._clock, self._activity = vault, clock, activity

    def move(
        self,
        path: Namespace,
        who: Principal,
        cube_ids: Sequence[str],
        verb: str,
        reason: str,
        *,
        lifespan: datetime | None = None,
        leave_others: bool = False,
    ) -> list[MemCube]:
        """Take memories along one way of the table, all or none; return them as they are now.

        ``leave_others``: those whose state allows it, and the others stay as they are.
        """
        if not cube_ids:
            return []

        def target(cube: MemCube) -> State:
            if leave_others and cube.state not in _BY_VERB[verb].sources:
                return cube.state
            if verb == "expire" and not is_over(cube, self._clock.now()):
                return cube.state  # a use has prolonged it meanwhile
            state = after(verb, cube.id, cube.state)
            ends = lifespan or cube.header.governance.expires_at
            if verb == "restore" and ends is not None and ends <= self._clock.now():
                raise InvalidInputError(
                    f"the lifespan of memory {cube.id} ended on {ends.isoformat()}: restore it "
                    "with a later expires_at"
                )
            return state

        activity = self._activity(verb, who)
        return self._vault.transition(path, activity, cube_ids, target, reason, lifespan)
