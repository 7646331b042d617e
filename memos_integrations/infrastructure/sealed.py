"""What was taken out of a text and is kept encrypted: AES-256-GCM, under keys that the caller has.

A piece stands beside the version that it came with, under the mask that stands in the text. It is
bound to store, memory, version and mask: moved anywhere else, it does not open. Later versions,
copies in branches and merged memories that still have the mask find it along their provenance.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.errors import MissingExtraError, SealKeyError
from memos_integrations.infrastructure.driver import hot
from memos_integrations.infrastructure.schema import sealed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_LETTERS = "bcdfghjklmnpqrstvwxz"
"""No vowels, so no words; no digits, so no number."""
_NONCE = 12


@dataclass(frozen=True)
class Piece:
    """What is to be sealed, and the mask that stands for it."""

    place: str
    label: str
    content: str


@dataclass(frozen=True)
class Seal:
    """A sealed piece, as it is kept."""

    cube_id: str
    version: int
    place: str
    label: str
    key_id: str
    content: bytes
    version_pk: int
    owner: str
    """Who owns the version that it came with."""


@dataclass(frozen=True)
class Sealer:
    """Seals and opens for one store, with the keys that there are."""

    store_id: str
    keys: Mapping[str, bytes]
    key_id: str
    """The key that seals; the others only open."""

    def place(self, space: Namespace, label: str, content: str) -> str:
        """The mask of something: equal for equal content of one namespace, while the key is."""
        about = json.dumps([self.store_id, list(space), label, content]).encode()
        digest = hmac.new(self.keys[self.key_id], b"place" + about, hashlib.sha256).digest()
        number, letters = int.from_bytes(digest), ""
        for _ in range(9):
            number, letter = divmod(number, len(_LETTERS))
            letters += _LETTERS[letter]
        return f"[{label}:{letters}]"

    def seal(self, cube_id: str, version: int, piece: Piece) -> bytes:
        """Nonce and ciphertext."""
        nonce = os.urandom(_NONCE)
        bound = self._bound(cube_id, version, piece.place, piece.label)
        cipher = _cipher(self.keys[self.key_id])
        return nonce + bytes(cipher.encrypt(nonce, piece.content.encode(), bound))

    def open(self, one: Seal) -> str:
        """The content. :class:`SealKeyError` without the key, or with another one of this name."""
        if one.key_id not in self.keys:
            raise SealKeyError(
                f"{one.place} was sealed with the key {one.key_id!r}, which is not given: "
                "add it to SensitivePolicy(keys=...)"
            )
        from cryptography.exceptions import InvalidTag

        nonce, content = one.content[:_NONCE], one.content[_NONCE:]
        bound = self._bound(one.cube_id, one.version, one.place, one.label)
        try:
            return bytes(_cipher(self.keys[one.key_id]).decrypt(nonce, content, bound)).decode()
        except InvalidTag:
            raise SealKeyError(
                f"{one.place} does not open with the key {one.key_id!r}: it is another key of this "
                "name, or the record was changed"
            ) from None

    def _bound(self, cube_id: str, version: int, place: str, label: str) -> bytes:
        return json.dumps([self.store_id, cube_id, version, place, label]).encode()


def _cipher(key: bytes) -> AESGCM:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise MissingExtraError(
            f"sealed content needs {error.name}: pip install 'memos-integrations[privacy]'"
        ) from error
    return AESGCM(key)


def write(
    tx: sa.Connection, sealer: Sealer, cube_id: str, version: int, pieces: Iterable[Piece]
) -> None:
    """Keep the pieces of a version that was just written."""
    [(version_pk,)] = hot(tx, _VERSION, cube_id, version)
    rows = {
        piece.place: {
            "version_pk": version_pk,
            "place": piece.place,
            "label": piece.label,
            "key_id": sealer.key_id,
            "content": sealer.seal(cube_id, version, piece),
        }
        for piece in pieces
    }
    if rows:
        tx.execute(sa.insert(sealed), list(rows.values()))


_VERSION = (
    "SELECT versions.pk FROM versions JOIN cubes ON cubes.pk = versions.cube_pk "
    "WHERE cubes.id = ? AND versions.version = ?"
)
_COLUMNS = (
    "SELECT cubes.id, versions.version, sealed.place, sealed.label, sealed.key_id, sealed.content, "
    "sealed.version_pk, versions.owner FROM "
)
_BEHIND = (
    "WITH RECURSIVE behind(pk) AS ("
    "SELECT versions.pk FROM versions JOIN cubes ON cubes.pk = versions.cube_pk "
    "WHERE cubes.id = ? AND versions.version = ? "
    "UNION SELECT edges.object_pk FROM behind CROSS JOIN edges ON edges.subject_pk = behind.pk) "
    f"{_COLUMNS} behind CROSS JOIN sealed ON sealed.version_pk = behind.pk "
    "CROSS JOIN versions ON versions.pk = behind.pk "
    "CROSS JOIN cubes ON cubes.pk = versions.cube_pk ORDER BY behind.pk"
)
_OTHERS = (
    f"{_COLUMNS} sealed JOIN versions ON versions.pk = sealed.version_pk "
    "JOIN cubes ON cubes.pk = versions.cube_pk WHERE sealed.key_id != ? "
    "ORDER BY sealed.version_pk, sealed.place LIMIT ?"
)
_RESEALED = (
    "UPDATE sealed SET key_id = ?, content = ? WHERE version_pk = ? AND place = ? AND key_id = ?"
)


def behind(tx: sa.Connection, cube_id: str, version: int) -> dict[str, Seal]:
    """By mask: what is sealed in a version and in those that it came from; the newest of each."""
    return {row[2]: Seal(*row) for row in hot(tx, _BEHIND, cube_id, version)}


def of_other_keys(tx: sa.Connection, key_id: str, limit: int) -> list[Seal]:
    """Pieces that are sealed with any other key than this one."""
    return [Seal(*row) for row in hot(tx, _OTHERS, key_id, limit)]


def reseal(tx: sa.Connection, sealer: Sealer, old: Sequence[Seal]) -> None:
    """Seal pieces anew, with the key that seals now; all or none."""
    for one in old:
        piece = Piece(one.place, one.label, sealer.open(one))
        content = sealer.seal(one.cube_id, one.version, piece)
        values = sealer.key_id, content, one.version_pk, one.place, one.key_id
        tx.exec_driver_sql(_RESEALED, values)


def count_other_keys(tx: sa.Connection, key_id: str) -> int:
    """How many pieces are sealed with any other key than this one."""
    return int(hot(tx, "SELECT count(*) FROM sealed WHERE key_id != ?", key_id)[0][0])
