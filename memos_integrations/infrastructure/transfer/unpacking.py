"""From an archive to staged rows: every member is read once, and believed in nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from memos_integrations.errors import ArchiveError
from memos_integrations.infrastructure.transfer.format import MAX_TENSORS, ROWS
from memos_integrations.infrastructure.transfer.reading import Archive
from memos_integrations.infrastructure.transfer.staging import Staged
from memos_integrations.infrastructure.vectors import encode
from memos_integrations.protocols import EmbedderFingerprint, Vectors

Change = Callable[[dict[str, Any]], dict[str, Any]]
"""What becomes of a row before it is staged."""
MAX_BLOB = 8 << 30
_UNIT = 1e-3


def unpack(
    archive: Archive,
    staged: Staged,
    *,
    version: Change,
    activity: Change,
    embedder: EmbedderFingerprint | None,
    told: Callable[[int], object],
) -> None:
    """Stage all of it; :class:`ArchiveError` for anything that no dump would have written.

    ``embedder``: whose vectors are taken over; ``None``: nobody's, they are checked and left.
    """
    for row in archive.lines("activities"):
        staged.activity(activity(row))
    for row in archive.lines("memories"):
        staged.memory(row)
    for count, row in enumerate(archive.lines("versions"), 1):
        staged.version(version(row))
        told(count)
    takers: dict[str, Callable[[dict[str, Any]], None]] = {
        "edges": staged.edge,
        "links": staged.link,
        "transitions": staged.transition,
        "grants": staged.grant,
    }
    for table, take in takers.items():
        for row in archive.lines(table):
            take(row)
    for _ in archive.lines("audit"):
        pass  # evidence: its hash was right
    _vectors(archive, staged, embedder)
    for name in archive.named("blobs"):
        if archive.manifest.members[name].sha256 != name.removeprefix("blobs/"):
            raise ArchiveError(f"{name} is named after other bytes")
        for _ in archive.parts(name):
            pass
    staged.check()
    _check_blobs(archive, staged)


def _vectors(archive: Archive, staged: Staged, embedder: EmbedderFingerprint | None) -> None:
    said = archive.manifest.embedder
    if (said is None) != ("vectors.jsonl" not in archive.manifest.members):
        if said is None or archive.named("vectors"):
            raise ArchiveError("vectors without an embedder, or without names")
        return
    if said is None:
        if archive.named("vectors"):
            raise ArchiveError("vectors without an embedder")
        return
    wanted = _fingerprint(said)
    rows = _rows(archive, wanted.dimension)
    for row in archive.lines("vectors"):
        vector = next(rows, None)
        if vector is None or set(row) != {"memory", "part"} or type(row["part"]) is not int:
            raise ArchiveError("vectors.jsonl does not name the rows of the vectors")
        taken = encode(vector) if embedder == wanted else None
        staged.vector(str(row["memory"]), row["part"], taken)
    if next(rows, None) is not None:
        raise ArchiveError("there are vectors without a name")


def _fingerprint(said: dict[str, Any]) -> EmbedderFingerprint:
    try:
        made = EmbedderFingerprint.read(said)
    except TypeError:
        raise ArchiveError("the manifest names no proper embedder") from None
    if type(made.dimension) is not int or not 1 <= made.dimension <= 65_536:
        raise ArchiveError("the manifest names an embedder of an impossible dimension")
    return made


def _rows(archive: Archive, dimension: int) -> Iterator[Vectors]:
    for name in archive.named("vectors"):
        yield from _tensor(archive.whole(name, MAX_TENSORS), dimension, name)


def _tensor(raw: bytes, dimension: int, name: str) -> Vectors:
    """float32, ``(n, dimension)``, finite, unit length."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        found = load(raw)
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise ArchiveError(f"{name} is no safetensors file: {error!s:.200}") from None
    if list(found) != ["vectors"]:
        raise ArchiveError(f"{name} holds other tensors than vectors")
    rows = found["vectors"]
    if rows.dtype != np.float32 or rows.ndim != 2 or rows.shape[1] != dimension:
        raise ArchiveError(f"{name} holds {rows.dtype} {rows.shape}: not float32 (n, {dimension})")
    if not 0 < len(rows) <= ROWS or not np.isfinite(rows).all():
        raise ArchiveError(f"{name} holds no vectors, too many, or some that are not finite")
    if np.abs(np.linalg.norm(rows, axis=1) - 1).max() > _UNIT:
        raise ArchiveError(f"{name} holds vectors that are not of unit length")
    return rows


def _check_blobs(archive: Archive, staged: Staged) -> None:
    """What memories consist of must be there, whole; and nothing else."""
    query = (
        "SELECT DISTINCT json_extract(body, '$.payload.blob'), json_extract(body, "
        "'$.payload.size') FROM versions WHERE json_extract(body, '$.payload.type') != 'plaintext'"
    )
    wanted = {f"blobs/{digest}": size for digest, size in staged.rows(query)}
    if set(wanted) != set(archive.named("blobs")):
        raise ArchiveError("the blobs of the archive are not those that its memories consist of")
    for name, size in wanted.items():
        if archive.manifest.members[name].size != size or size > MAX_BLOB:
            raise ArchiveError(f"{name} has another size than its memory says")
