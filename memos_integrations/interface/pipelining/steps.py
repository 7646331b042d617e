"""A step of a pipeline, and the order that references put steps in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import networkx as nx

from memos_integrations.errors import InvalidInputError
from memos_integrations.interface.pipelining.verbs import VERBS

AUGMENT: Final = "augment"
"""The verb of steps that are functions of the caller's."""
MOST_STEPS = 200
MOST_RETRIES = 20

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_REFERENCE = re.compile(r"\$(?P<name>[A-Za-z_][A-Za-z0-9_]*)")


class _Required:
    """Marks an input that a run must be given."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = _Required()


@dataclass(frozen=True)
class Step:
    """One verb, or one function, with what it is given.

    A string ``"$name"`` among the arguments stands for an input or for what the step of that name
    gave; ``"$$name"`` is the text ``$name``.
    """

    name: str
    verb: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    function: Any = None
    """Of an ``augment`` step: a callable, or its name among the functions that a run is given."""
    when: str | None = None
    """An input or step: if that is empty, false or was skipped, this step is skipped."""
    after: tuple[str, ...] = ()
    """Steps that come first, though nothing of theirs is used."""
    retries: int = 0
    """How often its function, or the embedding of its text, is tried again."""

    @property
    def writes(self) -> bool:
        """Whether it changes memories."""
        return self.verb != AUGMENT and VERBS[self.verb].kind == "write"

    @property
    def uses(self) -> tuple[str, ...]:
        """The names that its arguments refer to."""
        return tuple(dict.fromkeys(_references(dict(self.arguments))))

    @property
    def needs(self) -> tuple[str, ...]:
        """All names that must be known before it."""
        more = () if self.when is None else (self.when,)
        return tuple(dict.fromkeys((*self.uses, *more, *self.after)))


def checked_step(step: Step) -> Step:
    """The step, if it can be one; :class:`InvalidInputError` says what is wrong with it."""
    after = tuple(_bare(one) for one in step.after)
    step = replace(step, when=_bare(step.when), after=after)
    if not isinstance(step.name, str) or not _NAME.fullmatch(step.name):
        raise InvalidInputError(
            f"step name {step.name!r}: use letters, digits and _, at most 64, no digit first"
        )
    where = f"step {step.name!r}"
    if type(step.retries) is not int or not 0 <= step.retries <= MOST_RETRIES:
        raise InvalidInputError(f"{where}: retries is {step.retries!r}: use 0 to {MOST_RETRIES}")
    if step.when is not None and not _NAME.fullmatch(str(step.when)):
        raise InvalidInputError(f"{where}: when is {step.when!r}: name an input or a step")
    if not isinstance(step.arguments, Mapping) or not all(map(_is_name, step.arguments)):
        raise InvalidInputError(f"{where}: give its arguments by name")
    if step.verb == AUGMENT:
        if not callable(step.function) and not _is_name(step.function):
            raise InvalidInputError(f"{where}: give a function, or the name of one")
        return step
    if not isinstance(step.verb, str) or step.verb not in VERBS:
        raise InvalidInputError(
            f"{where}: there is no verb {step.verb!r}: use one of {', '.join(VERBS)} or {AUGMENT}"
        )
    if step.function is not None:
        raise InvalidInputError(f"{where}: only {AUGMENT} takes a function")
    _check_arguments(step, where)
    return step


def _check_arguments(step: Step, where: str) -> None:
    verb = VERBS[step.verb]
    known = (*verb.needs, *verb.takes)
    unknown = [one for one in step.arguments if one not in known]
    if unknown:
        raise InvalidInputError(
            f"{where}: {step.verb} takes no {unknown[0]!r}: use {', '.join(known) or 'nothing'}"
        )
    missing = [one for one in verb.needs if one not in step.arguments]
    if missing:
        raise InvalidInputError(f"{where}: {step.verb} needs {missing[0]!r}")


def ordered(steps: Sequence[Step], inputs: Mapping[str, Any]) -> list[Step]:
    """The steps as written, each moved behind what it needs.

    Raises :class:`InvalidInputError` for a name that is used twice or unknown, and for a circle.
    """
    if len(steps) > MOST_STEPS:
        raise InvalidInputError(f"{len(steps)} steps are too many: use at most {MOST_STEPS}")
    place: dict[str, int] = {}
    for number, step in enumerate(steps):
        if step.name in place or step.name in inputs:
            raise InvalidInputError(f"the name {step.name!r} is used twice: give name=")
        place[step.name] = number
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(place)
    for step in steps:
        for name in step.needs:
            if name not in place and (name not in inputs or name in step.after):
                known = ", ".join([*inputs, *(one for one in place if one != step.name)])
                raise InvalidInputError(
                    f"step {step.name!r} needs {name!r}, which is no input and no step: "
                    f"there is {known or 'nothing'}"
                )
            if name in place:
                graph.add_edge(name, step.name)
    if not nx.is_directed_acyclic_graph(graph):
        circle = [edge[0] for edge in nx.find_cycle(graph)]
        raise InvalidInputError(f"steps wait for each other: {' -> '.join([*circle, circle[0]])}")
    order = nx.lexicographical_topological_sort(graph, key=lambda name: place[name])
    return [steps[place[name]] for name in order]


def resolved(value: Any, known: Mapping[str, Any]) -> Any:
    """An argument with what its references stand for."""
    if isinstance(value, str):
        match = _REFERENCE.fullmatch(value)
        if match:
            return known[match["name"]]
        return value[1:] if value.startswith("$$") else value
    if isinstance(value, Mapping):
        return {key: resolved(one, known) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [resolved(one, known) for one in value]
    return value


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        match = _REFERENCE.fullmatch(value)
        if match:
            yield match["name"]
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _references(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _references(one)


def _bare(name: Any) -> Any:
    """A name, also if it was written as a reference."""
    return name.removeprefix("$") if isinstance(name, str) else name


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None
