"""MemorySession: a principal bound to a namespace. The object that users hold."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

import networkx as nx

from memos_integrations.cube import (
    Access,
    MemCube,
    Namespace,
    Principal,
    Trust,
    check_id,
    check_namespace,
    check_text,
    check_trust,
    check_version,
)
from memos_integrations.errors import InvalidInputError, ReadOnlyMomentError
from memos_integrations.infrastructure.links import Link
from memos_integrations.infrastructure.moments import Moment
from memos_integrations.infrastructure.snapshot import Snapshot
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.interface.reader import MemReader
from memos_integrations.memories.ledger import Ledger
from memos_integrations.offload import offload
from memos_integrations.operation.branches import Branches
from memos_integrations.operation.lifecycle import MemLifecycle
from memos_integrations.operation.operator import Choose, MemOperator, Progress
from memos_integrations.operation.organiser import Judge, MemOrganiser
from memos_integrations.operation.timemachine import TimeMachine, When
from memos_integrations.protocols import Clock, EmbedderFingerprint
from memos_integrations.query import Hit
from memos_integrations.recorded import recorded
from memos_integrations.shelf import Shelf
from memos_integrations.verbs.arguments import strings
from memos_integrations.verbs.audit import AuditVerbs
from memos_integrations.verbs.branch import BranchVerbs
from memos_integrations.verbs.distill import DistillVerbs
from memos_integrations.verbs.extract import ExtractVerbs
from memos_integrations.verbs.forget import ForgetVerbs
from memos_integrations.verbs.govern import GovernVerbs
from memos_integrations.verbs.market import MarketVerbs
from memos_integrations.verbs.organise import OrganiseVerbs
from memos_integrations.verbs.past import PastVerbs, read_when
from memos_integrations.verbs.pipeline import PipelineVerbs
from memos_integrations.verbs.read import ReadVerbs
from memos_integrations.verbs.safety import SafetyVerbs
from memos_integrations.verbs.space import SpaceVerbs


class _Unchanged:
    """Marks an argument of ``update`` that was not given; ``None`` is a value there."""

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = _Unchanged()


@recorded(leave=("below", "embed", "shelf"))
class MemorySession(
    ReadVerbs,
    OrganiseVerbs,
    PastVerbs,
    BranchVerbs,
    GovernVerbs,
    ForgetVerbs,
    PipelineVerbs,
    SpaceVerbs,
    AuditVerbs,
    SafetyVerbs,
    MarketVerbs,
    DistillVerbs,
    ExtractVerbs,
):
    """All verbs of memory, for one principal in one namespace. Thread-safe.

    Made by :meth:`MemOS.session`. No verb sees or touches another namespace. Each verb has an
    async twin (``aadd``, ``asearch``, ...) that runs it in a worker thread.
    """

    def __init__(
        self,
        principal: Principal,
        namespace: Namespace,
        *,
        vault: MemVault,
        operator: MemOperator,
        reader: MemReader,
        clock: Clock,
        ledger: Ledger,
        owner: object = None,
        organise: bool | Judge = False,
        purpose: str | None = None,
    ) -> None:
        self._ledger, self._organise = ledger, organise
        self._owner = owner  # the MemOS: open for as long as one of its sessions is in use
        self.principal = principal
        """Who is asking."""
        self.namespace = namespace
        """Where: a tuple of strings, root first."""
        self.purpose = purpose
        """What for, as far as grants ask."""
        self._vault, self._operator, self._reader, self._clock = vault, operator, reader, clock
        self._lifecycle = MemLifecycle(vault, clock=clock, activity=operator.activity)
        self._times = TimeMachine(vault, operator, clock=clock)
        self._branches = Branches(vault, operator)
        self._organiser = MemOrganiser(vault, operator)
        if callable(organise):
            self._organiser = MemOrganiser(vault, operator, organise)

    def __repr__(self) -> str:
        return f"MemorySession({self.principal.id!r}, namespace={self.namespace!r})"

    # Writing ------------------------------------------------------------------------------

    def add(
        self,
        content: Any,
        *,
        event_time: datetime | None = None,
        tags: Iterable[str] = (),
        semantic_type: str | None = None,
        origin: str | None = None,
        speaker: str | None = None,
        source: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        priority: int = 5,
        expires_at: datetime | None = None,
        access: Access | None = None,
        trust: Trust | None = None,
        idempotency_key: str | None = None,
        progress: Progress | None = None,
    ) -> builtins.list[MemCube]:
        """Remember something; return the memories that were made of it.

        ``content`` is a string; a message (a dict with ``role`` and ``content``, a LangChain
        message, a LlamaIndex ``ChatMessage``); a document (a dict with ``text``, a LangChain or
        LlamaIndex document); or any list of these. A list is written in one transaction: all of
        it or nothing. Long texts become several memories, without losing a word.

        ``event_time`` is when it was so; left out, it is read from the message's own time and
        from phrases such as "last Friday". With an ``idempotency_key`` a repeated call writes
        nothing and returns what the first one wrote. ``access`` is private, unless the
        :meth:`space` says something else. ``progress(done, total)`` is called
        while texts are embedded. ``trust``: how far it is believed, where that is not what its
        origin says. When this returns, the memories survive a crash.

        Raises :class:`InvalidInputError` for content that cannot be stored,
        :class:`IdempotencyConflictError`, :class:`EmbeddingError` and :class:`StoreError`; where
        the store was opened so, :class:`SensitiveContentError` and :class:`RateLimitError`.
        """
        if idempotency_key is not None:
            check_text(idempotency_key, what="idempotency_key", max_bytes=1024)
        drafts = self._reader.read(
            content,
            now=self._clock.now(),
            event_time=event_time,
            tags=strings(tags, "tags"),
            semantic_type=semantic_type,
            origin=origin,
            speaker=speaker,
            source=source,
            metadata=metadata,
            priority=priority,
            expires_at=expires_at,
            access=access,
        )
        if check_trust(trust) is not None:
            drafts = [draft.model_copy(update={"trust": trust}) for draft in drafts]
        stored = self._operator.store(
            self.namespace,
            self.principal,
            drafts,
            idempotency_key=idempotency_key,
            progress=progress,
        )
        if self._organise:
            self._organiser.organise(self.namespace, self.principal)
        return stored

    def update(
        self,
        id: str,
        text: str | None = None,
        *,
        expected_version: int | None = None,
        event_time: datetime | _Unchanged | None = UNCHANGED,
        tags: Iterable[str] | _Unchanged = UNCHANGED,
        semantic_type: str | _Unchanged = UNCHANGED,
        metadata: Mapping[str, Any] | _Unchanged = UNCHANGED,
        expires_at: datetime | _Unchanged | None = UNCHANGED,
        priority: int | _Unchanged = UNCHANGED,
        access: Access | _Unchanged = UNCHANGED,
        origin: str | _Unchanged = UNCHANGED,
        trust: Trust | _Unchanged | None = UNCHANGED,
    ) -> MemCube:
        """Write the next version of a memory; what is not given stays as it is.

        The older versions stay in :meth:`history`. With ``expected_version`` a memory that
        moved on meanwhile raises :class:`VersionConflictError`; without it the last writer
        wins. Raises :class:`CubeNotFoundError`, :class:`FrozenCubeError`.
        """
        check_version(expected_version, "expected_version")
        given: dict[str, Any] = {
            "event_time": event_time,
            "tags": tags if isinstance(tags, _Unchanged) else strings(tags, "tags"),
            "semantic_type": semantic_type,
            "metadata": metadata,
            "expires_at": expires_at,
            "priority": priority,
            "access": access,
            "origin": origin,
            "trust": trust,
        }
        changes = {name: value for name, value in given.items() if value is not UNCHANGED}
        if text is not None:
            changes["text"] = check_text(text)
        if not changes:
            raise InvalidInputError(
                "update() changes nothing: give text=, tags=, metadata= or another field"
            )
        return self._operator.update(
            self.namespace, self.principal, check_id(id), changes, expected_version=expected_version
        )

    def delete(self, id: str) -> None:
        """Take a memory out of ``get``, ``search``, ``list`` and ``count``, at once and for good.

        Its :meth:`history` and :meth:`lineage` remain and say who deleted it. Raises
        :class:`CubeNotFoundError`, :class:`FrozenCubeError`, :class:`LegalHoldError`.
        """
        self._operator.delete(self.namespace, self.principal, check_id(id))

    # Reading ------------------------------------------------------------------------------

    def as_of(self, when: When) -> PastSession:
        """A read-only session of this namespace as it was at a time, or at a named snapshot.

        Everything reads as it did then: ``search``, ``get``, ``list``, ``count``, ``history``. A
        fact that was updated since shows its old text, and is found by it. Uses are not counted.
        Raises :class:`MomentNotFoundError` for an unknown name.
        """
        moment = self._times.resolve(self.namespace, read_when(when))
        return PastSession.of(self, moment)

    def record_uses(self, shown: Iterable[MemCube | Hit], *, prompt: str) -> None:
        """Report that these memories stood in a prompt, in this order.

        ``prompt`` names it, such as a message or run id; the same name again replaces. What was
        reported last may be lost in a crash; memories never are.
        """
        check_text(prompt, what="prompt", max_bytes=1024)
        cubes = [one.cube if isinstance(one, Hit) else one for one in shown]
        self._ledger.note(cubes)
        self._vault.record_placements(
            [cube for cube in cubes if cube.namespace == self.namespace], prompt
        )

    def _inside(self, vault: MemVault, operator: MemOperator, clock: Clock) -> MemorySession:
        return MemorySession(
            self.principal,
            self.namespace,
            vault=vault,
            operator=operator,
            reader=self._reader,
            clock=clock,
            ledger=self._ledger,
            owner=self._owner,
            purpose=self.purpose,  # organised when all is written, see _after_run
        )

    def _remember(self, content: Any, key: str) -> builtins.list[MemCube]:
        return self.add(content, idempotency_key=key)

    def _after_run(self) -> None:
        if self._organise:
            self._organiser.organise(self.namespace, self.principal)

    @property
    def audited(self) -> tuple[MemVault, Namespace]:
        """Where the audit log is, and what stands in it as the namespace."""
        return self._vault, self.namespace

    @property
    def store(self) -> Path:
        """The folder of the store."""
        return self._vault.folder

    @property
    def embedder(self) -> EmbedderFingerprint:
        """What embeds this session's memories."""
        return self._operator.embedder.fingerprint

    def below(self, *parts: str) -> MemorySession:
        """The same principal's session in a namespace below this one."""
        return MemorySession(
            self.principal,
            check_namespace((*self.namespace, *parts)),
            vault=self._vault,
            operator=self._operator,
            reader=self._reader,
            clock=self._clock,
            ledger=self._ledger,
            owner=self._owner,
            organise=self._organise,
            purpose=self.purpose,
        )

    def branch(self, name: str) -> MemorySession:
        """The session of a branch of this namespace; made, if there is none of this name.

        It begins as a copy of the memories as they stand (conversations and stores are left out).
        What happens there is not seen here until :meth:`merge_branch`; :meth:`drop_branch` ends
        it without a trace in searches.
        """
        checked = check_text(name, what="branch name", max_bytes=200)
        self._vault.require("read", self.namespace, "branch")
        path = self._branches.begin(self.namespace, self.principal, checked)
        return self.below(path[-1])

    def shelf(self, name: str) -> Shelf:
        """Memories under keys, in this namespace and below it: what key-value stores are made of.

        ``name`` keeps the keys of one user of shelves apart from those of another.
        """
        check_text(name, what="shelf", max_bytes=256)
        return Shelf(
            name, self.principal, self.namespace, operator=self._operator, reader=self._reader
        )

    def shelves(self) -> builtins.list[str]:
        """The names of this namespace's shelves that hold something, sorted."""
        return self._operator.shelves(self.namespace)

    # The same, for asyncio ----------------------------------------------------------------

    async def aadd(self, content: Any, **options: Any) -> builtins.list[MemCube]:
        """:meth:`add` in a worker thread."""
        return await offload(self.add, content, **options)

    async def aupdate(self, id: str, text: str | None = None, **options: Any) -> MemCube:
        """:meth:`update` in a worker thread."""
        return await offload(self.update, id, text, **options)

    async def adelete(self, id: str) -> None:
        """:meth:`delete` in a worker thread."""
        await offload(self.delete, id)

    async def arecord_uses(self, shown: Iterable[MemCube | Hit], *, prompt: str) -> None:
        """:meth:`record_uses` in a worker thread."""
        await offload(self.record_uses, shown, prompt=prompt)

    async def aas_of(self, when: When) -> PastSession:
        """:meth:`as_of` in a worker thread."""
        return await offload(self.as_of, when)

    async def abranch(self, name: str) -> MemorySession:
        """:meth:`branch`, without blocking the event loop."""
        return await offload(self.branch, name)


class PastSession(MemorySession):
    """A namespace as it was at a moment. Reads as a :class:`MemorySession`, and writes nothing.

    Made by :meth:`MemorySession.as_of`. Whoever tries to write with it gets a
    :class:`ReadOnlyMomentError`.
    """

    moment: Moment
    """Which one."""

    @classmethod
    def of(cls, session: MemorySession, moment: Moment) -> PastSession:
        """That of a session of today."""
        made = cls(
            session.principal,
            session.namespace,
            vault=session._vault,
            operator=session._operator,
            reader=session._reader,
            clock=session._clock,
            ledger=session._ledger,
            owner=session._owner,
            organise=session._organise,
            purpose=session.purpose,
        )
        made.moment = moment
        return made

    def __repr__(self) -> str:
        return f"PastSession({self.principal.id!r}, {self.namespace!r}, {self.moment.at:%Y-%m-%d})"

    def _view(self) -> AbstractContextManager[Snapshot]:
        return self._times.view(self.namespace, self.moment)

    def _upto(self) -> int | None:
        return self.moment.activity_pk

    def _moment_of_search(self) -> Choose | None:
        return partial(self._times.moment, self.moment)

    def _inside(self, vault: MemVault, operator: MemOperator, clock: Clock) -> PastSession:
        return PastSession.of(super()._inside(vault, operator, clock), self.moment)

    def _may_write(self) -> None:
        self._refuse()

    def _moment_shown(self) -> Moment | None:
        return self.moment

    def below(self, *parts: str) -> MemorySession:
        """The same moment of a namespace below this one."""
        return PastSession.of(super().below(*parts), self.moment)

    def links(self, id: str | None = None) -> builtins.list[Link]:
        """None: a moment of the past does not know them."""
        if id is not None:
            self.get(id)
        return []

    def topics(self, filters: Mapping[str, Any] | None = None) -> nx.DiGraph[str]:
        """Of the memories of that moment; see :meth:`MemorySession.topics`."""
        with self._view() as view:
            cubes = self._told(view, filters)
        return self._organiser.topics(None, cubes)

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise ReadOnlyMomentError(
            f"this session shows {self.moment.at.isoformat()}: write with the session of today"
        )

    add = update = append = delete = merge = _refuse
    archive = restore = freeze = unfreeze = tidy = _refuse
    record_uses = snapshot = forget_snapshot = rollback = shelf = _refuse
    branch = merge_branch = drop_branch = organise = _refuse
    grant = revoke = forget = release = _refuse
    retain = hold = lift = sweep = space = _refuse
    load = import_from = _refuse
    publish = subscribe = pull = unsubscribe = _refuse
    distill = retrain = extract = _refuse
