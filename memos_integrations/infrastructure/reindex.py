"""Embed a whole store anew, when another embedder is to be used.

New vectors are staged beside the old ones; one transaction exchanges them. So an interrupted
run changes nothing and goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import sqlalchemy as sa

from memos_integrations.cube import MemCube
from memos_integrations.infrastructure.embedded import fingerprint_json
from memos_integrations.infrastructure.records import queue_everything
from memos_integrations.infrastructure.schema import (
    cubes,
    embeddings,
    facets,
    past,
    settings,
    staged_embeddings,
    versions,
)
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.infrastructure.vectors import encode
from memos_integrations.protocols import EmbedderFingerprint, Vectors

BATCH = 256

Embed = Callable[[list[str]], Vectors]
"""Texts to float32 vectors of unit length, ``(n, dimension)``."""


class Piece(NamedTuple):
    """One vector to be made: of a whole memory, or of one part of its text."""

    cube_pk: int
    version_pk: int
    part: int
    text: str


def reindex(
    vault: MemVault,
    fingerprint: EmbedderFingerprint,
    embed: Embed,
    text_of: Callable[[MemCube], str],
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Replace every vector by the new embedder's; return how many memories have one.

    ``text_of`` is what a memory is embedded as if it is not found by parts. The caller owns the
    vault alone: nothing may be added meanwhile.
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
        pieces = [
            Piece(pk, version, part, text)
            for pk, version, cube, spans in batch
            for part, text in enumerate(_texts(cube, spans, text_of))
        ]
        vectors = embed([piece.text for piece in pieces])
        rows = [
            {
                "cube_pk": piece.cube_pk,
                "part": piece.part,
                "version_pk": piece.version_pk,
                "embedder": name,
                "vector": encode(vector),
            }
            for piece, vector in zip(pieces, vectors, strict=True)
        ]
        database.write(partial(_stage, rows))
        done += len(batch)
        if progress is not None:
            progress(min(done, total), total)
    database.write(lambda tx: _exchange(tx, name))
    return total


def _stage(rows: list[dict[str, Any]], tx: sa.Connection) -> None:
    tx.execute(sa.insert(staged_embeddings), rows)


def _texts(
    cube: MemCube, further: Sequence[tuple[int, int]], text_of: Callable[[MemCube], str]
) -> list[str]:
    """The first piece ends where the second one begins."""
    if not further:
        return [text_of(cube)]
    first = cube.text[: further[0][0]].removesuffix("\n")
    return [first, *(cube.text[start:stop] for start, stop in further)]


def _unstaged(vault: MemVault, limit: int) -> list[tuple[int, int, MemCube, list[tuple[int, int]]]]:
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
    spans: dict[int, list[tuple[int, int]]] = {}
    with vault.database.read() as tx:
        rows = tx.execute(query).all()
        found = tx.execute(
            sa.select(facets.c.cube_pk, facets.c.start, facets.c.stop)
            .where(facets.c.cube_pk.in_([row.pk for row in rows]))
            .order_by(facets.c.cube_pk, facets.c.part)
        )
        for pk, start, stop in found:
            spans.setdefault(pk, []).append((start, stop))
    return [
        (pk, head, MemCube.model_validate_json(body), spans.get(pk, [])) for pk, head, body in rows
    ]


def _exchange(tx: sa.Connection, name: str) -> None:
    for table, part in ((embeddings, sa.literal(0)), (facets, facets.c.part)):
        fresh = (
            sa.select(staged_embeddings.c.vector)
            .where(staged_embeddings.c.cube_pk == table.c.cube_pk, staged_embeddings.c.part == part)
            .scalar_subquery()
        )
        tx.execute(sa.update(table).values(vector=fresh))
    tx.execute(sa.delete(staged_embeddings))
    # Vectors of another embedder: the past is found by its words from now on.
    tx.execute(sa.update(past).values(vector=None))
    tx.execute(sa.delete(settings).where(settings.c.key == "embedder"))
    tx.execute(sa.insert(settings).values(key="embedder", value=name))
    # A folder that does not exist yet: whoever opens the store next builds the index there.
    queue_everything(tx, "rebuild-after-reindex")
