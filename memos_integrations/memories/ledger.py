"""Which memory a line of a prompt is: noted when memories are shown, asked when a model reads.

Lines are kept as keyed hashes: no words stay here, also of a memory that is erased. A line of it is
known for as long as the process lives, so that no cache of it is made or used.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from memos_integrations.checks import Namespace
from memos_integrations.cube import MemCube
from memos_integrations.memories.activation.segments import Source
from memos_integrations.memories.block import line

REMEMBERED = 100_000
"""Lines that are remembered; those that were shown longest ago go first."""


class Ledger:
    """The lines that this process has shown. Thread-safe."""

    def __init__(self, secret: str = "", *, limit: int = REMEMBERED) -> None:
        self._secret, self._limit = secret.encode(), limit
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, dict[Namespace, Source]] = OrderedDict()

    def note(self, cubes: Iterable[MemCube]) -> None:
        """These memories are about to stand in a prompt."""
        with self._lock:
            for cube in cubes:
                written = self._name(line(cube))
                by_space = self._known.pop(written, {})
                by_space.pop(cube.namespace, None)  # the latest is last
                by_space[cube.namespace] = Source(cube.id, cube.version)
                self._known[written] = by_space
            while len(self._known) > self._limit:
                self._known.popitem(last=False)

    def read(
        self, lines: Sequence[str], namespace: Namespace | None = None
    ) -> tuple[str, list[frozenset[Source]]]:
        """Whose lines these are, as a salt, and the memories that each may be; empty: unknown.

        They are taken for those of ``namespace``; without one, of the user whose memories all of
        them are, and to whom they were shown last. Where the same words are known of several
        users, a line counts for each of their memories, so that a change of any is heeded.
        """
        with self._lock:
            known = [dict(self._known.get(self._name(one), {})) for one in lines]
        spaces = [set(one) for one in known if one]
        common = set.intersection(*spaces) if spaces else set()
        if namespace is not None and (namespace in common or not spaces):
            salt = self.salt([namespace])
        elif common:
            shown = next(one for one in known if one)
            salt = self.salt([next(space for space in reversed(shown) if space in common)])
        else:
            salt = self.salt(set().union(*spaces))
        return salt, [frozenset(one.values()) for one in known]

    def _name(self, written: str) -> bytes:
        # A name for a line, not a secret: the key only keeps the lines of stores apart.
        key = self._secret[:64]
        return hashlib.blake2b(written.encode(), digest_size=16, key=key).digest()

    def salt(self, namespaces: Iterable[Namespace]) -> str:
        """What keeps the caches of these namespaces apart from those of others."""
        named = json.dumps(sorted(map(list, namespaces))).encode()
        return hmac.new(self._secret, named, hashlib.sha256).hexdigest()
