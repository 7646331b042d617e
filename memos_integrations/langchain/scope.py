"""Whose memory a run uses: a session, or the one that the run's context names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from string import Formatter
from typing import Any
from uuid import UUID

from langgraph.config import get_config

from memos_integrations.errors import InvalidInputError
from memos_integrations.memos import MemOS
from memos_integrations.session import MemorySession

NamespaceOf = str | Sequence[str] | Callable[[Any], "MemorySession | str | Sequence[str]"]
"""``"{user_id}"``, ``("acme", "{user_id}")``, or what returns a namespace or a session of a run."""


class Scope:
    """Finds the session of a run.

    Fields of a template are looked up in the runtime context, then under ``configurable`` in the
    config. Who writes is the last part of the namespace.
    """

    def __init__(self, memory: MemOS | MemorySession, namespace: NamespaceOf | None) -> None:
        if not isinstance(memory, MemOS | MemorySession):
            raise InvalidInputError(
                f"memory is a {type(memory).__name__}: give a MemOS, or a session of it"
            )
        if isinstance(memory, MemorySession) and namespace is not None:
            raise InvalidInputError(
                "a session has its namespace: give the MemOS itself with namespace="
            )
        self._memory = memory
        self._namespace: Any = ("{user_id}",) if namespace is None else namespace
        if not callable(self._namespace):
            self._namespace = _parts(self._namespace)
            for part in self._namespace:
                _fields(part)

    @property
    def is_fixed(self) -> bool:
        """Whether every run has the same session."""
        return isinstance(self._memory, MemorySession)

    def session(self, runtime: Any) -> MemorySession:
        """The session of a run; :class:`InvalidInputError` if the run does not say whose."""
        if isinstance(self._memory, MemorySession):
            return self._memory
        namespace: Any = self._namespace
        if callable(namespace):
            namespace = namespace(runtime)
            if isinstance(namespace, MemorySession):
                return namespace
            parts = _parts(namespace)
        else:
            parts = tuple(_filled(part, runtime) for part in namespace)
        return self._memory.session(parts[-1], namespace=parts)


def _parts(namespace: Any) -> tuple[str, ...]:
    if isinstance(namespace, str):
        return (namespace,)
    listed = isinstance(namespace, list | tuple) and len(namespace) > 0
    if listed and all(isinstance(part, str) for part in namespace):
        return tuple(namespace)
    raise InvalidInputError(
        f"the namespace of a run is {namespace!r}: give a string, a tuple of strings or a session"
    )


def _fields(part: str) -> list[tuple[str, str | None]]:
    """Plain text and the name of the field after it, in turn."""
    try:
        return [(text, name) for text, name, _, _ in Formatter().parse(part)]
    except ValueError as error:
        raise InvalidInputError(f"the namespace template {part!r}: {error}") from None


def _filled(part: str, runtime: Any) -> str:
    filled = ""
    for text, name in _fields(part):
        filled += text
        if name is not None:
            filled += _value(name, runtime)
    return filled


def _value(name: str, runtime: Any) -> str:
    context = getattr(runtime, "context", None)
    value = _look(context, name)
    if value is None:
        value = _look(_configurable(runtime), name)
    if isinstance(value, int | UUID) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise InvalidInputError(
            f"the memory's namespace needs {name!r}, and this run has none: invoke with "
            f"context={{{name!r}: ...}} or config={{'configurable': {{{name!r}: ...}}}}"
        )
    return value


def _look(container: Any, name: str) -> Any:
    if isinstance(container, Mapping):
        return container.get(name)
    return getattr(container, name, None)


def _configurable(runtime: Any) -> Any:
    config = getattr(runtime, "config", None)
    if config is None:
        try:
            config = get_config()
        except RuntimeError:  # outside of a run
            return None
    return config.get("configurable")


def thread_of(runtime: Any) -> str:
    """The conversation's id; empty without a checkpointer."""
    info = getattr(runtime, "execution_info", None)
    thread = getattr(info, "thread_id", None) or _look(_configurable(runtime), "thread_id")
    return str(thread) if thread else ""
