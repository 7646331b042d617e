"""A package: which memories, whose, under which licence, until when; signed with Ed25519.

What is signed is the exact text of the index, in which each memory has the hash of its content. So
a changed memory, a changed index, and an index under another name are all seen.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from datetime import datetime
from types import NoneType
from typing import Any

from memos_integrations.checks import check_id, check_text, check_time
from memos_integrations.errors import InvalidInputError, MissingExtraError, PackageError

FORMAT = "memos-package-1"
MAX_INDEX = 32 << 20
MAX_MEMORIES = 100_000
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,3}")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Package:
    """One version of a package, as its publisher signed it."""

    name: str
    version: str
    publisher: str
    """The public key, in hex: who knows it knows whose package it is."""
    licence: str
    description: str
    tags: tuple[str, ...]
    published_at: datetime
    expires_at: datetime | None
    memories: dict[str, str]
    """Id of each memory, and the hash of its content."""

    @property
    def label(self) -> str:
        """Such as ``recipes@1.2``."""
        return f"{self.name}@{self.version}"

    def signed(self, key: Any) -> bytes:
        """The index, with a signature."""
        said = {
            **asdict(self),
            "format": FORMAT,
            "published_at": self.published_at.isoformat(),
            "expires_at": None if self.expires_at is None else self.expires_at.isoformat(),
        }
        text = json.dumps(said, sort_keys=True)
        signature = private_key(key).sign(text.encode()).hex()
        return json.dumps({"signed": text, "signature": signature}).encode()

    def newer_than(self, version: str) -> bool:
        """Whether it follows another version."""
        return order(self.version) > order(version)

    def check_time(self, now: datetime) -> None:
        """Refuse what is over."""
        if self.expires_at is not None and self.expires_at <= now:
            raise PackageError(f"{self.label} expired at {self.expires_at.isoformat()}")


def opened(raw: bytes, *, name: str, version: str, publisher: str) -> Package:
    """The package of this name, version and publisher; :class:`PackageError` for anything else."""
    try:
        written = json.loads(raw)
        text, signature = written["signed"], bytes.fromhex(written["signature"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise PackageError(f"{name}@{version} has no signed index") from None
    _verify(publisher, signature, text, f"{name}@{version}")
    package = _read(text)
    if (package.name, package.version, package.publisher) != (name, version, publisher):
        raise PackageError(f"{name}@{version} is the index of another package: {package.label}")
    return package


def _read(text: str) -> Package:
    try:
        said = json.loads(text)
        if said.pop("format") != FORMAT:
            raise InvalidInputError("it has another format")
        made = Package(
            **{
                **said,
                "tags": tuple(check_text(one, max_bytes=256) for one in said["tags"]),
                "published_at": check_time(datetime.fromisoformat(said["published_at"])),
                "expires_at": None
                if said["expires_at"] is None
                else check_time(datetime.fromisoformat(said["expires_at"])),
            }
        )
        check_name(made.name)
        order(made.version)
        if not isinstance(made.licence, str) or not isinstance(made.description, str | NoneType):
            raise InvalidInputError("its licence or description is no text")
        if len(made.memories) > MAX_MEMORIES:
            raise InvalidInputError("it has too many memories")
        for cube_id, digest in made.memories.items():
            if check_id(cube_id) != cube_id or not _HASH.fullmatch(digest):
                raise InvalidInputError("a memory has no proper id or hash")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PackageError(f"the index of a package cannot be read: {error!s:.200}") from None
    return made


def _verify(publisher: str, signature: bytes, text: Any, what: str) -> None:
    ed25519, InvalidSignature = _crypto()
    try:
        key = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(publisher))
        key.verify(signature, text.encode())
    except (InvalidSignature, ValueError, AttributeError):
        raise PackageError(f"{what} was not signed by {publisher[:16]}...: it is refused") from None


def private_key(key: Any) -> Any:
    """A private Ed25519 key: as an object of ``cryptography``, as PEM, or as 32 bytes."""
    ed25519, _ = _crypto()
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    try:
        if isinstance(key, bytes) and len(key) == 32:
            return ed25519.Ed25519PrivateKey.from_private_bytes(key)
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        made = load_pem_private_key(key, None)
    except (ValueError, TypeError):
        made = None
    if not isinstance(made, ed25519.Ed25519PrivateKey):
        raise InvalidInputError("key is no private Ed25519 key: give 32 bytes, or PEM as bytes")
    return made


def public_hex(key: Any) -> str:
    """The public half of a private key, in hex: the name of a publisher."""
    return str(private_key(key).public_key().public_bytes_raw().hex())


def _crypto() -> tuple[Any, Any]:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise MissingExtraError(
            "packages are signed with cryptography: pip install 'memos-integrations[market]'"
        ) from None
    return ed25519, InvalidSignature


def mark_of(publisher: str, name: str) -> bytes:
    """What the texts of a package are marked with, in every version: four bytes."""
    return hashlib.sha256(json.dumps([publisher, name]).encode()).digest()[:4]


def check_name(name: object) -> str:
    """The name of a package, if it may be one."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidInputError(f"package {name!r:.80}: use a-z, 0-9, dot, dash and underscore")
    return name


def check_publisher(publisher: object) -> str:
    """A public key in hex."""
    if not isinstance(publisher, str) or not _HASH.fullmatch(publisher):
        raise InvalidInputError("publisher is the public key: 64 hex digits")
    return publisher


def order(version: object) -> tuple[int, ...]:
    """A version such as 1.2, to compare."""
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise InvalidInputError(f"version {version!r:.40}: use numbers and dots, such as 1.2")
    numbers = tuple(map(int, version.split(".")))
    return numbers + (0,) * (4 - len(numbers))
