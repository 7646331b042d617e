"""MemorySession: a principal bound to a namespace. The object that users hold."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import networkx as nx

from memos_integrations.checks import Namespace, check_namespace, check_text
from memos_integrations.cube import MemCube, Principal
from memos_integrations.errors import ReadOnlyMomentError
from memos_integrations.infrastructure.links import Link
from memos_integrations.infrastructure.moments import Moment
from memos_integrations.infrastructure.snapshot import Snapshot
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.interface.reader import MemReader
from memos_integrations.memories.ledger import Ledger
from memos_integrations.offload import offload
from memos_integrations.operation.branches import Branches
from memos_integrations.operation.lifecycle import MemLifecycle
from memos_integrations.operation.operator import Choose, MemOperator
from memos_integrations.operation.organiser import Judge, MemOrganiser
from memos_integrations.operation.timemachine import TimeMachine, When
from memos_integrations.protocols import Clock, EmbedderFingerprint
from memos_integrations.query import Hit
from memos_integrations.recorded import recorded
from memos_integrations.shelf import Shelf
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
from memos_integrations.verbs.precompute import PrecomputeVerbs
from memos_integrations.verbs.read import ReadVerbs
from memos_integrations.verbs.safety import SafetyVerbs
from memos_integrations.verbs.space import SpaceVerbs
from memos_integrations.verbs.write import WriteVerbs


@recorded(leave=("below", "embed", "shelf"))
class MemorySession(
    WriteVerbs,
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
    PrecomputeVerbs,
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
    distill = retrain = precompute = extract = _refuse
