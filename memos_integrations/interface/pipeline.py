"""Pipelines: verbs composed as a small graph, run in one transaction by ``session.run``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memos_integrations.checks import check_text
from memos_integrations.errors import InvalidInputError
from memos_integrations.interface.pipelining.steps import (
    AUGMENT,
    REQUIRED,
    Step,
    checked_step,
    ordered,
)

if TYPE_CHECKING:
    from memos_integrations.interface.pipelining.yaml_files import Written

_OPTIONS = ("when", "after", "retries")


@dataclass(frozen=True)
class Pipeline:
    """Steps by name, and the inputs that a run of them is given. Immutable: a verb returns more.

    ::

        Pipeline("weekly digest", inputs=["topic"])
            .search("$topic", name="found", limit=20)
            .augment(summarise, name="words", notes="$found")
            .merge("$found", text="$words", name="digest")

    Each verb is called as on a session, with ``"$name"`` for an input or for what the step
    ``name`` gave; further options of each are ``name`` (the verb's, if not given), ``when``,
    ``after`` and ``retries``, see :class:`Step`. Raises :class:`InvalidInputError`
    for what no run could do.
    """

    name: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """Names with their defaults; a list of names: each run must give them."""
    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        check_text(self.name, what="pipeline name", max_bytes=200)
        given = self.inputs
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise InvalidInputError(f"inputs is {given!r}: give a list of names, or a dict")
        if not isinstance(given, Mapping):
            object.__setattr__(self, "inputs", dict.fromkeys(given, REQUIRED))
        for name in self.inputs:
            if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
                raise InvalidInputError(f"input {name!r}: use letters, digits and _")

    # The verbs ----------------------------------------------------------------------------

    def search(self, query: str, *, name: str = "search", **options: Any) -> Pipeline:
        """Find memories; gives hits."""
        return self._with("search", name, options, query=query)

    def get(self, memory: Any, *, name: str = "get", **options: Any) -> Pipeline:
        """Read one memory; gives it."""
        return self._with("get", name, options, memory=memory)

    def list(self, *, name: str = "list", **options: Any) -> Pipeline:
        """List memories; gives them."""
        return self._with("list", name, options)

    def count(self, *, name: str = "count", **options: Any) -> Pipeline:
        """Count memories; gives the number."""
        return self._with("count", name, options)

    def history(self, memory: Any, *, name: str = "history", **options: Any) -> Pipeline:
        """Read every version of a memory; gives them."""
        return self._with("history", name, options, memory=memory)

    def add(self, content: Any, *, name: str = "add", **options: Any) -> Pipeline:
        """Remember something; gives the new memories."""
        return self._with("add", name, options, content=content)

    def update(self, memory: Any, *, name: str = "update", **options: Any) -> Pipeline:
        """Write the next version of a memory; gives it."""
        return self._with("update", name, options, memory=memory)

    def append(self, memory: Any, text: str, *, name: str = "append", **options: Any) -> Pipeline:
        """Write the next version of a memory, with a further line; gives it."""
        return self._with("append", name, options, memory=memory, text=text)

    def merge(self, memories: Any, *, name: str = "merge", **options: Any) -> Pipeline:
        """Write one memory in place of several; gives it."""
        return self._with("merge", name, options, memories=memories)

    def extract(
        self,
        memories: Any,
        *,
        model: Any,
        name: str = "extract",
        retries: int = 1,
        **options: Any,
    ) -> Pipeline:
        """Have a language model write down the facts in memories; gives a report that holds them.

        ``model`` may be ``"$name"``, an input of the run. ``retries``: of its answers.
        """
        asked = {"memories": memories, "model": model, "retries": retries}
        return self._with("extract", name, options, **asked)

    def archive(self, memories: Any, *, name: str = "archive", **options: Any) -> Pipeline:
        """Take memories out of searches; gives them."""
        return self._with("archive", name, options, memories=memories)

    def restore(self, memories: Any, *, name: str = "restore", **options: Any) -> Pipeline:
        """Bring memories back; gives them."""
        return self._with("restore", name, options, memories=memories)

    def freeze(self, memories: Any, *, name: str = "freeze", **options: Any) -> Pipeline:
        """Let memories be read and not changed; gives them."""
        return self._with("freeze", name, options, memories=memories)

    def unfreeze(self, memories: Any, *, name: str = "unfreeze", **options: Any) -> Pipeline:
        """Let memories be changed again; gives them."""
        return self._with("unfreeze", name, options, memories=memories)

    def delete(self, memories: Any, *, name: str = "delete", **options: Any) -> Pipeline:
        """Take memories out of every read but their history."""
        return self._with("delete", name, options, memories=memories)

    def augment(
        self,
        function: Callable[..., Any] | str,
        *,
        name: str,
        when: str | None = None,
        after: Iterable[str] = (),
        retries: int = 0,
        **arguments: Any,
    ) -> Pipeline:
        """Call a function, such as one that asks a language model; gives what it returns.

        ``arguments`` are its own. It must have no side effect that matters: it is called again when
        what it is given has changed meanwhile, and in a dry run.
        """
        options = {**arguments, "when": when, "after": after, "retries": retries}
        return self._with(AUGMENT, name, options, function)

    def step(self, step: Step) -> Pipeline:
        """The same with one step more."""
        return replace(self, steps=(*self.steps, checked_step(step)))

    def _with(
        self, verb: str, name: str, options: dict[str, Any], function: Any = None, **needs: Any
    ) -> Pipeline:
        given = {key: value for key, value in options.items() if key not in _OPTIONS}
        after = options.get("after") or ()
        return self.step(
            Step(
                name,
                verb,
                {**needs, **given},
                function=function,
                when=options.get("when"),
                after=(after,) if isinstance(after, str) else tuple(after),
                retries=options.get("retries", 0),
            )
        )

    # As a whole ---------------------------------------------------------------------------

    def ordered(self) -> tuple[Step, ...]:
        """The steps in the order of a run: as written, each behind what it needs.

        Raises :class:`InvalidInputError` for unknown names, names used twice, and circles.
        """
        if not self.steps:
            raise InvalidInputError(f"the pipeline {self.name!r} has no steps")
        return tuple(ordered(self.steps, self.inputs))

    @property
    def writes(self) -> bool:
        """Whether a step of it changes memories."""
        return any(step.writes for step in self.steps)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Pipeline:
        """Read a pipeline from a YAML file; functions are in it by name.

        Raises :class:`InvalidInputError`, with the place, for what is none.
        """
        from memos_integrations.interface.pipelining.yaml_files import read_file

        return cls._of(read_file(path))

    @classmethod
    def parse(cls, text: str) -> Pipeline:
        """The same of YAML text."""
        from memos_integrations.interface.pipelining.yaml_files import read_text

        return cls._of(read_text(text))

    def mermaid(self) -> str:
        """As a Mermaid flowchart."""
        from memos_integrations.interface.pipelining.flowchart import flowchart, graph_of

        return flowchart(graph_of(self.inputs, self.ordered()))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Draw it into a ``.svg``, ``.png`` or ``.mmd`` (Mermaid) file; return the path.

        Pictures need the extra ``viewer`` (:class:`MissingExtraError`).
        """
        from memos_integrations.interface.pipelining.flowchart import graph_of
        from memos_integrations.interface.pipelining.pictures import save

        return save(graph_of(self.inputs, self.ordered()), path)

    @classmethod
    def _of(cls, written: Written) -> Pipeline:
        pipeline = cls(written.name, written.inputs)  # type: ignore[arg-type]
        for step in written.steps:
            pipeline = pipeline.step(step)
        pipeline.ordered()
        return pipeline
