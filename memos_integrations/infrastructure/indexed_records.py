"""What the records say to the vector index: what it shall hold, and what changed since."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from memos_integrations.infrastructure.database import Database
from memos_integrations.infrastructure.records import queue_everything
from memos_integrations.infrastructure.schema import (
    activities,
    embeddings,
    namespaces,
    outbox,
    settings,
    versions,
)


@dataclass(frozen=True)
class Batch:
    """Entries that may have changed."""

    keys: dict[str, set[int]]
    """By collection."""
    vectors: dict[int, bytes]
    """Of those that are to be found; the others are gone."""
    last: int
    """The outbox is read up to here."""


class IndexedRecords:
    """Reads and writes the outbox and its like, each time in a transaction of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def has_large(self) -> bool:
        """Whether a namespace is large enough to have an index."""
        query = sa.select(namespaces.c.pk).where(namespaces.c.collection.is_not(None)).limit(1)
        with self._database.read() as tx:
            return tx.execute(query).first() is not None

    def worn(self, least: int) -> bool:
        """An HNSW graph loses recall with every deletion: whether a full turnover is reached."""
        query = sa.select(namespaces.c.pk).where(
            namespaces.c.collection.is_not(None),
            namespaces.c.churn > sa.func.max(namespaces.c.live, least),
        )
        with self._database.read() as tx:
            return tx.execute(query).first() is not None

    def pending(self) -> bool:
        """Whether a committed change waits for the index."""
        with self._database.read() as tx:
            return tx.execute(sa.select(outbox.c.seq).limit(1)).first() is not None

    def entry(self, key: int) -> tuple[bool, bytes | None]:
        """Whether a change of this entry waits, and its vector."""
        with self._database.read() as tx:
            waits = tx.execute(sa.select(outbox.c.seq).where(outbox.c.cube_pk == key)).first()
            query = sa.select(embeddings.c.vector).where(embeddings.c.cube_pk == key)
            return waits is not None, tx.execute(query).scalar()

    def folder(self) -> str | None:
        """The name of the folder the index is in."""
        query = sa.select(settings.c.value).where(settings.c.key == "index_folder")
        with self._database.read() as tx:
            return tx.execute(query).scalar()

    def watermark(self) -> str:
        """What identifies a state of the records: the newest version, verb and folder."""
        with self._database.read() as tx:
            newest = [
                tx.execute(sa.select(sa.func.max(column))).scalar()
                for column in (versions.c.pk, activities.c.pk)
            ]
            store = tx.execute(
                sa.select(settings.c.value).where(settings.c.key == "store_id")
            ).scalar()
        return json.dumps([store, *newest])

    def batch(self, limit: int) -> Batch | None:
        """What changed first; ``None`` if nothing waits."""
        query = (
            sa.select(
                outbox.c.seq, outbox.c.namespace_pk, outbox.c.cube_pk, namespaces.c.collection
            )
            .join(namespaces, namespaces.c.pk == outbox.c.namespace_pk)
            .order_by(outbox.c.seq)
            .limit(limit)
        )
        with self._database.read() as tx:
            rows = tx.execute(query).all()
            if not rows:
                return None
            found = sa.select(embeddings.c.cube_pk, embeddings.c.vector).where(
                embeddings.c.cube_pk.in_({row.cube_pk for row in rows})
            )
            vectors = dict(tx.execute(found).all())
        keys: dict[str, set[int]] = {}
        for row in rows:
            keys.setdefault(row.collection, set()).add(row.cube_pk)
        return Batch(keys, vectors, rows[-1].seq)

    def done(self, batch: Batch) -> None:
        """The index holds these changes."""
        gone = sa.delete(outbox).where(outbox.c.seq <= batch.last)
        self._database.write(lambda tx: tx.execute(gone) and None)

    def enqueue(self, collection: str, keys: Iterable[int]) -> None:
        """Let the index look at entries of a collection again."""

        def work(tx: sa.Connection) -> None:
            pk = tx.execute(
                sa.select(namespaces.c.pk).where(namespaces.c.collection == collection)
            ).scalar_one()
            rows = [{"namespace_pk": pk, "cube_pk": key} for key in sorted(keys)]
            tx.execute(sa.insert(outbox), rows)

        self._database.write(work)

    def enqueue_all(self, folder: str) -> None:
        """Let it begin anew in a folder of this name."""
        self._database.write(lambda tx: queue_everything(tx, folder))
