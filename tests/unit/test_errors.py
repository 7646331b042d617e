"""The error tree: as drawn, typed, and able to travel."""

from __future__ import annotations

import builtins
import copy
import inspect
import pickle
import re
from collections.abc import Callable

import pytest

from memos_integrations import errors
from memos_integrations.errors import (
    BranchConflictError,
    CubeNotFoundError,
    IllegalTransitionError,
    MemOSError,
    PipelineError,
    RateLimitError,
    SensitiveContentError,
    VersionConflictError,
)

Kind = type[MemOSError]

ERRORS: dict[str, Kind] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, MemOSError)
}
WITH_PARTS = (
    VersionConflictError,
    IllegalTransitionError,
    BranchConflictError,
    SensitiveContentError,
    RateLimitError,
)
LINE = re.compile(r"^(?P<branch>[ │├└─]*)(?P<name>\w+Error)\b(?: \((?P<builtin>\w+)\))?", re.M)


def drawn() -> dict[str, tuple[str | None, str | None]]:
    """Each error of the docstring's tree: its parent there, and the builtin in brackets."""
    tree: dict[str, tuple[str | None, str | None]] = {}
    open_branches: list[str] = []
    for line in LINE.finditer(errors.__doc__ or ""):
        depth = len(line["branch"]) // 4 - 1  # the tree itself is indented by one step
        del open_branches[depth:]
        tree[line["name"]] = (open_branches[-1] if open_branches else None, line["builtin"])
        open_branches.append(line["name"])
    return tree


def test_every_error_is_drawn_and_every_drawn_error_is_there() -> None:
    assert list(drawn()) == list(ERRORS)


@pytest.mark.parametrize(("name", "parent", "builtin"), [(n, *of) for n, of in drawn().items()])
def test_each_error_has_the_bases_that_are_drawn(
    name: str, parent: str | None, builtin: str | None
) -> None:
    wanted = [ERRORS[parent] if parent else Exception]
    if builtin:
        wanted.append(getattr(builtins, builtin))
    assert list(ERRORS[name].__bases__) == wanted


def made(kind: Kind) -> MemOSError:
    if kind is VersionConflictError:
        return VersionConflictError("7", expected=1, actual=2)
    if kind is IllegalTransitionError:
        return IllegalTransitionError("7", "restore", "frozen", ["unfreeze"])
    if kind is BranchConflictError:
        return BranchConflictError("what if", ["7 became this and that"])
    if issubclass(kind, PipelineError):
        return kind("digest", "merge", "it's what to do")
    if kind is SensitiveContentError:
        return SensitiveContentError("card", "text, characters 3 to 9")
    if kind is RateLimitError:
        return RateLimitError("maya", 1.5)
    return kind("it's what to do")


@pytest.mark.parametrize("kind", ERRORS.values(), ids=ERRORS)
def test_each_error_is_documented_and_no_runtime_error(kind: Kind) -> None:
    assert inspect.getdoc(kind) != inspect.getdoc(kind.__bases__[0])
    assert not issubclass(kind, RuntimeError), "LlamaIndex retries those"


@pytest.mark.parametrize(
    "kind",
    [k for k in ERRORS.values() if k not in WITH_PARTS and not issubclass(k, PipelineError)],
)
def test_a_message_is_printed_as_it_is(kind: Kind) -> None:
    assert str(made(kind)) == "it's what to do"


@pytest.mark.parametrize("again", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
@pytest.mark.parametrize("kind", ERRORS.values(), ids=ERRORS)
def test_errors_travel_between_processes(
    kind: Kind, again: Callable[[MemOSError], MemOSError]
) -> None:
    error = made(kind)
    error.add_note("while testing")
    arrived = again(error)
    assert type(arrived) is kind
    assert (str(arrived), arrived.args) == (str(error), error.args)


def test_a_version_conflict_keeps_its_numbers() -> None:
    conflict = pickle.loads(pickle.dumps(VersionConflictError("7", expected=1, actual=2)))
    assert (conflict.cube_id, conflict.expected, conflict.actual) == ("7", 1, 2)
    assert "is at version 2, not 1" in str(conflict)


def test_an_error_may_be_caught_as_its_builtin() -> None:
    with pytest.raises(KeyError) as caught:
        raise CubeNotFoundError("no memory 7")
    assert str(caught.value) == "no memory 7", "without the quotes of a KeyError"
