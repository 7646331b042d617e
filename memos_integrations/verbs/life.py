"""What a session can do with the life of a memory, besides writing and reading it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from memos_integrations.checks import Namespace, check_id, check_text, check_time, check_version
from memos_integrations.cube import LEVELS, Draft, MemCube, Plaintext, Principal, State
from memos_integrations.errors import CubeNotFoundError, InvalidInputError, VersionConflictError
from memos_integrations.infrastructure.units import SYSTEM
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.memories.plaintext import embedding_text
from memos_integrations.models.checked import embed_checked
from memos_integrations.offload import offload
from memos_integrations.operation import lifecycle
from memos_integrations.operation.lifecycle import MemLifecycle
from memos_integrations.operation.operator import MemOperator


class LifeVerbs:
    """Verbs of the lifecycle; see :mod:`memos_integrations.operation.lifecycle` for the table."""

    principal: Principal
    namespace: Namespace
    _vault: MemVault
    _operator: MemOperator
    _lifecycle: MemLifecycle

    def append(self, id: str, text: str, *, expected_version: int | None = None) -> MemCube:
        """Write the next version of a memory, with ``text`` as a further line.

        Raises what :meth:`MemorySession.update` raises.
        """
        cube_id, addition = check_id(id), check_text(text)
        check_version(expected_version, "expected_version")
        for _ in range(8):
            before = self._read([cube_id])[0]
            if expected_version is not None and before.version != expected_version:
                raise VersionConflictError(
                    cube_id, expected=expected_version, actual=before.version
                )
            changes = {"text": check_text(f"{before.text}\n{addition}")}
            try:
                return self._operator.update(
                    self.namespace,
                    self.principal,
                    cube_id,
                    changes,
                    expected_version=before.version,
                )
            except VersionConflictError:
                if expected_version is not None:
                    raise
        raise VersionConflictError(cube_id, expected=before.version, actual=before.version + 1)

    async def aappend(self, id: str, text: str, **options: Any) -> MemCube:
        """:meth:`append` in a worker thread."""
        return await offload(self.append, id, text, **options)

    def merge(self, memories: Iterable[str | MemCube], text: str | None = None) -> MemCube:
        """Write one memory in place of several; return it.

        The sources stay readable, in the state ``merged``: searches leave them out, and the new
        memory's lineage names them. ``text``: what it says; by default the sources' texts, each
        once, in the order in which they were made. It keeps their tags, the newest event time, the
        highest priority and the lowest trust. Given as cubes, the sources must still be at those
        versions (:class:`VersionConflictError`); all or nothing.
        """
        alone = isinstance(memories, str | MemCube) or not isinstance(memories, Iterable)
        wanted = [] if alone else list(memories)
        if len({_id(one) for one in wanted}) < 2:
            raise InvalidInputError("merge() takes two memories or more, by id or as cubes")
        sources = sorted(self._read(list(dict.fromkeys(map(_id, wanted)))), key=lambda one: one.id)
        seen = {one.id: one.version for one in wanted if isinstance(one, MemCube)}
        for one in sources:
            if one.version != seen.get(one.id, one.version):
                raise VersionConflictError(one.id, expected=seen[one.id], actual=one.version)
            lifecycle.after("merge", one.id, one.state)
        said = check_text(text) if text is not None else _joined(sources)
        activity = self._operator.activity("merge", self.principal)
        door, embedder = self._operator.door, self._operator.embedder
        [(draft, entry)] = door.admit([_merged(sources, said)], self.namespace)
        door.count(self.principal, 1, activity.at)
        cube = self._operator.cube(self.namespace, self.principal, draft, activity)
        return self._vault.derive(
            self.namespace,
            activity,
            cube,
            embed_checked(embedder, [embedding_text(cube)]),
            embedder.fingerprint,
            sources,
            lambda source: lifecycle.after("merge", source.id, source.state),
            also=door.beside([(cube, entry)]),
        )

    async def amerge(self, memories: Iterable[str | MemCube], text: str | None = None) -> MemCube:
        """:meth:`merge` in a worker thread."""
        return await offload(self.merge, memories, text)

    def archive(self, id: str, *, reason: str = "asked for") -> MemCube:
        """Take a memory out of searches; :meth:`restore` brings it back. It stays readable.

        Raises :class:`IllegalTransitionError`, :class:`CubeNotFoundError`.
        """
        return self._move(id, "archive", reason)

    async def aarchive(self, id: str, **options: Any) -> MemCube:
        """:meth:`archive` in a worker thread."""
        return await offload(self.archive, id, **options)

    def restore(self, id: str, *, expires_at: datetime | None = None) -> MemCube:
        """Bring an archived, merged or expired memory back into searches.

        An expired one needs a new ``expires_at``. Raises as :meth:`archive`.
        """
        lifespan = check_time(expires_at, what="expires_at") if expires_at is not None else None
        return self._move(id, "restore", "asked for", lifespan)

    async def arestore(self, id: str, **options: Any) -> MemCube:
        """:meth:`restore` in a worker thread."""
        return await offload(self.restore, id, **options)

    def freeze(self, id: str) -> MemCube:
        """Let a memory be read and not changed, nor deleted, until :meth:`unfreeze`."""
        return self._move(id, "freeze", "asked for")

    async def afreeze(self, id: str) -> MemCube:
        """:meth:`freeze` in a worker thread."""
        return await offload(self.freeze, id)

    def unfreeze(self, id: str) -> MemCube:
        """Let a frozen memory be changed again."""
        return self._move(id, "unfreeze", "asked for")

    async def aunfreeze(self, id: str) -> MemCube:
        """:meth:`unfreeze` in a worker thread."""
        return await offload(self.unfreeze, id)

    def tidy(
        self, *, idle: timedelta = timedelta(days=90), below: float = 0.05
    ) -> dict[str, list[str]]:
        """Expire what has outlived its lifespan, archive what is cold; return the ids by verb.

        Cold is what was made, and last used, longer than ``idle`` ago and has less heat than
        ``below`` (uses, halved every week), unless its priority is 9. A scheduler calls this.
        """
        if not isinstance(idle, timedelta) or idle < timedelta(0):
            raise InvalidInputError(f"idle is {idle!r}: give a timedelta")
        if isinstance(below, bool) or not isinstance(below, int | float) or not below >= 0:
            raise InvalidInputError(f"below is {below!r}: give a heat of 0 or more")
        now = self._operator.now()
        old = now - idle
        over = self._ids({"expires_at": {"$lte": now}, "state": {"$in": [*_LIVING, "archived"]}})
        cold = self._ids(
            {
                "created_at": {"$lt": old},
                "priority": {"$lt": 9},
                "state": {"$in": _LIVING},
            },
            unless=lambda cube: (
                cube.header.behaviour.heat >= below
                or (cube.header.behaviour.last_used_at or old) > old
            ),
        )
        expired = self._by_itself("expire", over, "its lifespan is over")
        cold = [one for one in cold if one not in set(expired)]
        archived = self._by_itself("archive", cold, f"not used for {idle.days} days")
        return {"expire": expired, "archive": archived}

    async def atidy(self, **options: Any) -> dict[str, list[str]]:
        """:meth:`tidy` in a worker thread."""
        return await offload(self.tidy, **options)

    # Within -------------------------------------------------------------------------------

    def _move(self, id: str, verb: str, reason: str, lifespan: datetime | None = None) -> MemCube:
        cube_id = check_id(id)
        why = check_text(reason, what="reason", max_bytes=1024)
        return self._lifecycle.move(
            self.namespace, self.principal, [cube_id], verb, why, lifespan=lifespan
        )[0]

    def _by_itself(self, verb: str, ids: Sequence[str], reason: str) -> list[str]:
        """Nobody asked for it; what has moved on meanwhile is left as it is."""
        done = []
        for start in range(0, len(ids), _TOGETHER):
            page = ids[start : start + _TOGETHER]
            moved = self._lifecycle.move(
                self.namespace, _SYSTEM, page, verb, reason, leave_others=True
            )
            target = lifecycle.TARGETS[verb]
            done += [cube.id for cube in moved if cube.state is target]
        return done

    def _read(self, cube_ids: Sequence[str]) -> list[MemCube]:
        with self._vault.snapshot(self.namespace) as view:
            heads = [(one, view.head(one)) for one in cube_ids]
        for one, head in heads:
            if head is None:
                raise self._missing(one)
        return [head.cube for _, head in heads if head is not None]

    def _ids(
        self, filters: Mapping[str, Any], unless: Callable[[MemCube], bool] = lambda _: False
    ) -> list[str]:
        clauses = self._vault.clauses(filters)
        found: list[str] = []
        after: str | None = None
        with self._vault.snapshot(self.namespace) as view:
            while page := view.page(clauses, 1_000, after):
                found += [cube.id for cube in page if not unless(cube)]
                after = page[-1].id
        return found

    def _missing(self, cube_id: str) -> CubeNotFoundError:
        return CubeNotFoundError(f"no memory {cube_id} in namespace {'/'.join(self.namespace)}")


_SYSTEM = Principal(id=SYSTEM, kind="service")
_LIVING = [State.GENERATED.value, State.ACTIVATED.value]
_TOGETHER = 500
"""Memories moved in one transaction."""


def _id(memory: str | MemCube) -> str:
    return memory.id if isinstance(memory, MemCube) else check_id(memory)


def _joined(sources: Sequence[MemCube]) -> str:
    """The texts, each line once."""
    lines = [line for source in sources for line in source.text.splitlines()]
    return check_text("\n".join(dict.fromkeys(lines)))


def _merged(sources: Sequence[MemCube], text: str) -> Draft:
    newest = sources[-1].header.descriptive
    times = [one.event_time for one in sources if one.event_time is not None]
    rules = [one.header.governance for one in sources]
    speakers = {one.header.descriptive.speaker for one in sources}
    return Draft(
        payload=Plaintext(text=text),
        event_time=max(times, default=None),
        said_at=newest.said_at,
        origin="derived",
        role=newest.role,
        speaker=newest.speaker if len(speakers) == 1 else None,
        semantic_type=newest.semantic_type,
        tags=tuple(dict.fromkeys(tag for one in sources for tag in one.tags)),
        priority=max(one.priority for one in rules),
        sensitivity=tuple(dict.fromkeys(label for one in rules for label in one.sensitivity)),
        trust=max((one.trust for one in sources), key=LEVELS.index),  # the lowest
    )
