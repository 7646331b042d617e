"""What a session can do about moving: memories into an archive, and out of one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.cube import Principal
from memos_integrations.errors import AccessDeniedError, ArchiveError, InvalidInputError
from memos_integrations.infrastructure.moments import Moment
from memos_integrations.infrastructure.transfer.dumping import Dumped, MemDumper, Wanted
from memos_integrations.infrastructure.transfer.fates import CONFLICTS, Conflicts
from memos_integrations.infrastructure.transfer.loading import MemLoader
from memos_integrations.infrastructure.transfer.manner import Loaded, Manner
from memos_integrations.infrastructure.transfer.reading import Archive, reading
from memos_integrations.infrastructure.transfer.staging import Staged
from memos_integrations.infrastructure.transfer.trusting import as_imported, doing_as_imported
from memos_integrations.infrastructure.transfer.unpacking import MAX_BLOB, unpack
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.interface import importing
from memos_integrations.interface.importing.arrivals import stage
from memos_integrations.memories.plaintext import embedding_text
from memos_integrations.models.checked import embed_checked
from memos_integrations.offload import offload
from memos_integrations.operation.arriving import examine
from memos_integrations.operation.operator import MemOperator

Progress = Callable[[int, int], None]
"""Called with ``(done, total)``."""


class TransferVerbs:
    """Verbs of moving; see :mod:`memos_integrations.infrastructure.transfer`."""

    principal: Principal
    namespace: Namespace
    _vault: MemVault
    _operator: MemOperator

    def dump(
        self,
        path: str | os.PathLike[str],
        *,
        filters: Mapping[str, Any] | None = None,
        below: bool = True,
        vectors: bool = False,
        blobs: bool = False,
        grants: bool = False,
        audit: bool = False,
        redacted: bool = False,
        progress: Progress | None = None,
    ) -> Dumped:
        """Write the memories that this session may read into an archive: of its namespace, and of
        those below it.

        With all their versions, where they came from, what they have to do with each other, and
        their states. ``filters`` as in :meth:`search`. ``vectors``: what they are found by.
        ``blobs``: memories that are weights or KV caches, too. ``grants``: who may, which takes
        the right to share all of it. ``audit``: the log of the store, which takes an administrator
        of the store. ``redacted``: only words, times and kinds. A session of the past
        (:meth:`as_of`) writes what was there then.

        What leaves is written down, and :meth:`forget` names it. The file is there when it is
        whole, and not before; one that is there already is replaced. Raises :class:`ArchiveError`.
        """
        if grants:
            self._vault.require("share", self.namespace, "dump the grants of")
        if audit and not self._vault.sight().everywhere("administer").everything:
            raise AccessDeniedError(
                f"{self.principal.id!r} may not dump the log: ask an administrator of the store"
            )
        if redacted and (vectors or blobs or grants or audit):
            raise InvalidInputError("redacted=True leaves out vectors, blobs, grants and the log")
        moment = self._moment_shown()
        wanted = Wanted(
            self.namespace,
            self._vault.clauses(filters),
            below,
            None if moment is None else moment.activity_pk,
            None if moment is None else moment.at,
            vectors,
            blobs,
            grants,
            audit,
            redacted,
        )
        target = Path(path).expanduser().absolute()
        if not target.parent.is_dir():
            raise ArchiveError(f"there is no folder {target.parent}")
        activity = self._operator.activity("dump", self.principal)
        self._vault.flush_counters()  # a first use changes a state
        return MemDumper(self._vault, wanted, progress).dump(target, activity)

    async def adump(self, path: str | os.PathLike[str], **options: Any) -> Dumped:
        """:meth:`dump`, without blocking the event loop."""
        return await offload(self.dump, path, **options)

    def load(
        self,
        path: str | os.PathLike[str],
        *,
        conflicts: Conflicts = "keep",
        trust: bool = False,
        grants: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Loaded:
        """Take the memories of an archive into this namespace and those below it.

        The archive is checked as a whole before anything is written, and then written in one
        transaction. Ids stay. ``conflicts``: what becomes of a memory that is here with other
        words: it stays (``keep``), or the words that are loaded become its next version
        (``version``), and its state follows (``replace``). What was erased here does not come back.

        Whoever made the archive may have written anything into it. So what is loaded has the origin
        ``imported``, belongs to who loads it, and is embedded anew. ``trust=True``: origins,
        owners and vectors are taken as they are. ``grants=True``: so are the grants. Both take the
        right to administer this namespace. It takes the right to write all of it in any case.

        Raises :class:`ArchiveError`, :class:`AccessDeniedError`, :class:`VersionConflictError` if
        a memory changed meanwhile.
        """
        if conflicts not in CONFLICTS:
            raise InvalidInputError(f"conflicts={conflicts!r}: use one of {', '.join(CONFLICTS)}")
        if trust or grants:
            self._vault.require("administer", self.namespace, "load with trust into", full=True)
        self._vault.require("write", self.namespace, "load into", full=True)
        told = progress or (lambda done, total: None)
        with reading(Path(path).expanduser()) as archive, Staged(self.namespace) as staged:
            total = archive.manifest.counts.get("versions", 0)
            who = self.principal.id
            unpack(
                archive,
                staged,
                version=(lambda row: row) if trust else partial(as_imported, who),
                activity=(lambda row: row) if trust else doing_as_imported,
                embedder=self._operator.embedder.fingerprint if trust else None,
                told=lambda done: told(done, total) if done % 256 == 0 or done == total else None,
            )
            manner = Manner(archive.manifest.id, conflicts, grants, progress=told)
            blobs = partial(_blobs, archive, trust)
            return self._take(staged, manner, "load", dry_run=dry_run, blobs=blobs)

    async def aload(self, path: str | os.PathLike[str], **options: Any) -> Loaded:
        """:meth:`load`, without blocking the event loop."""
        return await offload(self.load, path, **options)

    def import_from(
        self,
        kind: str,
        source: Any,
        *,
        history: Any = None,
        conflicts: Conflicts = "version",
        trust: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Loaded:
        """Take over what another program remembers, into this namespace and those below it.

        ``kind``: ``mem0`` (what ``get_all`` returns, or a path to it as JSON; ``history``: the
        path of its history database, for the versions), ``langgraph`` (any ``BaseStore``),
        ``llama_index`` (a chat store, or a path to its JSON), ``jsonl`` (a path, or dicts with
        ``text``). All of it, or nothing. Imported again, it changes nothing, and what changed there
        becomes the next version here. Each memory's ``source`` says where from, its origin is
        ``imported`` unless ``trust``, which takes the right to administer this namespace.

        Raises :class:`InvalidInputError`, :class:`ArchiveError`, :class:`AccessDeniedError`.
        """
        if conflicts not in CONFLICTS:
            raise InvalidInputError(f"conflicts={conflicts!r}: use one of {', '.join(CONFLICTS)}")
        if trust:
            self._vault.require("administer", self.namespace, "import with trust into", full=True)
        self._vault.require("write", self.namespace, "import into", full=True)
        arrivals = importing.read(kind, source, history)
        now, who = self._operator.now(), self.principal.id
        told = progress or (lambda done, total: None)
        with Staged(self.namespace) as staged:
            stage(kind, arrivals, staged, owner=who, now=now, trust=trust)
            return self._take(
                staged, Manner(kind, conflicts, progress=told), "load", dry_run=dry_run
            )

    async def aimport_from(self, kind: str, source: Any, **options: Any) -> Loaded:
        """:meth:`import_from`, without blocking the event loop."""
        return await offload(self.import_from, kind, source, **options)

    # Within -------------------------------------------------------------------------------

    def _moment_shown(self) -> Moment | None:
        raise NotImplementedError  # the session says which

    def _take(self, staged: Staged, manner: Manner, verb: str, **options: Any) -> Loaded:
        """Load what is staged; each namespace gets an activity of its own."""
        embedder = self._operator.embedder
        beside, also = examine(staged, self._operator.door), manner.also

        def written(tx: sa.Connection, base: int) -> None:
            also(tx, base)
            beside(tx)

        loader = MemLoader(
            self._vault,
            embedder.fingerprint,
            lambda texts: embed_checked(embedder, texts),
            embedding_text,
        )
        activity = partial(self._operator.activity, verb, self.principal)
        return loader.load(staged, replace(manner, also=written), activity, **options)


def _blobs(archive: Archive, trust: bool) -> Any:
    names = archive.named("blobs")
    if names and not trust:
        raise ArchiveError(
            "the archive holds weights or KV caches, which can make a model say anything: load "
            "them with trust=True if you know who made it"
        )
    return (archive.whole(name, MAX_BLOB) for name in names)
