"""Pipelines in YAML: data alone, no code; everything unknown is refused with its place."""

from __future__ import annotations

import os
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from memos_integrations.errors import InvalidInputError
from memos_integrations.interface.pipelining.steps import Step

MOST_BYTES = 1_000_000


class _StepForm(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str | None = None
    verb: str
    function: str | None = None
    given: dict[str, Any] = Field(default_factory=dict, alias="with")
    when: str | None = None
    after: list[str] = []
    retries: int = 0


class _PipelineForm(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    inputs: list[str] | dict[str, Any] = []
    steps: list[_StepForm]


@dataclass(frozen=True)
class Written:
    """What a file says."""

    name: str
    inputs: list[str] | dict[str, Any]
    steps: list[Step]


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, without what hides something: aliases and keys given twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node; an alias is none, since a few lines of them can stand for gigabytes."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not allowed", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping; of a key that is given twice, one would be lost."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key, _ in node.value:
            if keys.count(key.value) > 1:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark
                )
        return super().construct_mapping(node, deep)


def read_file(path: str | os.PathLike[str]) -> Written:
    """The pipeline in a file."""
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidInputError(f"{path} is not in UTF-8") from None
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}") from None
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"path is {path!r}: give the path of a file") from error
    if len(raw) > MOST_BYTES:
        raise InvalidInputError(f"{path} is larger than {MOST_BYTES:,} bytes: no pipeline")
    return read_text(text, str(path))


def read_text(text: str, where: str = "the pipeline") -> Written:
    """The pipeline in a text."""
    form = _form(_parsed(text, where), where)
    return Written(form.name, form.inputs, [_step(one) for one in form.steps])


def _step(form: _StepForm) -> Step:
    return Step(
        form.name or form.verb,
        form.verb,
        form.given,
        function=form.function,
        when=form.when,
        after=tuple(form.after),
        retries=form.retries,
    )


def _parsed(text: str, where: str) -> Any:
    if not isinstance(text, str) or len(text) > MOST_BYTES:
        raise InvalidInputError(f"{where}: give YAML text of at most {MOST_BYTES:,} characters")
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise InvalidInputError(f"{where} is no YAML that is accepted: {said}") from None
    except RecursionError:
        raise InvalidInputError(f"{where} is nested too deeply") from None
    except (ValueError, TypeError, OverflowError) as error:  # such as the date 2026-02-31
        raise InvalidInputError(f"{where} holds a value that is none: {error}") from None


def _form(raw: Any, where: str) -> _PipelineForm:
    try:
        return _PipelineForm.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidInputError(
            f"{where}: {place or 'at the top'}: {first['msg']}. A pipeline has name, inputs and "
            "steps; a step has name, verb, function, with, when, after and retries"
        ) from None
