"""MemOS: opens a store and wires the layers. Every default is chosen here."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
import uuid_utils

from memos_integrations.checks import check_namespace, check_text
from memos_integrations.cube import Principal
from memos_integrations.errors import AccessDeniedError, InvalidInputError
from memos_integrations.infrastructure import unkept
from memos_integrations.infrastructure.access import ANYONE, AccessRules, Asker
from memos_integrations.infrastructure.erasure import recover
from memos_integrations.infrastructure.governance import write_policy
from memos_integrations.infrastructure.index_keeper import IndexPolicy
from memos_integrations.infrastructure.market.shop import withdraw
from memos_integrations.infrastructure.reindex import reindex
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.interface.reader import MemReader
from memos_integrations.memories.activation.catalogue import Catalogue
from memos_integrations.memories.activation.remotes import Remotes
from memos_integrations.memories.ledger import Ledger
from memos_integrations.memories.parameter.underway import Underway
from memos_integrations.memories.plaintext import embedding_text
from memos_integrations.models.adapted import as_embedder
from memos_integrations.models.checked import embed_checked
from memos_integrations.models.cross_encoder import as_reranker
from memos_integrations.operation.consolidating import Consolidation, Trainer
from memos_integrations.operation.door import Door
from memos_integrations.operation.operator import MemOperator, Progress
from memos_integrations.operation.organiser import Judge
from memos_integrations.operation.rate import RateLimit, RateLimiter
from memos_integrations.operation.retrieval import SearchPolicy
from memos_integrations.operation.scheduled import Caches
from memos_integrations.operation.scheduler import MemScheduler
from memos_integrations.operation.scheduling.policies import KeepPolicy
from memos_integrations.operation.scheduling.rules import Budgets, Rules
from memos_integrations.operation.sensitive.guard import guard_of
from memos_integrations.operation.sensitive.policy import SensitivePolicy
from memos_integrations.operation.sensitive.reseal import reseal_all
from memos_integrations.operation.suspicion import QuarantinePolicy
from memos_integrations.protocols import Clock, Embedder, IdSource, Reranker, SystemClock
from memos_integrations.session import MemorySession

_QUARANTINE = QuarantinePolicy()

_open: weakref.WeakValueDictionary[Path, MemOS] = weakref.WeakValueDictionary()
"""The stores that are open in this process, by folder."""


class MemOS:
    """A memory store, open. Thread-safe; one process at a time owns the folder.

    Use it as a context manager, or call :meth:`close`.
    """

    def __init__(
        self,
        vault: MemVault,
        embedder: Embedder,
        *,
        reader: MemReader,
        clock: Clock,
        ids: IdSource,
        search_policy: SearchPolicy,
        organise: bool | Judge = False,
        door: Door | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        self._organise = organise
        self.vault = vault
        """The layer below, for tools and benchmarks."""
        self._reader, self._clock = reader, clock
        self._operator = MemOperator(
            vault,
            embedder,
            clock=clock,
            ids=ids,
            policy=search_policy,
            door=door,
            reranker=reranker,
        )
        self.ledger = Ledger(vault.id)
        """Which memories have been shown to a model, for :mod:`memos_integrations.local_chat`."""
        self.pieces = Catalogue(vault.folder / "kv")
        """The KV caches that were made of memories; see :mod:`memos_integrations.local_chat`."""
        self._underway = Underway(vault.folder / "training")
        derived: Catalogue | Underway
        for derived in (self.pieces, self._underway):
            known = {(source.cube_id, source.version) for source in derived.sources()}
            derived.remove_cubes([cube_id for cube_id, _ in vault.outdated(known)])
            vault.watch(derived.remove_cubes)
        vault.watch_erasures(self.pieces.erase_cubes)
        self.remotes = Remotes(vault)
        """Where these caches were sent to."""
        vault.watch_erasures(partial(withdraw, vault.folder))
        unkept.recover(vault)
        for receipt in recover(vault, clock.now):
            withdraw(vault.folder, receipt.ids)
        _open[vault.folder.resolve()] = self

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        embedder: object | None = None,
        reader: MemReader | None = None,
        clock: Clock | None = None,
        ids: IdSource | None = None,
        search_policy: SearchPolicy | None = None,
        reranker: object | None = None,
        index_policy: IndexPolicy | None = None,
        organise: bool | Judge = False,
        audit_reads: bool | None = None,
        sensitive: SensitivePolicy | None = None,
        quarantine: QuarantinePolicy | None = _QUARANTINE,
        rate: RateLimit | None = None,
    ) -> Self:
        """Open the store in the folder ``path``, made if it is missing.

        ``embedder``: an :class:`~memos_integrations.protocols.Embedder`, or any LangChain
        ``Embeddings`` or LlamaIndex ``BaseEmbedding``; by default the bundled all-MiniLM-L6-v2.
        ``reranker``: has the last word about the order of what searches find; a
        :class:`~memos_integrations.protocols.Reranker`, or a sentence-transformers
        ``CrossEncoder``. ``organise``: compare each memory that is added with the others, by
        rules or by a judge that is given; see :meth:`MemorySession.organise`. ``audit_reads``:
        whether readings stand in the audit log, as changes and refusals always do; by default
        where access is governed. ``sensitive``: what becomes of card numbers, keys, addresses and
        the like; by default nothing is looked for. ``quarantine``: which
        memories wait until somebody has looked at them, since they look like instructions to the
        model; ``None``: none. ``rate``: how much each principal may write.

        Raises :class:`StoreLockedError` if another process owns the folder,
        :class:`NotAStoreError`, :class:`StoreNotWritableError`, :class:`StoreSchemaError`,
        :class:`EmbedderMismatchError` if it was written with another embedder, and
        :class:`MissingExtraError` if the bundled embedder is not installed.
        """
        chosen = default_embedder() if embedder is None else as_embedder(embedder)
        ordering = None if reranker is None else as_reranker(reranker)
        clock = clock or SystemClock()
        index = index_policy or IndexPolicy()
        vault = MemVault(Path(path), clock=clock, policy=index, audit_reads=audit_reads)
        try:
            if vault.embedder is not None:
                vault.bind_embedder(chosen.fingerprint)
        except BaseException:  # whatever it was, the folder is free again
            vault.close()
            raise
        return cls(
            vault,
            chosen,
            reader=reader or MemReader(),
            clock=clock,
            ids=ids or new_id,
            search_policy=search_policy or SearchPolicy(),
            organise=organise,
            reranker=ordering,
            door=Door(
                guard=None if sensitive is None else guard_of(sensitive, vault.id),
                quarantine=quarantine,
                limiter=None if rate is None else RateLimiter(rate),
            ),
        )

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> MemOS:
        """The store of a folder: the one that is open in this process, or :meth:`open`.

        For what only has the path, such as a memory that comes out of a serialised context. A
        store opened here is closed when nothing refers to it any more.
        """
        found = _open.get(Path(path).resolve())
        return found if found is not None and found.vault.is_open else cls.open(path)

    @classmethod
    def reindex(
        cls,
        path: str | os.PathLike[str],
        *,
        embedder: object | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Embed every memory of a store anew, for use with another embedder; return how many.

        Interrupted, the store stays as it was, and the next call goes on where this one
        stopped.
        """
        chosen = default_embedder() if embedder is None else as_embedder(embedder)
        vault = MemVault(Path(path), clock=SystemClock(), policy=IndexPolicy())
        try:
            return reindex(
                vault,
                chosen.fingerprint,
                lambda texts: embed_checked(chosen, texts),
                embedding_text,
                progress,
            )
        finally:
            vault.close()

    def reseal(self, *, progress: Progress | None = None) -> int:
        """Seal with today's key what other keys have sealed; return how many pieces that were.

        Open the store with both: ``SensitivePolicy(keys={"old": ..., "new": ...}, key="new")``. A
        page is one transaction, so that an interrupted call is gone on with by the next one. When
        it returns, the old key opens nothing any more: the file is rewritten, which takes room for
        a second one. Raises :class:`SealKeyError` for a piece whose key is not given; those before
        it are done.
        """
        guard = self._operator.door.guard
        if guard is None or guard.sealer is None:
            raise InvalidInputError("this store was opened without keys: see SensitivePolicy")
        return reseal_all(self.vault, guard.sealer, progress)

    @property
    def path(self) -> Path:
        """The folder."""
        return self.vault.folder

    def session(
        self,
        principal: str | Principal,
        *,
        namespace: str | tuple[str, ...] | list[str] | None = None,
        purpose: str | None = None,
    ) -> MemorySession:
        """The verbs, for a principal in a namespace (by default one named after the principal).

        The application says who that is, and in which roles: it has checked the password. Where
        access is governed (:meth:`govern`), the session sees what it may see and no more;
        ``purpose`` is what grants may ask for.
        """
        if isinstance(principal, str):
            who = Principal(id=check_text(principal, what="principal", max_bytes=256))
        elif isinstance(principal, Principal):
            who = principal
        else:
            raise InvalidInputError(
                f"principal is {principal!r}: give a user id as a string, or a Principal"
            )
        if purpose is not None:
            check_text(purpose, what="purpose", max_bytes=256)
        vault = self.vault.seen_by(Asker(who, purpose))
        return MemorySession(
            who,
            check_namespace((who.id,) if namespace is None else namespace),
            vault=vault,
            operator=self._operator.seen_by(vault),
            reader=self._reader,
            clock=self._clock,
            ledger=self.ledger,
            owner=self,
            organise=self._organise,
            purpose=purpose,
        )

    def govern(
        self,
        principal: str,
        *,
        administrators: Iterable[str] = (),
        homes: Iterable[Sequence[str]] = ((ANYONE,),),
        enforce: bool = True,
    ) -> None:
        """From now on, for good, nobody sees or changes what no rule allows.

        ``principal`` and ``administrators`` may do everything. ``homes`` are the namespaces that
        belong to a principal, who may do everything at and below them: patterns with
        ``"{principal}"`` for the id, such as ``("acme", "{principal}")``. Everything else takes a
        grant (:meth:`MemorySession.grant`). Give each pattern a root of your own where namespaces
        have several parts: with the default, somebody called ``acme`` is at home in all of
        ``("acme", ...)``.

        Called again, it takes an administrator (:class:`AccessDeniedError`), and replaces what was
        said before; grants stay. ``enforce=False`` switches the rules off again.
        """
        who = check_text(principal, what="principal", max_bytes=256)
        names = {check_text(one, what="administrator", max_bytes=256) for one in administrators}
        patterns = tuple(check_namespace(tuple(home)) for home in homes)
        for pattern in patterns:
            if ANYONE not in pattern:
                raise InvalidInputError(
                    f"home {pattern!r} is everybody's: put {ANYONE!r} where the id stands"
                )
        rules = AccessRules(enforce, frozenset({who, *names}), patterns)

        def change(tx: sa.Connection) -> None:
            known = self.vault.rules
            if known.enforced and who not in known.administrators:
                raise AccessDeniedError(f"{who!r} may not govern this store: ask an administrator")
            write_policy(tx, rules)

        activity = self._operator.activity("govern", Principal(id=who))
        self.vault.change_rules((who,), activity, change)

    def scheduler(
        self,
        *,
        caches: Caches | None = None,
        trainer: Trainer | None = None,
        budgets: Budgets | None = None,
        rules: Rules | None = None,
        policy: KeepPolicy | None = None,
        every: float = 60.0,
    ) -> MemScheduler:
        """What moves memories between tiers, from how they are used; tick it, or ``start`` it.

        It brings back, archives and expires; with ``caches`` (an accelerator) it has KV caches
        built and let go, too; with ``trainer`` (a ``ParameterTrainer``) what is stable and used
        enough in a namespace becomes an adapter there, once that pays. ``budgets``, ``rules``,
        ``policy``: how much, when, and what first. ``every``: seconds between two ticks in the
        background. Have one for a store.
        """
        return MemScheduler(
            self.vault,
            clock=self._clock,
            activity=self._operator.activity,
            caches=caches,
            training=None
            if trainer is None
            else Consolidation(self._operator, trainer, self._underway),
            budgets=budgets,
            rules=rules,
            policy=policy,
            every=every,
        )

    def stats(self) -> dict[str, Any]:
        """Counts, sizes and the state of the index; JSON-plain."""
        return self.vault.stats()

    def close(self) -> None:
        """Write what is pending and free the folder. Closing twice does nothing."""
        self.vault.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"MemOS({str(self.path)!r})"


def default_embedder() -> Embedder:
    """The bundled all-MiniLM-L6-v2 (384 dimensions), which runs offline and without torch."""
    from memos_integrations.models.minilm import MiniLMEmbedder

    return MiniLMEmbedder()


def new_id() -> str:
    """A UUIDv7: unique, and in the order of time."""
    return str(uuid_utils.uuid7())
