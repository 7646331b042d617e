"""Nearest vectors: the exact scan over SQL, and the Chroma index for large namespaces.

All vectors have unit length, so the dot product is the cosine.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from memos_integrations.infrastructure import index_blanks
from memos_integrations.infrastructure.schema import embeddings, facets
from memos_integrations.protocols import Vectors

SCAN_ROWS = 16_384
"""Rows read at a time by the exact scan: 24 MB at 384 dimensions."""

# The whole namespace is read without SQLAlchemy's row objects: this is the hot loop.
_NAMESPACE = "SELECT cube_pk, vector FROM embeddings WHERE namespace_pk = ?"
_FACETS = "SELECT cube_pk, vector FROM facets WHERE namespace_pk = ?"


def scan_namespace(
    tx: sa.Connection, namespace_pk: int, vector: Vectors, limit: int
) -> list[tuple[int, float]]:
    """The best ``limit`` pairs ``(cube_pk, cosine)`` of a namespace, exactly, best first."""
    return _best(tx.exec_driver_sql(_NAMESPACE, (namespace_pk,)), vector, limit)


def scan_among(
    tx: sa.Connection, among: sa.Select[tuple[int]], vector: Vectors, limit: int
) -> list[tuple[int, float]]:
    """The same over the cubes that the query ``among`` selects."""
    rows = sa.select(embeddings.c.cube_pk, embeddings.c.vector).where(
        embeddings.c.cube_pk.in_(among)
    )
    return _best(tx.execute(rows), vector, limit)


def scan_facets(tx: sa.Connection, namespace_pk: int, vector: Vectors) -> dict[int, float]:
    """Cosine of the nearest further piece, for each cube of a namespace that has such pieces."""
    return _nearest_piece(tx.exec_driver_sql(_FACETS, (namespace_pk,)), vector)


def scan_facets_among(
    tx: sa.Connection, among: sa.Select[tuple[int]], vector: Vectors
) -> dict[int, float]:
    """The same over the cubes that the query ``among`` selects."""
    rows = sa.select(facets.c.cube_pk, facets.c.vector).where(facets.c.cube_pk.in_(among))
    return _nearest_piece(tx.execute(rows), vector)


def _nearest_piece(rows: sa.CursorResult[Any], vector: Vectors) -> dict[int, float]:
    best: dict[int, float] = {}
    cursor = rows.cursor
    assert cursor is not None
    while page := cursor.fetchmany(SCAN_ROWS):
        scores = decode([row[1] for row in page]) @ vector
        for (pk, _), score in zip(page, scores.tolist(), strict=True):
            best[pk] = max(score, best.get(pk, score))
    rows.close()
    return best


def best_of(
    one: Iterable[tuple[int, float]], other: Iterable[tuple[int, float]], limit: int
) -> list[tuple[int, float]]:
    """The best ``limit`` of two rankings; who stands in both counts by the better score."""
    best: dict[int, float] = {}
    for pk, score in (*one, *other):
        best[pk] = max(score, best.get(pk, score))
    return sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]


def _best(rows: sa.CursorResult[Any], vector: Vectors, limit: int) -> list[tuple[int, float]]:
    best: list[tuple[int, float]] = []
    cursor = rows.cursor  # the driver's own cursor: plain tuples
    assert cursor is not None
    while page := cursor.fetchmany(SCAN_ROWS):
        matrix = decode([row[1] for row in page])
        scores = matrix @ vector
        # All that are as near as the last one kept: of equals, the oldest memories come first.
        last = np.partition(scores, -limit)[-limit] if limit < len(scores) else scores.min()
        top = np.flatnonzero(scores >= last)
        best += [(page[i][0], float(scores[i])) for i in top.tolist()]
        best = sorted(best, key=lambda pair: (-pair[1], pair[0]))[:limit]
    rows.close()
    return best


def encode(vector: Vectors) -> bytes:
    """A vector as stored: float32, little-endian."""
    return np.ascontiguousarray(vector, dtype="<f4").tobytes()


def decode(blobs: Sequence[bytes]) -> Vectors:
    """Stored vectors as float32 of shape ``(n, dimension)``."""
    return np.frombuffer(b"".join(blobs), dtype="<f4").reshape(len(blobs), -1)


class ChromaIndex:
    """Chroma, embedded: a :class:`~memos_integrations.protocols.VectorIndex` in its own folder.

    It gets opaque integers and vectors: no text, no metadata, no names. Until every collection has
    saved its files for the first time, calls go one by one, and after each the files are freed of
    foreign memory (:mod:`.index_blanks`).
    """

    PAGE = 2_000

    def __init__(self, folder: Path) -> None:
        import chromadb
        from chromadb.config import Settings

        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._saved: set[Path] = set()
        self._all_saved = False
        self._one_by_one = threading.RLock()
        self._blank()  # a process may have died before it did
        self._client: Any = chromadb.PersistentClient(
            str(folder), settings=Settings(anonymized_telemetry=False)
        )
        self._collections: dict[str, Any] = {}

    @contextmanager
    def _using(self, name: str) -> Iterator[Any]:
        """A collection, for one call."""
        found = self._collections.get(name)
        if found is not None and self._all_saved:
            yield found
            return
        with self._one_by_one:
            self._all_saved = False
            try:
                yield self._collection(name)
            finally:
                self._blank()
                self._all_saved = len(self._saved) >= self._client.count_collections()

    def _collection(self, name: str) -> Any:
        found = self._collections.get(name)
        if found is None:
            found = self._client.get_or_create_collection(
                name, embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
            )
            self._collections[name] = found
        return found

    def _blank(self) -> None:
        present = index_blanks.indexes(self._folder)
        for index in present - self._saved:
            index_blanks.blank(index)
        self._saved = {index for index in present if index_blanks.is_saved(index)}

    def upsert(self, collection: str, keys: Sequence[int], vectors: Vectors) -> None:
        """Set the vectors (float32, ``(n, dimension)``, unit length) of ``keys``."""
        if len(keys):
            with self._using(collection) as found:
                found.upsert(ids=[str(key) for key in keys], embeddings=vectors)

    def delete(self, collection: str, keys: Sequence[int]) -> None:
        """Remove keys; those that are not there are ignored."""
        if len(keys):
            with self._using(collection) as found:
                found.delete(ids=[str(key) for key in keys])

    def query(self, collection: str, vector: Vectors, limit: int) -> list[tuple[int, float]]:
        """Up to ``limit`` pairs ``(key, cosine)``, best first, approximately."""
        with self._using(collection) as found:
            answer = found.query(
                query_embeddings=vector.reshape(1, -1), n_results=limit, include=["distances"]
            )
        return [
            (int(key), 1.0 - distance)
            for key, distance in zip(answer["ids"][0], answer["distances"][0], strict=True)
        ]

    def count(self, collection: str) -> int:
        """How many keys it holds."""
        with self._using(collection) as found:
            return int(found.count())

    def drop(self, collection: str) -> None:
        """Forget a collection."""
        with self._one_by_one:
            self._collections.pop(collection, None)
            if collection in {found.name for found in self._client.list_collections()}:
                self._client.delete_collection(collection)

    def scan(self, collection: str) -> Iterator[tuple[list[int], Vectors]]:
        """Every key with its vector, in pages of :attr:`PAGE`."""
        offset = 0
        while True:
            with self._using(collection) as found:
                page = found.get(limit=self.PAGE, offset=offset, include=["embeddings"])
            if not page["ids"]:
                return
            yield [int(key) for key in page["ids"]], np.asarray(page["embeddings"], dtype="<f4")
            offset += len(page["ids"])

    def close(self) -> None:
        """Write what is open and let go of the files."""
        self._collections.clear()
        self._client.close()
