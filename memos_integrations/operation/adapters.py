"""Adapters and KV caches on their way into the store, and those that are there."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.cube import LEVELS, Access, Activation, Draft, MemCube, Parameter, Principal
from memos_integrations.errors import (
    AdapterCorruptError,
    AdapterGoneError,
    BlobCorruptError,
    BlobNotFoundError,
    MemOSError,
)
from memos_integrations.infrastructure import crashpoints, unkept
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.memories.activation.segments import Source
from memos_integrations.memories.parameter.new_adapter import NewAdapter
from memos_integrations.memories.plaintext import embedding_text
from memos_integrations.models.checked import embed_checked
from memos_integrations.operation.door import Also
from memos_integrations.operation.operator import MemOperator


def keep(
    operator: MemOperator,
    path: Namespace,
    who: Principal,
    new: NewAdapter,
    sources: Sequence[MemCube],
    *,
    replaces: Sequence[str] = (),
    also: Also | None = None,
) -> MemCube:
    """Store an adapter as a memory; if it cannot be, its bytes go again.

    ``replaces``: older adapters, which are deleted in the same transaction; ``also`` is done in
    it, too. Raises :class:`VersionConflictError` if a source has changed since.
    """
    digest = hashlib.sha256(new.content).hexdigest()
    payload = Parameter(blob=digest, size=len(new.content), model=new.model, kind=new.kind)
    draft = draft_of(payload, sources, "adapter", {"report": dict(new.report)})
    return keep_file(
        operator, path, who, "distill", new.content, draft, sources, replaces=replaces, also=also
    )


def keep_file(
    operator: MemOperator,
    path: Namespace,
    who: Principal,
    verb: str,
    content: bytes,
    draft: Draft,
    sources: Sequence[MemCube],
    *,
    replaces: Sequence[str] = (),
    also: Also | None = None,
) -> MemCube:
    """:func:`keep` for any memory that is a file; its payload names the sha256 of ``content``."""
    vault = operator.vault
    digest, kind = hashlib.sha256(content).hexdigest(), draft.semantic_type
    unkept.expect(vault, digest)
    try:
        crashpoints.reach("kept-file-noted")
        vault.blobs.put(content)
        crashpoints.reach("kept-file-written")
        activity = operator.activity(verb, who)
        [(draft, entry)] = operator.door.admit([draft], path)
        if vault.asker is not None:  # the store's own work is not limited
            operator.door.count(who, 1, activity.at)
        cube = operator.cube(path, who, draft, activity)
        beside = operator.door.beside([(cube, entry)])

        def with_it(tx: sa.Connection) -> None:
            unkept.kept(tx, digest)
            for one in (beside, also):
                if one is not None:
                    one(tx)

        return vault.derive(
            path,
            activity,
            cube,
            embed_checked(operator.embedder, [embedding_text(cube) or kind]),
            operator.embedder.fingerprint,
            sources,
            None,
            replaces=replaces,
            also=with_it,
        )
    except BaseException:  # whatever it was, no file is left that no memory names
        with contextlib.suppress(MemOSError):  # then the next opening takes it away
            unkept.drop(vault, digest)
        raise


def content_of(vault: MemVault, blob: str) -> bytes:
    """The bytes of an adapter's file, by its digest.

    Raises :class:`AdapterCorruptError` if they were altered, :class:`AdapterGoneError` if there is
    no such file (any more).
    """
    try:
        return vault.blobs.get(blob)
    except BlobCorruptError as error:
        raise AdapterCorruptError(
            f"an adapter's file was altered: {error}; retrain() it"
        ) from error
    except BlobNotFoundError as error:
        raise AdapterGoneError(f"an adapter is not there any more: {error}") from error


def sources_of(cube: MemCube) -> tuple[Source, ...]:
    """The versions that an adapter, or a KV cache, was made of."""
    return tuple(Source(str(id), int(version)) for id, version in cube.metadata.get("sources", ()))


def draft_of(
    payload: Activation | Parameter,
    sources: Sequence[MemCube],
    semantic_type: str,
    metadata: Mapping[str, Any],
    *,
    access: Access | None = None,
) -> Draft:
    """A memory that was made of others: their labels, and their lowest trust."""
    return Draft(
        payload=payload,
        origin="derived",
        semantic_type=semantic_type,
        access=access,
        sensitivity=labels_of(sources),
        trust=max((one.trust for one in sources), key=LEVELS.index),  # the lowest
        metadata={**metadata, "sources": [[one.id, one.version] for one in sources]},
    )


def labels_of(sources: Sequence[MemCube]) -> tuple[str, ...]:
    """All labels of these memories, each once."""
    rules = [one.header.governance for one in sources]
    return tuple(dict.fromkeys(label for one in rules for label in one.sensitivity))
