"""Which KV caches that are memories a local chat model begins with."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from memos_integrations.checks import check_id
from memos_integrations.cube import Activation, MemCube
from memos_integrations.errors import (
    ActivationCorruptError,
    BlobNotFoundError,
    CubeNotFoundError,
    InvalidInputError,
    WrongModelError,
)
from memos_integrations.infrastructure import lookups
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.memories.activation.faults import warn
from memos_integrations.memories.activation.prefix_tree import Lease
from memos_integrations.memories.activation.segments import Source
from memos_integrations.memories.ledger import Ledger
from memos_integrations.memos import MemOS
from memos_integrations.operation.adapters import sources_of
from memos_integrations.session import MemorySession

if TYPE_CHECKING:
    from memos_integrations.memories.activation.engine import ActivationEngine
    from memos_integrations.memories.activation.tensors import Piece

log = logging.getLogger(__name__)


def load_activations(
    engine: ActivationEngine,
    memory: MemOS | MemorySession,
    ids: Iterable[str | MemCube] | None = None,
) -> tuple[str, ...]:
    """Put KV caches that are memories into an engine; return the ids of those it begins with.

    The engine asks at each use whether the cache and all memories that it was made of still stand
    and may be read. ``ids=None``: all of the session's namespace, or of the store, that this model
    has computed and that stand, the newest first, as far as they fit; a damaged one is logged and
    left out. Those named must all be there: :class:`CubeNotFoundError`, :class:`WrongModelError`,
    :class:`InvalidInputError` if a source has changed, :class:`BlobNotFoundError` or
    :class:`ActivationCorruptError` for a damaged file.
    """
    vault = memory._vault if isinstance(memory, MemorySession) else memory.vault
    store = MemOS.at(memory.store) if isinstance(memory, MemorySession) else memory
    loaded = []
    for cube in _named(vault, memory, ids) if ids is not None else _fitting(vault, memory, engine):
        try:
            _put(engine, store.ledger, vault, cube)
        except (ActivationCorruptError, BlobNotFoundError, WrongModelError) as error:
            if ids is not None:
                raise
            warn(log, "the KV cache %s is left out: %s", cube.id, error)
            continue
        loaded.append(cube.id)
    return tuple(loaded)


def _fitting(
    vault: MemVault, memory: MemOS | MemorySession, engine: ActivationEngine
) -> list[MemCube]:
    """All that there are for this model and that stand, oldest first; the newest that fit."""
    with vault.reading() as (tx, _):
        ids = lookups.of_type(tx, "activation")
    if not ids or engine.refused:
        return []
    model, room = engine.model.fingerprint.computes, engine.tree.budget
    chosen = []
    for cube in sorted(vault.heads(ids), key=lambda one: one.id, reverse=True):
        payload = cube.payload
        if not isinstance(payload, Activation) or payload.model != model:
            continue
        if not _is_of(cube, memory) or payload.size > room or vault.outdated(_pairs(cube)):
            continue
        room -= payload.size
        chosen.append(cube)
    return chosen[::-1]


def _named(
    vault: MemVault, memory: MemOS | MemorySession, ids: Iterable[str | MemCube]
) -> list[MemCube]:
    several = [ids] if isinstance(ids, str | MemCube) else ids
    wanted = [one.id if isinstance(one, MemCube) else check_id(one) for one in several]
    there = {one.id: one for one in vault.heads(wanted) if _is_of(one, memory)}
    for one in wanted:
        if one not in there or not isinstance(there[one].payload, Activation):
            raise CubeNotFoundError(f"there is no KV cache {one} here")
        if vault.outdated(_pairs(there[one])):
            raise InvalidInputError(
                f"a memory that the KV cache {one} was made of was changed, ended or hidden: "
                "precompute() anew"
            )
    return [there[one] for one in wanted]


def _put(engine: ActivationEngine, ledger: Ledger, vault: MemVault, cube: MemCube) -> None:
    """All of it knows the cube and every memory behind it: with any of them it is dropped."""
    from memos_integrations.memories.activation.cache_files import from_bytes

    assert isinstance(cube.payload, Activation)
    pieces, named = from_bytes(vault.blobs.get(cube.payload.blob), engine.model)
    behind = {Source(cube.id, cube.version), *sources_of(cube), *named}
    lease: Lease[Piece] = Lease(engine.root(ledger.salt([cube.namespace])))
    try:
        for tokens, piece in pieces:
            if engine.tree.add(lease, tokens, piece.to(engine.model.device), behind) is None:
                return  # no room, or dropped meanwhile
    finally:
        engine.tree.release(lease)


def _is_of(cube: MemCube, memory: MemOS | MemorySession) -> bool:
    return isinstance(memory, MemOS) or cube.namespace == memory.namespace


def _pairs(cube: MemCube) -> list[tuple[str, int]]:
    return [(one.cube_id, one.version) for one in sources_of(cube)]
