"""Every verb of a class in the audit log: what it read, or that it was refused.

What a verb changed is written with its commit; see :mod:`memos_integrations.infrastructure.audit`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from itertools import islice
from typing import Any, Protocol, TypeVar

from memos_integrations.checks import Namespace
from memos_integrations.cube import MemCube, Principal
from memos_integrations.errors import AccessDeniedError, CubeNotFoundError, LegalHoldError
from memos_integrations.infrastructure import audit
from memos_integrations.infrastructure.audit import CALL, Call, Fields
from memos_integrations.infrastructure.schema import to_micros
from memos_integrations.infrastructure.vault import MemVault

T = TypeVar("T")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


class Place(Protocol):
    """Who asks, and where."""

    principal: Principal

    @property
    def audited(self) -> tuple[MemVault, Namespace]:
        """The store as the principal sees it, and the namespace."""
        ...


def recorded(*, leave: Iterable[str], prefix: str = "") -> Callable[[type[T]], type[T]]:
    """A class decorator: all public methods are written down, but those to ``leave``.

    Async twins are not verbs of their own. A verb that another one calls is a part of that.
    """
    left = set(leave)

    def decorate(cls: type[T]) -> type[T]:
        for name in dir(cls):
            method = inspect.getattr_static(cls, name)
            if name.startswith("_") or name in left or not inspect.isfunction(method):
                continue
            if not inspect.iscoroutinefunction(method):
                setattr(cls, name, _recorded(prefix + name, method))
        return cls

    return decorate


def _recorded(verb: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: Place, *args: Any, **options: Any) -> Any:
        if CALL.get() is not None:
            return method(self, *args, **options)
        this = Call()
        token = CALL.set(this)
        try:
            result = method(self, *args, **options)
        except (AccessDeniedError, CubeNotFoundError, LegalHoldError) as error:
            _refused(self, verb, [*args, *options.values()], error)
            raise
        finally:
            CALL.reset(token)
        if not this.wrote and self.audited[0].audits_reads:
            _read(self, verb, [*args, *options.values()], result)
        return result

    return call


def _read(place: Place, verb: str, given: list[Any], result: Any) -> None:
    vault, path = place.audited
    entry = _entry(place, verb)
    scope = vault.sight().of(path)
    entry["decision"] = "denied" if scope.empty else "allowed"
    if vault.rules.enforced:
        entry |= audit.because(scope)
    shown = list(_memories(result))
    ids = {id for id, _ in shown}
    asked = [one for one in _memories(given) if one[0] not in ids]
    _name(entry, [*shown, *asked])
    if verb == "search" and given and isinstance(given[0], str):
        entry["question"] = vault.audit_mac(given[0])
    vault.note_reading(entry)


def _refused(place: Place, verb: str, given: list[Any], error: Exception) -> None:
    """What may not be known to be there is told apart here, and nowhere else."""
    vault, _ = place.audited
    entry, asked = _entry(place, verb), list(_memories(given))
    denied = not isinstance(error, CubeNotFoundError)
    hidden = not denied and vault.exist(id for id, _ in asked)
    entry["decision"] = "denied" if denied or hidden else "not found"
    if isinstance(error, LegalHoldError):
        entry["because"] = ["legal hold"]
    _name(entry, asked)
    vault.note_reading(entry, at_once=denied)


def _entry(place: Place, verb: str) -> Fields:
    vault, path = place.audited
    now = to_micros(vault.sight().now)
    entry = {"verb": verb, "who": place.principal.id, "at": now, "in": list(path)}
    return entry | (audit.context(vault.asker) if vault.asker is not None else {})


def _name(entry: Fields, memories: list[tuple[str, int]]) -> None:
    several = list(dict.fromkeys(memories))
    if several:
        entry["memories"] = [list(one) for one in islice(several, audit.MOST_IDS)]
    if len(several) > audit.MOST_IDS:
        entry["more"] = len(several) - audit.MOST_IDS


def _memories(found: Any, depth: int = 3) -> Iterator[tuple[str, int]]:
    """Memories in an argument or a result: by id, as cubes, as hits, in lists of these."""
    if isinstance(found, str):
        if _UUID.match(found):
            yield found, 0
    elif isinstance(found, MemCube):
        yield found.id, found.version
    elif isinstance(getattr(found, "cube", None), MemCube):  # a hit, a keyed memory, an adapter
        yield found.cube.id, found.cube.version
    elif isinstance(found, list | tuple | set | frozenset) and depth:
        for one in found:
            yield from _memories(one, depth - 1)
