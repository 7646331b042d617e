"""Files that no memory names yet: noted before they are written, taken away if none ever does."""

from __future__ import annotations

import sqlalchemy as sa

from memos_integrations.infrastructure.schema import settings, versions
from memos_integrations.infrastructure.vault import MemVault

_PREFIX = "unkept:"


def expect(vault: MemVault, digest: str) -> None:
    """A blob of this name is about to be written, and a memory that names it after that."""

    def note(tx: sa.Connection) -> tuple[None, bool]:
        kept(tx, digest)
        tx.execute(sa.insert(settings).values(key=_PREFIX + digest, value=""))
        return None, False

    vault.commit(note)


def kept(tx: sa.Connection, digest: str) -> None:
    """A memory names it now: in the transaction that writes that."""
    tx.execute(sa.delete(settings).where(settings.c.key == _PREFIX + digest))


def drop(vault: MemVault, digest: str) -> None:
    """There will be no such memory: the blob goes, unless another one names it."""

    def forget(tx: sa.Connection) -> tuple[bool, bool]:
        kept(tx, digest)
        return _is_named(tx, digest), False

    if not vault.commit(forget):
        vault.blobs.delete(digest)


def recover(vault: MemVault) -> None:
    """Take away what a process left that was killed in between; for a store that just opened."""
    with vault.reading() as (tx, _):
        noted = tx.execute(sa.select(settings.c.key).where(settings.c.key.startswith(_PREFIX)))
        left = [key.removeprefix(_PREFIX) for key in noted.scalars()]
    if left:
        vault.blobs.remove_unfinished()
    for digest in left:
        drop(vault, digest)


def _is_named(tx: sa.Connection, digest: str) -> bool:
    blob = sa.func.json_extract(versions.c.body, "$.payload.blob")
    named = sa.select(versions.c.pk).where(
        versions.c.memory_type.in_(("activation", "parameter")), blob == digest
    )
    return tx.execute(named.limit(1)).first() is not None
