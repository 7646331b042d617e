"""Embed a whole store anew, when another embedder is to be used.

New vectors are staged beside the old ones; one transaction exchanges them. So an interrupted
run changes nothing and goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import sqlalchemy as sa

from memos_integrations.cube import MemCube
from memos_integrations.infrastructure.records import queue_everything
from memos_integrations.infrastructure.schema import (
    cubes,
    embeddings,
    settings,
    staged_embeddings,
    versions,
)
from memos_integrations.infrastructure.vault import MemVault, fingerprint_json
from memos_integrations.infrastructure.vectors import encode
from memos_integrations.protocols import EmbedderFingerprint, Vectors

BATCH = 256

Embed = Callable[[list[MemCube]], Vectors]
"""Cubes to float32 vectors of unit length, ``(n, dimension)``."""


def reindex(
    vault: MemVault,
    fingerprint: EmbedderFingerprint,
    embed: Embed,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Replace every vector by the new embedder's; return how many there are.

    The caller owns the vault alone: nothing may be added meanwhile.
    """
    name = fingerprint_json(fingerprint)
    database = vault.database
    database.write(
        lambda tx: (
            tx.execute(
                sa.delete(staged_embeddings).where(staged_embeddings.c.embedder != name)
            ).rowcount
        )
    )
    with database.read() as tx:
        total = int(tx.execute(sa.select(sa.func.count()).select_from(embeddings)).scalar_one())
    done = 0
    while batch := _unstaged(vault, BATCH):
        vectors = embed([cube for _, _, cube in batch])
        rows = [
            {"cube_pk": pk, "version_pk": version, "embedder": name, "vector": encode(vector)}
            for (pk, version, _), vector in zip(batch, vectors, strict=True)
        ]
        database.write(partial(_stage, rows))
        done += len(batch)
        if progress is not None:
            progress(min(done, total), total)
    database.write(lambda tx: _exchange(tx, name))
    return total


def _stage(rows: list[dict[str, Any]], tx: sa.Connection) -> None:
    tx.execute(sa.insert(staged_embeddings), rows)


def _unstaged(vault: MemVault, limit: int) -> list[tuple[int, int, MemCube]]:
    staged = sa.select(staged_embeddings.c.cube_pk).where(
        staged_embeddings.c.version_pk == cubes.c.head_pk
    )
    query = (
        sa.select(cubes.c.pk, cubes.c.head_pk, versions.c.body)
        .join(versions, versions.c.pk == cubes.c.head_pk)
        .join(embeddings, embeddings.c.cube_pk == cubes.c.pk)
        .where(cubes.c.pk.not_in(staged))
        .order_by(cubes.c.pk)
        .limit(limit)
    )
    with vault.database.read() as tx:
        rows = tx.execute(query).all()
    return [(pk, head, MemCube.model_validate_json(body)) for pk, head, body in rows]


def _exchange(tx: sa.Connection, name: str) -> None:
    fresh = (
        sa.select(staged_embeddings.c.vector)
        .where(staged_embeddings.c.cube_pk == embeddings.c.cube_pk)
        .scalar_subquery()
    )
    tx.execute(sa.update(embeddings).values(vector=fresh))
    tx.execute(sa.delete(staged_embeddings))
    tx.execute(sa.delete(settings).where(settings.c.key == "embedder"))
    tx.execute(sa.insert(settings).values(key="embedder", value=name))
    # A folder that does not exist yet: whoever opens the store next builds the index there.
    queue_everything(tx, "rebuild-after-reindex")
