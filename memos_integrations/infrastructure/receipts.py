"""Receipts of erasures: what went, what stayed, what could not be reached; without a word of it.

Kept in the store as JSON: ids, counts and times. The ``reason`` is the caller's own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.infrastructure.schema import erasures, to_micros


@dataclass(frozen=True)
class Gone:
    """A memory whose content was erased."""

    id: str
    namespace: Namespace
    versions: int
    derived: bool = False
    """It was not asked for: it came from one that was."""


@dataclass(frozen=True)
class Left:
    """A version of a memory that had left the store before, and cannot be reached."""

    id: str
    version: int
    archive: str
    """Id of the archive or package."""
    principal: str
    at: datetime


@dataclass(frozen=True)
class Receipt:
    """What an erasure took away; of a dry run, what it would. As a string, lines to read."""

    id: str
    at: datetime
    principal: str
    namespace: Namespace
    """Where it was asked for."""
    reason: str
    memories: tuple[Gone, ...]
    """Those asked for first, then what came from them."""
    kept_derived: tuple[str, ...] = ()
    """Memories that came from these and stay, by ``cascade=False``: their words may be the same."""
    kept_sources: tuple[str, ...] = ()
    """Memories that these came from. They stay: their words may be the same."""
    vectors: int = 0
    """Also former ones, and those of parts of a text."""
    words: int = 0
    """Rows of the full-text index, also former ones."""
    keys: int = 0
    """Names that memories were known by."""
    links: int = 0
    placements: int = 0
    """Notes of prompts that they stood in."""
    sealed: int = 0
    """Pieces of content that were kept encrypted."""
    blobs: tuple[str, ...] = ()
    """Digests of files."""
    pieces: int = 0
    """Cached pieces (KV) on disk that knew one of them."""
    piece_bytes: int = 0
    adapters: tuple[str, ...] = ()
    """Those of the memories that are weights of a model, trained on the others."""
    exports: tuple[Left, ...] = ()
    """What left the store before; ask those who have it."""
    bytes_freed: int = 0
    """By how much the folder shrank."""
    seconds: float = 0.0
    finished: bool = False
    """Whether the bytes are gone from every file. If not, the next opening sees to it."""
    unfinished: str = ""
    """Why not."""
    dry_run: bool = False

    @property
    def ids(self) -> tuple[str, ...]:
        """Of all memories that went."""
        return tuple(one.id for one in self.memories)

    @property
    def derived(self) -> tuple[str, ...]:
        """Of those that were not asked for."""
        return tuple(one.id for one in self.memories if one.derived)

    def as_dict(self) -> dict[str, Any]:
        """JSON-plain."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, written: dict[str, Any]) -> Receipt:
        """The inverse of :meth:`as_dict`."""
        made = dict(written)
        made["at"] = datetime.fromisoformat(made["at"])
        made["namespace"] = tuple(made["namespace"])
        made["memories"] = tuple(
            Gone(**{**one, "namespace": tuple(one["namespace"])}) for one in made["memories"]
        )
        made["exports"] = tuple(
            Left(**{**one, "at": datetime.fromisoformat(one["at"])}) for one in made["exports"]
        )
        for name in ("kept_derived", "kept_sources", "blobs", "adapters"):
            made[name] = tuple(made[name])
        return cls(**made)

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value


def _lines(receipt: Receipt) -> list[str]:
    done = "would be erased" if receipt.dry_run else "erased"
    asked = [one for one in receipt.memories if not one.derived]
    came = [one for one in receipt.memories if one.derived]
    when = f"{receipt.at:%Y-%m-%d %H:%M} UTC"
    lines = [f"{done}: {_memories(receipt.memories)}, {when}, by {receipt.principal}"]
    lines += [f"  {one.id}: {_count(one.versions, 'version')}" for one in asked]
    lines += [f"  {one.id}: {_count(one.versions, 'version')}, came from these" for one in came]
    counts = {
        "vector": receipt.vectors,
        "row of words": receipt.words,
        "key": receipt.keys,
        "link": receipt.links,
        "note of a prompt": receipt.placements,
        "sealed piece": receipt.sealed,
        "blob": len(receipt.blobs),
        "cached piece": receipt.pieces,
        "adapter": len(receipt.adapters),
    }
    told = ", ".join(_count(number, what) for what, number in counts.items() if number)
    if told:
        lines.append(f"with them: {told}")
    if receipt.kept_derived:
        lines.append(f"came from these and stays: {', '.join(receipt.kept_derived)}")
    if receipt.kept_sources:
        lines.append(f"these came from, and stays: {', '.join(receipt.kept_sources)}")
    lines += [
        f"out of reach: version {one.version} of {one.id} left in {one.archive} "
        f"({one.at:%Y-%m-%d %H:%M} UTC, by {one.principal})"
        for one in receipt.exports
    ]
    if receipt.finished:
        lines.append(f"{receipt.bytes_freed:,} bytes freed in {receipt.seconds:.2f} s")
    elif not receipt.dry_run:
        lines.append(f"not finished, goes on at the next opening: {receipt.unfinished}")
    return lines


def _memories(gone: Sequence[Gone]) -> str:
    number = len(gone)
    return f"{number} {'memory' if number == 1 else 'memories'}"


def _count(number: int, what: str) -> str:
    first, _, rest = what.partition(" ")
    plural = f"{first}s {rest}".strip() if number != 1 else what
    return f"{number:,} {plural}"


# In SQL ----------------------------------------------------------------------------------------


def write(tx: sa.Connection, receipt: Receipt) -> int:
    """Keep the receipt of an erasure that is begun; return its key."""
    inserted = tx.execute(
        sa.insert(erasures).values(
            id=receipt.id,
            principal=receipt.principal,
            at=to_micros(receipt.at),
            receipt=json.dumps(receipt.as_dict()),
        )
    )
    return int(inserted.inserted_primary_key[0])  # type: ignore[index]


def finish(tx: sa.Connection, receipt: Receipt, at: datetime) -> Receipt:
    """Note that nothing of it is left."""
    done = replace(receipt, finished=True, unfinished="")
    tx.execute(
        sa.update(erasures)
        .where(erasures.c.id == receipt.id)
        .values(finished_at=to_micros(at), receipt=json.dumps(done.as_dict()))
    )
    return done


def unfinished(tx: sa.Connection) -> list[Receipt]:
    """Erasures that were committed, and whose bytes may still lie in a file; oldest first."""
    where = erasures.c.finished_at.is_(None)
    rows = tx.execute(sa.select(erasures.c.receipt).where(where).order_by(erasures.c.pk))
    return [Receipt.from_dict(json.loads(written)) for written in rows.scalars()]


def count(tx: sa.Connection) -> int:
    """How many erasures there were."""
    return int(tx.execute(sa.select(sa.func.count()).select_from(erasures)).scalar_one())


def asked_in(tx: sa.Connection, path: Namespace) -> list[Receipt]:
    """The erasures that were asked for in a namespace, oldest first."""
    rows = tx.execute(sa.select(erasures.c.receipt).order_by(erasures.c.pk)).scalars()
    return [
        one for written in rows if (one := Receipt.from_dict(json.loads(written))).namespace == path
    ]
