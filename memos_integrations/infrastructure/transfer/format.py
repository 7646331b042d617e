"""The archive: a zip of JSON Lines and safetensors, and a manifest with the hash of each member.

::

    memories.jsonl     where each memory stands, in which state, under which key
    versions.jsonl     every version: header and payload
    activities.jsonl   who did what, when
    edges.jsonl        what came from what
    links.jsonl        what has to do with what
    transitions.jsonl  changes of state
    grants.jsonl       who may (if asked for)
    audit.jsonl        the log of the store (if asked for): evidence, read by nobody here
    vectors.jsonl      whose vector each row of vectors/00000.safetensors ... is
    blobs/<sha256>     weights and KV caches that memories consist of
    manifest.json      the last member: without it nothing loads
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from types import NoneType
from typing import Any

from memos_integrations.checks import check_id, check_namespace
from memos_integrations.errors import ArchiveError

FORMAT, VERSION = "memos-archive", 1
MANIFEST = "manifest.json"
TABLES = (
    "activities",
    "memories",
    "versions",
    "edges",
    "links",
    "transitions",
    "grants",
    "audit",
    "vectors",
)
NAME = re.compile(
    rf"manifest\.json|(?:{'|'.join(TABLES)})\.jsonl|vectors/[0-9]{{5}}\.safetensors|"
    r"blobs/[0-9a-f]{64}"
)
ROWS = 4096
"""Vectors in one file."""

MAX_DIRECTORY = 4 << 20
"""The most bytes of the zip's directory: about 60,000 members."""
MAX_MANIFEST = 16 << 20
MAX_LINE = 32 << 20
"""The longest line: a text of 1 MiB, written with six characters a byte, and its header."""
MAX_TENSORS = 256 << 20
"""The largest file of vectors."""
MAX_BYTES = 64 << 30
"""The most bytes that come out of one archive."""
MAX_RATIO = 200
"""How many times an archive of more than :data:`SMALL` bytes may grow."""
SMALL = 8 << 20


@dataclass(frozen=True)
class Member:
    """What the manifest says of a member."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """What an archive says of itself."""

    id: str
    created_at: str
    root: tuple[str, ...]
    """The namespace that was written; those in the archive are relative to it."""
    redacted: bool
    as_of: str | None
    embedder: dict[str, Any] | None
    """Whose vectors are in it."""
    counts: dict[str, int] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)

    def written(self) -> bytes:
        """As it stands in the archive."""
        return dumped({"format": FORMAT, "version": VERSION, **asdict(self)})

    @classmethod
    def read(cls, raw: bytes) -> Manifest:
        """The inverse of :meth:`written`; :class:`ArchiveError` for anything else."""
        said = parsed(raw, MANIFEST)
        if said.pop("format", None) != FORMAT:
            raise ArchiveError("this is no archive of memories: its manifest names another format")
        if (version := said.pop("version", None)) != VERSION:
            raise ArchiveError(
                f"the archive has version {version!r}, this release reads {VERSION}: load it with "
                "the release that wrote it, or a newer one"
            )
        try:
            if not isinstance(said["root"], list):
                raise ValueError("root is no namespace")
            members = {str(name): _member(one) for name, one in said.pop("members").items()}
            made = cls(**{**said, "root": tuple(said["root"]), "members": members})
            made._check()
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ArchiveError(f"the manifest does not fit together: {error!r:.200}") from None
        return made

    def _check(self) -> None:
        """Raise if a field is of another kind."""
        check_id(self.id)
        check_namespace(self.root)
        datetime.fromisoformat(self.created_at)
        if self.as_of is not None:
            datetime.fromisoformat(self.as_of)
        if not isinstance(self.redacted, bool) or not isinstance(self.embedder, dict | NoneType):
            raise ValueError("redacted or embedder is of another kind")
        if any(type(one) is not int or one < 0 for one in self.counts.values()):
            raise ValueError("a count is no number")


def _member(said: Mapping[str, Any]) -> Member:
    made = Member(**said)
    if not re.fullmatch(r"[0-9a-f]{64}", made.sha256) or type(made.size) is not int:
        raise ValueError("a member has no hash or no size")
    if not 0 <= made.size <= MAX_BYTES:
        raise ValueError("a member has an impossible size")
    return made


def dumped(value: Mapping[str, Any]) -> bytes:
    """One line of JSON, always the same for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def parsed(line: bytes, where: str) -> dict[str, Any]:
    """One JSON object; :class:`ArchiveError` for anything else."""
    try:
        found = json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ArchiveError(f"{where} is not JSON: {error!s:.200}") from None
    if not isinstance(found, dict):
        raise ArchiveError(f"{where} is no JSON object")
    return found


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON")
