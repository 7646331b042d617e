"""Which memory a line of a prompt is: noted when memories are shown, asked when a model reads."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from memos_integrations.cube import MemCube, Namespace
from memos_integrations.memories.activation.segments import Source
from memos_integrations.memories.block import line

REMEMBERED = 100_000
"""Lines that are remembered; those that were shown longest ago go first."""


class Ledger:
    """The lines that this process has shown. Thread-safe."""

    def __init__(self, secret: str = "", *, limit: int = REMEMBERED) -> None:
        self._secret, self._limit = secret.encode(), limit
        self._lock = threading.Lock()
        self._known: OrderedDict[str, dict[Namespace, Source]] = OrderedDict()

    def note(self, cubes: Iterable[MemCube]) -> None:
        """These memories are about to stand in a prompt."""
        with self._lock:
            for cube in cubes:
                written = line(cube)
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

        Where the same words are known of several users, they are taken for those of
        ``namespace``, or of the one whose memories all of the lines are; if that is not one user,
        the line counts for each of them, so that a change by any of them is heeded.
        """
        with self._lock:
            known = [dict(self._known.get(one, {})) for one in lines]
        spaces = [set(one) for one in known if one]
        common = set.intersection(*spaces) if spaces else set()
        if namespace is not None and (namespace in common or not spaces):
            common = {namespace}
        if len(common) == 1:
            (only,) = common
            return self.salt([only]), [
                frozenset(n for s, n in k.items() if s == only) for k in known
            ]
        everyone = set().union(*spaces) if spaces else set()
        return self.salt(everyone), [frozenset(one.values()) for one in known]

    def salt(self, namespaces: Iterable[Namespace]) -> str:
        """What keeps the caches of these namespaces apart from those of others."""
        named = json.dumps(sorted(map(list, namespaces))).encode()
        return hmac.new(self._secret, named, hashlib.sha256).hexdigest()
