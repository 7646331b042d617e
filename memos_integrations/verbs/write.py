"""What a session can do to write memories: remember, correct, take away."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from memos_integrations.checks import Namespace, check_id, check_text, check_version
from memos_integrations.cube import Access, MemCube, Principal, Trust, check_trust
from memos_integrations.errors import InvalidInputError
from memos_integrations.interface.reader import MemReader
from memos_integrations.offload import offload
from memos_integrations.operation.operator import MemOperator, Progress
from memos_integrations.operation.organiser import Judge, MemOrganiser
from memos_integrations.protocols import Clock
from memos_integrations.verbs.arguments import strings


class _Unchanged:
    """Marks an argument of ``update`` that was not given; ``None`` is a value there."""

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = _Unchanged()


class WriteVerbs:
    """Verbs of writing. A session of the past refuses them."""

    principal: Principal
    namespace: Namespace
    _operator: MemOperator
    _organiser: MemOrganiser
    _organise: bool | Judge
    _reader: MemReader
    _clock: Clock

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

    async def aadd(self, content: Any, **options: Any) -> builtins.list[MemCube]:
        """:meth:`add` in a worker thread."""
        return await offload(self.add, content, **options)

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

    async def aupdate(self, id: str, text: str | None = None, **options: Any) -> MemCube:
        """:meth:`update` in a worker thread."""
        return await offload(self.update, id, text, **options)

    def delete(self, id: str) -> None:
        """Take a memory out of ``get``, ``search``, ``list`` and ``count``, at once and for good.

        Its :meth:`history` and :meth:`lineage` remain and say who deleted it. Raises
        :class:`CubeNotFoundError`, :class:`FrozenCubeError`, :class:`LegalHoldError`.
        """
        self._operator.delete(self.namespace, self.principal, check_id(id))

    async def adelete(self, id: str) -> None:
        """:meth:`delete` in a worker thread."""
        await offload(self.delete, id)

    def _remember(self, content: Any, key: str) -> builtins.list[MemCube]:
        return self.add(content, idempotency_key=key)

    def _after_run(self) -> None:
        if self._organise:
            self._organiser.organise(self.namespace, self.principal)
