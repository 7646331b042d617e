"""LogQuery: who did what, when, to which memory (the paper's LogQuery API, section 5.2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from memos_integrations.checks import Namespace, check_id, check_time
from memos_integrations.errors import InvalidInputError
from memos_integrations.infrastructure import activity_log
from memos_integrations.infrastructure.activity_log import LogEntry
from memos_integrations.infrastructure.vault import MemVault

MOST = 10_000
"""The most entries of one page."""


@dataclass(frozen=True)
class LogQuery:
    """Which activities; all conditions must hold."""

    since: datetime | None = None
    """At this time or later."""
    until: datetime | None = None
    """Before this time."""
    principals: tuple[str, ...] = ()
    """By one of these; empty: by anybody."""
    verbs: tuple[str, ...] = ()
    """One of these: ``add``, ``update``, ``put``, ``delete``, ``merge``, ``archive`` and so on."""
    memory_id: str | None = None
    """Touching this memory."""
    semantic_types: tuple[str, ...] = ()
    """Touching a memory of one of these types: ``fact``, ``preference`` and so on."""
    below: bool = False
    """Also in the namespaces below."""
    limit: int = 100
    after: str | None = None
    """The id of the last entry of the page before."""

    @classmethod
    def checked(
        cls,
        *,
        since: datetime | None,
        until: datetime | None,
        principal: str | Iterable[str] | None,
        verb: str | Iterable[str] | None,
        memory_id: str | None,
        semantic_type: str | Iterable[str] | None,
        below: bool,
        limit: int,
        after: str | None,
    ) -> LogQuery:
        """What a caller gave; :class:`InvalidInputError` for what cannot be asked."""
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST:
            raise InvalidInputError(f"limit is {limit!r}: give a number from 1 to {MOST:,}")
        if after is not None and not isinstance(after, str):
            raise InvalidInputError(f"after is {after!r}: give the id of a log entry")
        if not isinstance(below, bool):
            raise InvalidInputError(f"below is {below!r}: give True or False")
        return cls(
            since=None if since is None else check_time(since, what="since"),
            until=None if until is None else check_time(until, what="until"),
            principals=_words(principal, "principal"),
            verbs=_words(verb, "verb"),
            memory_id=None if memory_id is None else check_id(memory_id),
            semantic_types=_words(semantic_type, "semantic_type"),
            below=below,
            limit=limit,
            after=after,
        )


def _words(given: str | Iterable[str] | None, what: str) -> tuple[str, ...]:
    if given is not None and not isinstance(given, Iterable):
        raise InvalidInputError(f"{what} is {given!r}: give a string, or a list of strings")
    words = (given,) if isinstance(given, str) else tuple(given or ())
    if not all(isinstance(word, str) for word in words):
        raise InvalidInputError(f"{what} is {given!r}: give a string, or a list of strings")
    return words


def ask(
    vault: MemVault, path: Namespace, query: LogQuery, upto: int | None = None
) -> list[LogEntry]:
    """The entries of a namespace, newest first; none after the activity ``upto``."""
    with vault.snapshot(path) as view:
        spaces = [] if view.namespace is None else [view.namespace.pk]
        if query.below:
            spaces += [pk for pk, one in activity_log.below(view.tx, path) if _may(vault, one)]
        return activity_log.read(
            view.tx,
            spaces,
            limit=query.limit,
            after=query.after,
            since=query.since,
            until=query.until,
            principals=query.principals,
            verbs=query.verbs,
            memory_id=query.memory_id,
            types=query.semantic_types,
            upto=upto,
        )


def _may(vault: MemVault, path: Namespace) -> bool:
    """Whether who asks may read all of a namespace."""
    return vault.asker is None or vault.sight().of(path, "read").whole


def summarise(vault: MemVault, path: Namespace, hottest: int) -> dict[str, Any]:
    """Activities by verb, principal and day; memories by state and day; use; the hottest.

    JSON-plain.
    """
    vault.flush_counters()
    with vault.snapshot(path) as view:
        if view.namespace is None:
            empty: dict[str, Any] = {"verbs": {}, "principals": {}, "days": {}, "states": {}}
            return {**empty, "use": {}, "hit_rates": {}, "growth": {}, "hottest": []}
        counts: dict[str, Any] = activity_log.summary(view.tx, view.namespace.pk)
        counts["use"] = activity_log.usage_summary(view.tx, view.namespace.pk)
        counts["hit_rates"] = activity_log.hit_rates(view.tx, view.namespace.pk)
        counts["growth"] = activity_log.growth(view.tx, view.namespace.pk)
    states: dict[str, int] = {}
    hot: list[tuple[float, str, int, str]] = []
    after: str | None = None
    while True:
        with vault.snapshot(path) as view:
            page = view.page((), 1_000, after)
        for cube in page:
            states[cube.state.value] = states.get(cube.state.value, 0) + 1
            use = cube.header.behaviour
            if use.uses:
                hot.append((use.heat, cube.id, use.uses, cube.text))
        hot = sorted(hot, key=lambda one: (-one[0], one[1]))[:hottest]
        if len(page) < 1_000:
            break
        after = page[-1].id
    top = [{"id": id, "heat": round(h, 3), "uses": n, "text": text} for h, id, n, text in hot]
    return {**counts, "states": dict(sorted(states.items())), "hottest": top}
