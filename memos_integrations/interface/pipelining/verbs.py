"""The verbs that a pipeline knows: what each is given, and how a session does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from memos_integrations.checks import check_id
from memos_integrations.cube import MemCube
from memos_integrations.errors import InvalidInputError
from memos_integrations.interface.extraction import Extraction
from memos_integrations.query import Hit

Given = Mapping[str, Any]
Touched = tuple[tuple[str, int | None], ...]
"""Memories by id, each with its version; ``None`` for a deleted one."""


@dataclass(frozen=True)
class Verb:
    """One verb. ``do`` takes a session and the arguments."""

    kind: Literal["read", "write"]
    needs: tuple[str, ...]
    """Arguments that must be given."""
    takes: tuple[str, ...]
    """Arguments that may be."""
    do: Callable[[Any, dict[str, Any]], Any]
    asks: str = ""
    """Which of the arguments is a language model: it is asked outside of the transaction."""


def memories(value: object) -> list[str]:
    """The ids of memories, however they were handed on: ids, cubes or hits, one or many."""
    many = value if isinstance(value, list | tuple | Extraction) else [value]
    return list(dict.fromkeys(_id(one) for one in many))


def memory(value: object) -> str:
    """The id of one memory; a list must hold one."""
    found = memories(value)
    if len(found) != 1:
        raise InvalidInputError(f"memory: give one memory, not {len(found)}")
    return found[0]


def touched(output: object) -> Touched:
    """The memories in what a step gave."""
    many = output if isinstance(output, list | tuple | Extraction) else [output]
    cubes = [one.cube if isinstance(one, Hit) else one for one in many]
    return tuple((one.id, one.version) for one in cubes if isinstance(one, MemCube))


def _id(one: object) -> str:
    if isinstance(one, Hit):
        return one.cube.id
    return one.id if isinstance(one, MemCube) else check_id(one)


def _each(verb: str) -> Callable[[Any, dict[str, Any]], Any]:
    """A verb of one memory, done to each of many."""

    def do(session: Any, given: dict[str, Any]) -> Any:
        wanted = memories(given.pop("memories"))
        return [getattr(session, verb)(one, **given) for one in wanted]

    return do


def _one(verb: str) -> Callable[[Any, dict[str, Any]], Any]:
    return lambda session, given: getattr(session, verb)(memory(given.pop("memory")), **given)


def _plain(verb: str) -> Callable[[Any, dict[str, Any]], Any]:
    return lambda session, given: getattr(session, verb)(**given)


def _extract(session: Any, given: dict[str, Any]) -> Extraction:
    report: Extraction = session.extract(memories=memories(given.pop("memories")), **given)
    return report


def _merge(session: Any, given: dict[str, Any]) -> MemCube:
    made: MemCube = session.merge(memories(given.pop("memories")), **given)
    return made


_OF_ADD = ("event_time", "tags", "semantic_type", "origin", "speaker", "source", "metadata")
_OF_BOTH = ("priority", "expires_at", "access")
_OF_UPDATE = ("event_time", "tags", "semantic_type", "metadata", "expected_version")
_OF_EXTRACT = ("budget", "prompt", "together", "retries", "model_name")
_MANY = ("memories",)

VERBS: dict[str, Verb] = {
    "search": Verb(
        "read",
        ("query",),
        ("limit", "filters", "window", "memory_type", "min_score", "policy"),
        _plain("search"),
    ),
    "get": Verb("read", ("memory",), ("version",), _one("get")),
    "list": Verb("read", (), ("limit", "after", "filters"), _plain("list")),
    "count": Verb("read", (), ("filters",), _plain("count")),
    "history": Verb("read", ("memory",), (), _one("history")),
    "add": Verb("write", ("content",), (*_OF_ADD, *_OF_BOTH), _plain("add")),
    "update": Verb("write", ("memory",), ("text", *_OF_UPDATE, *_OF_BOTH), _one("update")),
    "append": Verb("write", ("memory", "text"), ("expected_version",), _one("append")),
    "merge": Verb("write", _MANY, ("text",), _merge),
    "extract": Verb("write", (*_MANY, "model"), _OF_EXTRACT, _extract, asks="model"),
    "archive": Verb("write", _MANY, ("reason",), _each("archive")),
    "restore": Verb("write", _MANY, ("expires_at",), _each("restore")),
    "freeze": Verb("write", _MANY, (), _each("freeze")),
    "unfreeze": Verb("write", _MANY, (), _each("unfreeze")),
    "delete": Verb("write", _MANY, (), _each("delete")),
}


def changed(verb: str, given: Given, output: object) -> Touched:
    """The memories that a step wrote or moved; a merge's sources are moved by it."""
    if verb == "delete":
        return tuple((one, None) for one in memories(given["memories"]))
    made = touched(output)
    if verb == "merge":
        made += tuple((one, None) for one in memories(given["memories"]))
    return made
