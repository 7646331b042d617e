"""A tree of cached prompt pieces, found by the tokens of the whole prefix.

Each node is one piece of a prompt behind one exact prefix. Its digest is chained over all tokens
before it, so equal digests mean equal prefixes; the tokens are compared all the same. A node knows
every memory up to its end: later tokens attended to all of them. No torch here.
"""

from __future__ import annotations

import hashlib
import json
import threading
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from memos_integrations.memories.activation.segments import Source


class Payload(Protocol):
    """What a node holds."""

    @property
    def nbytes(self) -> int: ...


P = TypeVar("P", bound=Payload)
Tokens = Sequence[int]


@dataclass(eq=False)
class Node(Generic[P]):
    """A cached piece."""

    digest: str
    parent: Node[P] | None
    tokens: tuple[int, ...]
    payload: P
    sources: frozenset[Source]
    """Of this piece and of everything before it."""
    length: int
    """Tokens up to the end of this piece."""
    leases: int = 0
    children: int = 0
    uses: int = 0
    used_at: int = 0
    """On the tree's own clock, which advances with every match."""
    gone: bool = False
    """Whether it was dropped while in use: then no later match finds it."""


Value = Callable[[Node[P]], float]
"""How much a node is worth keeping; the least goes first."""


def least_recently_used(node: Node[P]) -> float:
    """The usual value."""
    return float(node.used_at)


@dataclass
class Lease(Generic[P]):
    """The nodes that a request stands on; they stay in memory until it is released."""

    root: str
    nodes: list[Node[P]] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Tokens that need no prefill."""
        return self.nodes[-1].length if self.nodes else 0

    @property
    def digest(self) -> str:
        """Of the prefix so far."""
        return self.nodes[-1].digest if self.nodes else self.root


@dataclass(frozen=True)
class TreeStats:
    """What happened so far."""

    nodes: int
    bytes: int
    hits: int
    misses: int
    evicted: int
    dropped: int


def root_of(identity: Mapping[str, str]) -> str:
    """The digest of an empty prefix; nothing is shared between two of them."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def digest_of(before: str, tokens: Tokens) -> str:
    """The digest of a prefix that goes on with ``tokens``."""
    return hashlib.sha256(bytes.fromhex(before) + array("q", tokens).tobytes()).hexdigest()


class PrefixTree(Generic[P]):
    """Finds the longest cached prefix. Thread-safe; holds at most ``budget`` bytes.

    What is leased is never evicted, so a tree whose nodes are all in use takes nothing more in.
    ``evicted`` is told of each node that goes for room, under the lock of the tree: it returns at
    once, and asks the tree nothing.
    """

    def __init__(
        self,
        budget: int,
        *,
        value: Value[P] = least_recently_used,
        evicted: Callable[[Node[P]], None] | None = None,
    ) -> None:
        self.budget = budget
        self._value, self._tell = value, evicted
        self._lock = threading.RLock()
        self._nodes: dict[str, Node[P]] = {}
        self._of: dict[Source, set[str]] = {}
        self._bytes = self._clock = 0
        self._hits = self._misses = self._evicted = self._dropped = 0

    # Reading ------------------------------------------------------------------------------

    def match(
        self,
        root: str,
        pieces: Iterable[Tokens],
        *,
        find: Callable[[str, Node[P] | None, Tokens], Node[P] | None] | None = None,
    ) -> Lease[P]:
        """The longest chain of cached pieces, leased. ``find`` may bring a node that is not here.

        Release it with :meth:`release`, or use :meth:`leased`.
        """
        lease: Lease[P] = Lease(root)
        for piece in pieces:
            if not self.extend(lease, piece, find=find):
                break
        return lease

    def extend(
        self,
        lease: Lease[P],
        piece: Tokens,
        *,
        find: Callable[[str, Node[P] | None, Tokens], Node[P] | None] | None = None,
    ) -> bool:
        """Go on by one piece, if it is cached."""
        digest = digest_of(lease.digest, piece)
        parent = lease.nodes[-1] if lease.nodes else None
        with self._lock:
            node = self._nodes.get(digest)
            if node is not None and node.tokens == tuple(piece):
                self._take(lease, node)
                self._hits += 1
                return True
        if find is not None and (parent is None or not parent.gone):
            brought = find(digest, parent, piece)
            if brought is not None:
                with self._lock:
                    if self._shrink(brought.payload.nbytes):
                        brought = self._put(brought)
                    else:
                        brought.gone = True  # used this once
                    self._take(lease, brought)
                    self._hits += 1
                return True
        with self._lock:
            self._misses += 1
        return False

    def release(self, lease: Lease[P]) -> None:
        """The request is over, or has gone away."""
        with self._lock:
            nodes, lease.nodes = lease.nodes, []
            for node in nodes:
                node.leases -= 1
            self._shrink(0)

    @contextmanager
    def leased(self, root: str, pieces: Iterable[Tokens]) -> Iterator[Lease[P]]:
        """:meth:`match`, released at the end."""
        lease = self.match(root, pieces)
        try:
            yield lease
        finally:
            self.release(lease)

    # Writing ------------------------------------------------------------------------------

    def add(
        self, lease: Lease[P], piece: Tokens, payload: P, sources: Collection[Source]
    ) -> Node[P] | None:
        """Put the next piece behind a leased prefix, and lease it too.

        The node that was there already, if another request was quicker; ``None`` if there is no
        room, or if a memory before it was dropped meanwhile.
        """
        parent = lease.nodes[-1] if lease.nodes else None
        if parent is not None and parent.gone:
            return None
        node = Node(
            digest=digest_of(lease.digest, piece),
            parent=parent,
            tokens=tuple(piece),
            payload=payload,
            sources=frozenset(sources) | (parent.sources if parent else frozenset()),
            length=lease.length + len(piece),
        )
        with self._lock:
            known = self._nodes.get(node.digest)
            if known is None and not self._shrink(payload.nbytes):
                return None
            kept = self._put(node)
            self._take(lease, kept)
            return kept

    def drop(self, sources: Collection[Source]) -> list[str]:
        """Forget every node that knows one of these memories; return their digests.

        Requests that stand on them go on to their end; no later one finds them.
        """
        with self._lock:
            doomed = {digest for one in sources for digest in self._of.get(one, ())}
            for digest in doomed:
                self._remove(self._nodes[digest])
            self._dropped += len(doomed)
            return sorted(doomed)

    def drop_cubes(self, cube_ids: Collection[str]) -> list[str]:
        """As :meth:`drop`, for every version of these memories."""
        wanted = set(cube_ids)
        with self._lock:
            return self.drop([source for source in self._of if source.cube_id in wanted])

    def discard(self, node: Node[P]) -> None:
        """Forget a node, and what stands behind it."""
        with self._lock:
            behind = [one for one in self._nodes.values() if _stands_on(one, node)]
            for one in behind:
                self._remove(one)
            self._dropped += len(behind)

    def clear(self) -> None:
        """Forget everything that no request stands on."""
        with self._lock:
            for node in list(self._nodes.values()):
                self._remove(node)

    # Looking ------------------------------------------------------------------------------

    def stats(self) -> TreeStats:
        """Counts so far."""
        with self._lock:
            return TreeStats(
                nodes=len(self._nodes),
                bytes=self._bytes,
                hits=self._hits,
                misses=self._misses,
                evicted=self._evicted,
                dropped=self._dropped,
            )

    def knows(self, source: Source) -> bool:
        """Whether some node was made of a memory."""
        with self._lock:
            return source in self._of

    def nodes(self) -> list[Node[P]]:
        """All of them, parents first."""
        with self._lock:
            return sorted(self._nodes.values(), key=lambda node: node.length)

    # Under the lock -----------------------------------------------------------------------

    def _take(self, lease: Lease[P], node: Node[P]) -> None:
        self._clock += 1
        node.leases += 1
        node.uses += 1
        node.used_at = self._clock
        lease.nodes.append(node)

    def _put(self, node: Node[P]) -> Node[P]:
        known = self._nodes.get(node.digest)
        if known is not None:
            return known
        self._nodes[node.digest] = node
        self._bytes += node.payload.nbytes
        if node.parent is not None:
            node.parent.children += 1
        for source in node.sources:
            self._of.setdefault(source, set()).add(node.digest)
        return node

    def _remove(self, node: Node[P]) -> None:
        node.gone = True
        if self._nodes.pop(node.digest, None) is None:
            return
        self._bytes -= node.payload.nbytes
        if node.parent is not None:
            node.parent.children -= 1
        for source in node.sources:
            known = self._of[source]
            known.discard(node.digest)
            if not known:
                del self._of[source]

    def _shrink(self, wanted: int) -> bool:
        """Make room for so many bytes; whether there is."""
        while self._bytes + wanted > self.budget:
            free = [one for one in self._nodes.values() if not one.leases and not one.children]
            if not free:
                return False
            least = min(free, key=self._value)
            self._remove(least)
            self._evicted += 1
            if self._tell is not None:
                self._tell(least)
        return True


def _stands_on(node: Node[P] | None, other: Node[P]) -> bool:
    while node is not None:
        if node is other:
            return True
        node = node.parent
    return False
