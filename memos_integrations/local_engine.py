"""The engine that serves a store's memories: the model, and where its caches lie."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from memos_integrations.errors import InvalidInputError, MissingExtraError
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.memories.activation.gate import Gate
from memos_integrations.memories.activation.segments import Source
from memos_integrations.memos import MemOS
from memos_integrations.session import MemorySession

if TYPE_CHECKING:
    from memos_integrations.memories.activation.engine import ActivationEngine
    from memos_integrations.models.causal import CausalModel

GIB = 1 << 30


def store_of(memory: object) -> MemOS | None:
    """Whose memories these are; raises :class:`InvalidInputError` for anything else."""
    if memory is None or isinstance(memory, MemOS):
        return memory
    if isinstance(memory, MemorySession):
        return MemOS.at(memory.store)
    raise InvalidInputError(f"memory is {memory!r}: give a MemOS, or a session of one")


def engine_for(
    store: MemOS | None,
    memory: MemOS | MemorySession | None,
    model: CausalModel | str | Path | None,
    *,
    budget: int,
    ram_budget: int | None,
    disk_budget: int,
    disk_dtype: Literal["int8"] | None,
    remote: str | Path | None,
    remote_budget: int | None,
    compiled: bool,
) -> ActivationEngine:
    """Over the store's folder, if there is a store; it follows what becomes of the memories.

    The arguments are those of :class:`~memos_integrations.local_chat.LocalChat`.
    """
    for name, given in (("disk_dtype", disk_dtype), ("remote", remote)):
        if store is None and given is not None:
            raise InvalidInputError(f"{name} is given, and no memory whose caches it is about")
    try:
        from memos_integrations.memories.activation.engine import ActivationEngine
        from memos_integrations.memories.activation.remote import RemoteTier
        from memos_integrations.memories.activation.tiers import FolderTier
        from memos_integrations.models.causal import CausalModel
    except ImportError as error:
        raise MissingExtraError(
            f"a local model needs {error.name}: pip install 'memos-integrations[activation]'"
        ) from error
    elsewhere = store.remotes.at(remote) if store is not None and remote is not None else None
    loaded = model if isinstance(model, CausalModel) else CausalModel.load(model)
    if store is None:
        return ActivationEngine(loaded, budget=budget, ram_budget=ram_budget, compiled=compiled)

    folder = FolderTier(store.pieces, budget=disk_budget, dtype=disk_dtype)
    tier: FolderTier | RemoteTier = folder
    if elsewhere is not None:
        tier = RemoteTier(folder, elsewhere, gate=gate_of(store.vault), budget=remote_budget)
    asker = memory._vault if isinstance(memory, MemorySession) else store.vault
    engine = ActivationEngine(
        loaded,
        budget=budget,
        ram_budget=ram_budget,
        tier=tier,
        gate=gate_of(asker),
        compiled=compiled,
    )
    store.vault.watch(engine.drop_cubes)
    return engine


def gate_of(vault: MemVault) -> Gate:
    """Which versions do not stand any more, or may not be read by whose vault it is."""

    def forbidden(sources: Collection[Source]) -> Collection[Source]:
        gone = vault.outdated([(one.cube_id, one.version) for one in sources])
        return [Source(*one) for one in gone]

    return forbidden
