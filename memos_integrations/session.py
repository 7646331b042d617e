"""MemorySession: a principal bound to a namespace. The object that users hold."""

from __future__ import annotations

import asyncio
import builtins
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn, ParamSpec, TypeGuard, TypeVar

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
from memos_integrations.errors import CubeNotFoundError, InvalidInputError, ReadOnlyMomentError
from memos_integrations.infrastructure.access import Grant, Right
from memos_integrations.infrastructure.activity_log import LogEntry
from memos_integrations.infrastructure.audit import Entry
from memos_integrations.infrastructure.audit_check import Head, Verdict
from memos_integrations.infrastructure.links import Link
from memos_integrations.infrastructure.market.following import Subscription
from memos_integrations.infrastructure.market.packages import Package
from memos_integrations.infrastructure.moments import Moment
from memos_integrations.infrastructure.prov_export.blaming import Blame
from memos_integrations.infrastructure.prov_export.comparing import Comparison
from memos_integrations.infrastructure.prov_export.questions import Step
from memos_integrations.infrastructure.quarantine import Quarantined
from memos_integrations.infrastructure.receipts import Receipt
from memos_integrations.infrastructure.retention import Rule
from memos_integrations.infrastructure.snapshot import Snapshot
from memos_integrations.infrastructure.spaces import Space, SpaceKind
from memos_integrations.infrastructure.transfer.dumping import Dumped
from memos_integrations.infrastructure.transfer.loading import Loaded
from memos_integrations.infrastructure.transitions import Passage
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.interface import logquery
from memos_integrations.interface.logquery import LogQuery
from memos_integrations.interface.pipeline import Pipeline
from memos_integrations.interface.reader import MemReader
from memos_integrations.memories.ledger import Ledger
from memos_integrations.operation.branches import Branch, Branches, Prefer
from memos_integrations.operation.lifecycle import MemLifecycle
from memos_integrations.operation.operator import Choose, MemOperator, Progress
from memos_integrations.operation.organiser import Judge, MemOrganiser, Organised
from memos_integrations.operation.retrieval import SearchPolicy
from memos_integrations.operation.timemachine import Change, TimeMachine, When
from memos_integrations.protocols import Clock, EmbedderFingerprint, Vectors
from memos_integrations.query import Hit, TimeWindow, Use
from memos_integrations.recorded import recorded
from memos_integrations.session_audit import AuditVerbs
from memos_integrations.session_branch import BranchVerbs
from memos_integrations.session_forget import Asked, ForgetVerbs
from memos_integrations.session_govern import Decision, GovernVerbs
from memos_integrations.session_lineage import Impact, LineageVerbs
from memos_integrations.session_market import MarketVerbs, Offer, Pulled, Trace
from memos_integrations.session_organise import OrganiseVerbs
from memos_integrations.session_past import PastVerbs, read_when
from memos_integrations.session_pipeline import PipelineRun, PipelineVerbs
from memos_integrations.session_retain import Swept
from memos_integrations.session_safety import SafetyVerbs
from memos_integrations.session_space import SpaceVerbs
from memos_integrations.shelf import Shelf

P = ParamSpec("P")
T = TypeVar("T")

MAX_LIMIT = 10_000
"""The most hits or list entries that one call returns."""


class _Unchanged:
    """Marks an argument of ``update`` that was not given; ``None`` is a value there."""

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = _Unchanged()


@recorded(leave=("below", "embed", "shelf"))
class MemorySession(
    OrganiseVerbs,
    LineageVerbs,
    PastVerbs,
    BranchVerbs,
    GovernVerbs,
    ForgetVerbs,
    PipelineVerbs,
    SpaceVerbs,
    AuditVerbs,
    SafetyVerbs,
    MarketVerbs,
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
            tags=_strings(tags, "tags"),
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
            "tags": tags if isinstance(tags, _Unchanged) else _strings(tags, "tags"),
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

    def get(self, id: str, *, version: int | None = None) -> MemCube:
        """One memory by id, as it stands or in an older ``version``.

        Raises :class:`CubeNotFoundError`, also for a memory of another namespace.
        """
        cube_id = check_id(id)
        check_version(version, "version")
        with self._view() as view:
            head = view.head(cube_id)
            if head is None:
                raise self._missing(cube_id)
            if version is None or version == head.cube.version:
                return head.cube
            for cube in view.chain(head):
                if cube.version == version:
                    return cube
        raise CubeNotFoundError(
            f"memory {cube_id} has no version {version!r}: it is at version {head.cube.version}"
        )

    def search(
        self,
        query: str,
        *,
        limit: int = 10,
        filters: Mapping[str, Any] | None = None,
        window: TimeWindow | None = None,
        memory_type: str | None = None,
        min_score: float = 0.0,
        policy: SearchPolicy | None = None,
        vector: Vectors | None = None,
    ) -> builtins.list[Hit]:
        """The memories that answer ``query``, best first, at most ``limit``.

        ``filters`` restrict by header fields: ``{"speaker": "Maya", "event_time": {"$gte": t}}``
        with ``$eq $ne $gt $gte $lt $lte $in``, and ``metadata.<key>``. ``window`` keeps only
        memories whose event time lies in it. ``min_score`` drops hits below it (scores are 0 to
        1). ``policy`` replaces the store's weights for this call. ``vector`` is the question as
        :meth:`embed` gave it, for who asks the same words again. A search sees every ``add`` that
        returned before it.
        """
        check_limit(limit)
        if (
            isinstance(min_score, bool)
            or not isinstance(min_score, int | float)
            or not 0 <= min_score <= 1
        ):
            raise InvalidInputError(f"min_score is {min_score!r}: give a number from 0 to 1")
        if policy is not None and not isinstance(policy, SearchPolicy):
            raise InvalidInputError(f"policy is {policy!r}: give a SearchPolicy")
        call = self._reader.ask(query, now=self._clock.now())
        return self._operator.search(
            self.namespace,
            call,
            limit=limit,
            filters=_narrowed(filters, window, memory_type),
            min_score=min_score,
            policy=policy,
            vector=vector,
            choose=self._moment_of_search(),
        )

    def _moment_of_search(self) -> Choose | None:
        """The moment that searches are of; ``None``: now."""
        return None

    def _moment_shown(self) -> Moment | None:
        """The moment that is shown; ``None``: now."""
        return None

    def embed(self, question: str) -> Vectors:
        """A question as the store's embedder sees it: a unit vector, float32 ``(dimension,)``."""
        return self._operator.question(check_text(question, what="question"))

    def as_of(self, when: When) -> PastSession:
        """A read-only session of this namespace as it was at a time, or at a named snapshot.

        Everything reads as it did then: ``search``, ``get``, ``list``, ``count``, ``history``. A
        fact that was updated since shows its old text, and is found by it. Uses are not counted.
        Raises :class:`MomentNotFoundError` for an unknown name.
        """
        moment = self._times.resolve(self.namespace, read_when(when))
        return PastSession.of(self, moment)

    def get_many(self, ids: Iterable[str]) -> builtins.list[MemCube]:
        """The memories of these ids as they stand now, in the order asked for.

        Left out, not refused: what is deleted, expired or archived, and what another namespace
        holds. So what a search found a while ago can be read again before it is used.
        """
        wanted = [check_id(one) for one in _strings(ids, "ids")]
        with self._view() as view:
            found = {cube.id: cube for cube in view.searchable(wanted)}
        return [found[one] for one in wanted if one in found]

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

    def log(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        principal: str | Iterable[str] | None = None,
        verb: str | Iterable[str] | None = None,
        memory_id: str | None = None,
        semantic_type: str | Iterable[str] | None = None,
        below: bool = False,
        limit: int = 100,
        after: str | None = None,
    ) -> builtins.list[LogEntry]:
        """Who did what in this namespace, newest first: each activity with what it touched.

        An activity is one call: all that the call wrote bears its id. ``semantic_type``: only what
        touched memories of this type, or of these. ``below``: also of the namespaces below this
        one, as far as they may be read.
        ``since`` is included, ``until`` is not. For the next page pass the last entry's id as
        ``after``. Reading is no activity; what was recalled stands in the counters, and what was
        put into a prompt in :meth:`uses`.
        """
        query = LogQuery.checked(
            since=since,
            until=until,
            principal=principal,
            verb=verb,
            memory_id=memory_id,
            semantic_type=semantic_type,
            below=below,
            limit=limit,
            after=after,
        )
        self._vault.require("read", self.namespace, "read the log of")
        return logquery.ask(self._vault, self.namespace, query, self._upto())

    def _upto(self) -> int | None:
        """The last activity that is known here; ``None``: all are."""
        return None

    def summary(self, *, hottest: int = 10) -> dict[str, Any]:
        """Activities by verb, principal and day, memories by state and day, the hottest.

        ``hit_rates``: the shares of the memories that a search ever found, and that ever stood in
        a prompt. JSON-plain, and always as of today.
        """
        check_limit(hottest)
        self._vault.require("read", self.namespace, "summarise")
        return logquery.summarise(self._vault, self.namespace, hottest)

    def count(self, filters: Mapping[str, Any] | None = None) -> int:
        """How many memories there are (with ``filters`` as in :meth:`search`)."""
        clauses = self._vault.clauses(filters)
        with self._view() as view:
            return view.count(clauses)

    def list(
        self,
        *,
        limit: int = 100,
        after: str | None = None,
        filters: Mapping[str, Any] | None = None,
    ) -> builtins.list[MemCube]:
        """Memories in the order they were made, a page at a time.

        For the next page pass the last id of this one as ``after``.
        """
        check_limit(limit)
        start = check_id(after) if after is not None else None
        clauses = self._vault.clauses(filters)
        with self._view() as view:
            return view.page(clauses, limit, start)

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

    async def aget(self, id: str, *, version: int | None = None) -> MemCube:
        """:meth:`get` in a worker thread."""
        return await offload(self.get, id, version=version)

    async def aget_many(self, ids: Iterable[str]) -> builtins.list[MemCube]:
        """:meth:`get_many` in a worker thread."""
        return await offload(self.get_many, ids)

    async def arecord_uses(self, shown: Iterable[MemCube | Hit], *, prompt: str) -> None:
        """:meth:`record_uses` in a worker thread."""
        await offload(self.record_uses, shown, prompt=prompt)

    async def auses(self, id: str) -> builtins.list[Use]:
        """:meth:`uses` in a worker thread."""
        return await offload(self.uses, id)

    async def asearch(self, query: str, **options: Any) -> builtins.list[Hit]:
        """:meth:`search` in a worker thread."""
        return await offload(self.search, query, **options)

    async def aembed(self, question: str) -> Vectors:
        """See :meth:`embed`."""
        return await offload(self.embed, question)

    async def ahistory(self, id: str) -> builtins.list[MemCube]:
        """:meth:`history` in a worker thread."""
        return await offload(self.history, id)

    async def alineage(self, id: str, **options: Any) -> nx.DiGraph[str]:
        """:meth:`lineage` in a worker thread."""
        return await offload(self.lineage, id, **options)

    async def awhy(self, hit_or_id: Hit | MemCube | str) -> builtins.list[Step]:
        """:meth:`why` in a worker thread."""
        return await offload(self.why, hit_or_id)

    async def ablame(self, id: str, text: str | None = None) -> builtins.list[Blame]:
        """:meth:`blame` in a worker thread."""
        return await offload(self.blame, id, text)

    async def aimpact(self, id: str) -> Impact:
        """:meth:`impact` in a worker thread."""
        return await offload(self.impact, id)

    async def acompare(self, id: str, before: int, after: int | None = None) -> Comparison:
        """:meth:`compare` in a worker thread."""
        return await offload(self.compare, id, before, after)

    async def asave_lineage(self, id: str, path: str | os.PathLike[str], **options: Any) -> Path:
        """:meth:`save_lineage` in a worker thread."""
        return await offload(self.save_lineage, id, path, **options)

    async def alog(self, **options: Any) -> builtins.list[LogEntry]:
        """:meth:`log` in a worker thread."""
        return await offload(self.log, **options)

    async def asummary(self, **options: Any) -> dict[str, Any]:
        """:meth:`summary` in a worker thread."""
        return await offload(self.summary, **options)

    async def acount(self, filters: Mapping[str, Any] | None = None) -> int:
        """:meth:`count` in a worker thread."""
        return await offload(self.count, filters)

    async def alist(self, **options: Any) -> builtins.list[MemCube]:
        """:meth:`list` in a worker thread."""
        return await offload(self.list, **options)

    async def aappend(self, id: str, text: str, **options: Any) -> MemCube:
        """:meth:`append` in a worker thread."""
        return await offload(self.append, id, text, **options)

    async def amerge(self, memories: Iterable[str | MemCube], text: str | None = None) -> MemCube:
        """:meth:`merge` in a worker thread."""
        return await offload(self.merge, memories, text)

    async def aarchive(self, id: str, **options: Any) -> MemCube:
        """:meth:`archive` in a worker thread."""
        return await offload(self.archive, id, **options)

    async def arestore(self, id: str, **options: Any) -> MemCube:
        """:meth:`restore` in a worker thread."""
        return await offload(self.restore, id, **options)

    async def afreeze(self, id: str) -> MemCube:
        """:meth:`freeze` in a worker thread."""
        return await offload(self.freeze, id)

    async def aunfreeze(self, id: str) -> MemCube:
        """:meth:`unfreeze` in a worker thread."""
        return await offload(self.unfreeze, id)

    async def alife(self, id: str) -> builtins.list[Passage]:
        """:meth:`life` in a worker thread."""
        return await offload(self.life, id)

    async def atidy(self, **options: Any) -> dict[str, builtins.list[str]]:
        """:meth:`tidy` in a worker thread."""
        return await offload(self.tidy, **options)

    async def aas_of(self, when: When) -> PastSession:
        """:meth:`as_of` in a worker thread."""
        return await offload(self.as_of, when)

    async def asnapshot(self, name: str) -> Moment:
        """:meth:`snapshot` in a worker thread."""
        return await offload(self.snapshot, name)

    async def asnapshots(self) -> builtins.list[Moment]:
        """:meth:`snapshots` in a worker thread."""
        return await offload(self.snapshots)

    async def aforget_snapshot(self, name: str) -> None:
        """:meth:`forget_snapshot` in a worker thread."""
        await offload(self.forget_snapshot, name)

    async def adiff(self, before: When, after: When | None = None) -> builtins.list[Change]:
        """:meth:`diff` in a worker thread."""
        return await offload(self.diff, before, after)

    async def aorganise(self, **options: Any) -> Organised:
        """:meth:`organise`, without blocking the event loop."""
        return await offload(self.organise, **options)

    async def alinks(self, id: str | None = None) -> builtins.list[Link]:
        """:meth:`links`, without blocking the event loop."""
        return await offload(self.links, id)

    async def atopics(self, filters: Mapping[str, Any] | None = None) -> nx.DiGraph[str]:
        """:meth:`topics`, without blocking the event loop."""
        return await offload(self.topics, filters)

    async def agrant(self, *who: Any, **what: Any) -> Grant:
        """:meth:`grant`, without blocking the event loop."""
        return await offload(self.grant, *who, **what)

    async def arevoke(self, grant: Grant | str) -> None:
        """:meth:`revoke`, without blocking the event loop."""
        await offload(self.revoke, grant)

    async def agrants(self) -> builtins.list[Grant]:
        """:meth:`grants`, without blocking the event loop."""
        return await offload(self.grants)

    async def amay(self, right: Right, id: str | None = None) -> Decision:
        """:meth:`may`, without blocking the event loop."""
        return await offload(self.may, right, id)

    async def areveal(self, memory: str | MemCube | Hit) -> MemCube:
        """:meth:`reveal`, without blocking the event loop."""
        return await offload(self.reveal, memory)

    async def aquarantined(self) -> builtins.list[Quarantined]:
        """:meth:`quarantined`, without blocking the event loop."""
        return await offload(self.quarantined)

    async def arelease(self, id: str) -> MemCube:
        """:meth:`release`, without blocking the event loop."""
        return await offload(self.release, id)

    async def aforget(self, what: Asked | Iterable[Asked] | None = None, **options: Any) -> Receipt:
        """:meth:`forget`, without blocking the event loop."""
        return await offload(self.forget, what, **options)

    async def areceipts(self) -> builtins.list[Receipt]:
        """:meth:`receipts`, without blocking the event loop."""
        return await offload(self.receipts)

    async def arun(
        self, pipeline: Pipeline, inputs: Mapping[str, Any] | None = None, **options: Any
    ) -> PipelineRun:
        """:meth:`run`, without blocking the event loop; its functions run in that thread, too."""
        return await offload(self.run, pipeline, inputs, **options)

    async def aspace(self, kind: SpaceKind, **options: Any) -> Space:
        """:meth:`space`, without blocking the event loop."""
        return await offload(self.space, kind, **options)

    async def aspaces(self) -> builtins.list[Space]:
        """:meth:`spaces`, without blocking the event loop."""
        return await offload(self.spaces)

    async def aaudit(self, **options: Any) -> builtins.list[Entry]:
        """:meth:`audit`, without blocking the event loop."""
        return await offload(self.audit, **options)

    async def aaudit_head(self, **options: Any) -> Head:
        """:meth:`audit_head`, without blocking the event loop."""
        return await offload(self.audit_head, **options)

    async def averify_audit(self, **options: Any) -> Verdict:
        """:meth:`verify_audit`, without blocking the event loop."""
        return await offload(self.verify_audit, **options)

    async def aexport_audit(self, path: str | os.PathLike[str], **options: Any) -> Path:
        """:meth:`export_audit`, without blocking the event loop."""
        return await offload(self.export_audit, path, **options)

    async def aretain(self, **options: Any) -> Rule:
        """:meth:`retain`, without blocking the event loop."""
        return await offload(self.retain, **options)

    async def ahold(self, **options: Any) -> Rule:
        """:meth:`hold`, without blocking the event loop."""
        return await offload(self.hold, **options)

    async def alift(self, rule: Rule | str) -> None:
        """:meth:`lift`, without blocking the event loop."""
        await offload(self.lift, rule)

    async def aretention(self, **options: Any) -> builtins.list[Rule]:
        """:meth:`retention`, without blocking the event loop."""
        return await offload(self.retention, **options)

    async def asweep(self, **options: Any) -> Swept:
        """:meth:`sweep`, without blocking the event loop."""
        return await offload(self.sweep, **options)

    async def adump(self, path: str | os.PathLike[str], **options: Any) -> Dumped:
        """:meth:`dump`, without blocking the event loop."""
        return await offload(self.dump, path, **options)

    async def aload(self, path: str | os.PathLike[str], **options: Any) -> Loaded:
        """:meth:`load`, without blocking the event loop."""
        return await offload(self.load, path, **options)

    async def aimport_from(self, kind: str, source: Any, **options: Any) -> Loaded:
        """:meth:`import_from`, without blocking the event loop."""
        return await offload(self.import_from, kind, source, **options)

    async def apublish(self, place: object, name: str, **options: Any) -> Package:
        """:meth:`publish`, without blocking the event loop."""
        return await offload(self.publish, place, name, **options)

    async def apackages(
        self, place: object, query: str | None = None, **options: Any
    ) -> builtins.list[Offer]:
        """:meth:`packages`, without blocking the event loop."""
        return await offload(self.packages, place, query, **options)

    async def asubscribe(self, place: object, name: str, *, publisher: str) -> Pulled:
        """:meth:`subscribe`, without blocking the event loop."""
        return await offload(self.subscribe, place, name, publisher=publisher)

    async def apull(self, name: str, **options: Any) -> Pulled:
        """:meth:`pull`, without blocking the event loop."""
        return await offload(self.pull, name, **options)

    async def aunsubscribe(self, name: str) -> Receipt:
        """:meth:`unsubscribe`, without blocking the event loop."""
        return await offload(self.unsubscribe, name)

    async def asubscriptions(self) -> builtins.list[Subscription]:
        """:meth:`subscriptions`, without blocking the event loop."""
        return await offload(self.subscriptions)

    async def atrace(self, text: str, **options: Any) -> builtins.list[Trace]:
        """:meth:`trace`, without blocking the event loop."""
        return await offload(self.trace, text, **options)

    async def abranch(self, name: str) -> MemorySession:
        """:meth:`branch`, without blocking the event loop."""
        return await offload(self.branch, name)

    async def abranches(self) -> builtins.list[Branch]:
        """:meth:`branches`, without blocking the event loop."""
        return await offload(self.branches)

    async def amerge_branch(
        self, name: str, *, prefer: Prefer | None = None
    ) -> builtins.list[Change]:
        """:meth:`merge_branch`, without blocking the event loop."""
        return await offload(self.merge_branch, name, prefer=prefer)

    async def adrop_branch(self, name: str) -> int:
        """:meth:`drop_branch`, without blocking the event loop."""
        return await offload(self.drop_branch, name)

    async def arollback(self, when: When, **options: Any) -> builtins.list[Change]:
        """:meth:`rollback` in a worker thread."""
        return await offload(self.rollback, when, **options)


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


async def offload(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking call in a worker thread: the one place where async meets the core."""
    return await asyncio.to_thread(function, *args, **kwargs)


def check_limit(limit: object) -> None:
    """Refuse what is not a number of results."""
    if not _is_int(limit) or not 1 <= limit <= MAX_LIMIT:
        raise InvalidInputError(f"limit is {limit!r}: give a number from 1 to {MAX_LIMIT:,}")


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _strings(values: Iterable[str], what: str) -> tuple[str, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidInputError(f"{what} is {values!r}: give a list of strings")
    return tuple(values)


def _narrowed(
    filters: Mapping[str, Any] | None, window: TimeWindow | None, memory_type: str | None
) -> Mapping[str, Any] | None:
    """The filters with the time window and the memory type written into them."""
    if window is not None and not isinstance(window, TimeWindow):
        raise InvalidInputError(f"window is {window!r}: give a TimeWindow(start, end)")
    if window is None and memory_type is None:
        return filters
    if filters is not None and not isinstance(filters, Mapping):
        return filters  # refused, with its reason, where filters are read
    narrowed: dict[str, Any] = dict(filters or {})
    if memory_type is not None:
        if memory_type not in ("plaintext", "activation", "parameter"):
            raise InvalidInputError(
                f"memory_type {memory_type!r}: use 'plaintext', 'activation' or 'parameter'"
            )
        narrowed["memory_type"] = _both(narrowed.get("memory_type", {}), {"$eq": memory_type})
    if window is not None:
        bounds: dict[str, Any] = {}
        if window.start is not None:
            bounds["$gte"] = window.start
        if window.end is not None:
            bounds["$lt"] = window.end
        if bounds:
            narrowed["event_time"] = _both(narrowed.get("event_time", {}), bounds)
    return narrowed


def _both(one: Any, other: dict[str, Any]) -> dict[str, Any]:
    """Two conditions on one field, both of which must hold."""
    conditions = dict(one) if isinstance(one, Mapping) else {"$eq": one}
    clash: Sequence[str] = [op for op in other if op in conditions]
    if clash:
        raise InvalidInputError(
            f"the filter {clash[0]} on event_time or memory_type is given twice: use only one"
        )
    return {**conditions, **other}
