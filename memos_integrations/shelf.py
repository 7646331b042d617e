"""Shelf: memories under keys, in a namespace and below it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from memos_integrations.checks import Namespace, check_text
from memos_integrations.cube import Draft, Plaintext, Principal
from memos_integrations.errors import InvalidInputError
from memos_integrations.infrastructure.keyed import KeyedView
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.interface.reader import MemReader
from memos_integrations.keyed import KeyedDraft, KeyedMemory
from memos_integrations.operation.operator import MemOperator
from memos_integrations.operation.versions import readable_error
from memos_integrations.protocols import Embedder, Vectors
from memos_integrations.recorded import recorded

MAX_KEY_BYTES = 4096
"""The longest key, in UTF-8 bytes."""


@recorded(leave=("draft", "read", "new_key", "removal", "question"), prefix="shelf.")
class Shelf:
    """What an adapter builds a store on: it takes namespaces relative to its own. Thread-safe.

    Made by :meth:`MemorySession.shelf`. Each write is a version with provenance, like any other
    memory's; in its namespace it is found by :meth:`MemorySession.search`, too.
    """

    def __init__(
        self,
        name: str,
        principal: Principal,
        root: Namespace,
        *,
        operator: MemOperator,
        reader: MemReader,
    ) -> None:
        self.name, self.principal, self.root = name, principal, root
        self._operator, self._reader = operator, reader

    def draft(
        self,
        namespace: Namespace,
        key: str | None,
        texts: Sequence[str],
        *,
        searched: bool = True,
        ttl: timedelta | None = None,
        **fields: Any,
    ) -> KeyedDraft:
        """What is to stand under a key: ``texts`` are the pieces that it is found by.

        Without a key it gets a new one, after all others. A piece too long for the embedder is
        cut into several. ``fields`` are those of a
        :class:`~memos_integrations.cube.Draft`.
        """
        if ttl is not None and ttl <= timedelta(0):
            raise InvalidInputError(f"the time to live is {ttl}: give a positive one")
        text, spans = self._joined(texts)
        try:
            draft = Draft(payload=Plaintext(text=text), **fields)
        except ValidationError as error:
            raise readable_error(error) from None
        path = (*self.root, *namespace)
        given = self.new_key() if key is None else _checked_key(key)
        return KeyedDraft(path, given, draft, spans if searched else (), ttl, new=key is None)

    def read(self, role: str, text: str, speaker: str | None = None) -> dict[str, Any]:
        """What the reader makes of a message: the fields of a draft, without its text."""
        message = {"role": role, "content": text}
        first = self._reader.read(message, now=self._operator.now(), speaker=speaker)[0]
        names = ("event_time", "said_at", "origin", "role", "speaker", "semantic_type")
        return {name: getattr(first, name) for name in names}

    def new_key(self) -> str:
        """A key that comes after all that were made before it."""
        return self._operator.new_id()

    def removal(self, namespace: Namespace, key: str) -> KeyedDraft:
        """That nothing is to stand under a key."""
        return KeyedDraft((*self.root, *namespace), _checked_key(key), None)

    def write(self, wanted: Sequence[KeyedDraft], *, release: Sequence[str] = ()) -> None:
        """Write all of it in one transaction, in this order.

        ``release`` first takes keys of the shelf's own namespace from their memories: these remain,
        without a key, if they are searched; the others are deleted.
        """
        if wanted or release:
            freed = [KeyedDraft(self.root, key, None, release=True) for key in release]
            self._operator.shelve(self.principal, self.name, [*freed, *wanted])

    def view(self, calls: Sequence[Callable[[ShelfView], Any]]) -> list[Any]:
        """Answer every call from one moment of the store."""
        with self._operator.shelf_view(self.root, self.name) as view:
            looked = ShelfView(view, self.root)
            return [call(looked) for call in calls]

    def get(self, namespace: Namespace, key: str) -> KeyedMemory | None:
        """What stands under a key, if it is alive."""
        found: KeyedMemory | None = self.view([lambda view: view.get(namespace, key)])[0]
        return found

    def in_order(self, namespace: Namespace) -> list[KeyedMemory]:
        """All that one namespace holds, by key."""
        found: list[KeyedMemory] = self.view([lambda view: view.in_order(namespace)])[0]
        return found

    def cube_id(self, namespace: Namespace, key: str) -> str | None:
        """The id of the memory that has a key, or had it last; its history reaches further."""
        with self._operator.shelf_view(self.root, self.name) as view:
            return view.cube_id((*self.root, *namespace), key)

    def prolong(self, used: Sequence[KeyedMemory]) -> None:
        """Begin the time to live of these memories anew."""
        self._operator.prolong(used)

    def count_uses(self, used: Sequence[KeyedMemory]) -> None:
        """Count one use each."""
        self._operator.count_uses(used)

    def sweep(self) -> int:
        """Take away what has outlived its time; return how many. Their history remains."""
        return self._operator.sweep(self.root, self.principal, self.name)

    def question(self, text: str) -> Vectors:
        """A question as a unit vector, float32 ``(dimension,)``."""
        return self._operator.question(text)

    @property
    def audited(self) -> tuple[MemVault, Namespace]:
        """Where the audit log is, and what stands in it as the namespace."""
        return self._operator.vault, self.root

    @property
    def embedder(self) -> Embedder:
        """Where vectors come from."""
        return self._operator.embedder

    def _joined(self, texts: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
        from memos_integrations.interface.chunks import split

        spans: list[tuple[int, int]] = []
        whole = ""
        for text in texts:
            whole += "\n" if whole else ""
            for chunk in split(text, self._reader.chunk_chars):
                spans.append((len(whole), len(whole) + len(chunk)))
                whole += chunk
        return check_text(whole), spans


class ShelfView:
    """One moment of a shelf; namespaces are relative to it."""

    def __init__(self, view: KeyedView, root: Namespace) -> None:
        self._view, self._root = view, root

    def get(self, namespace: Namespace, key: str) -> KeyedMemory | None:
        """What stands under a key, if it is alive."""
        found = self._view.get((*self._root, *namespace), key)
        return self._relative([found])[0] if found else None

    def in_order(self, namespace: Namespace) -> list[KeyedMemory]:
        """All that one namespace holds, by key."""
        return self._relative(self._view.in_order((*self._root, *namespace)))

    def namespaces(self) -> list[Namespace]:
        """The namespaces that hold something alive, sorted."""
        cut = len(self._root)
        return [path[cut:] for path in self._view.namespaces()]

    def search(
        self,
        prefix: Namespace,
        *,
        question: Vectors | None = None,
        limit: int,
        offset: int = 0,
        keep: Callable[[Mapping[str, Any]], bool] | None = None,
    ) -> list[KeyedMemory]:
        """At and below ``prefix``: nearest to the question first, or last written first.

        ``question``: a vector of :meth:`Shelf.question`. ``keep`` is asked with the metadata.
        """
        path = (*self._root, *prefix)
        if question is None:
            return self._relative(self._view.newest(path, limit=limit, offset=offset, keep=keep))
        return self._relative(
            self._view.nearest(path, question, limit=limit, offset=offset, keep=keep)
        )

    def _relative(self, found: Sequence[KeyedMemory]) -> list[KeyedMemory]:
        cut = len(self._root)
        return [replace(one, namespace=one.namespace[cut:]) for one in found]


def _checked_key(key: str) -> str:
    if not isinstance(key, str):
        raise InvalidInputError(f"a key is a string, not {type(key).__name__}")
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise InvalidInputError(f"the key {key!r} is not valid Unicode") from None
    if size > MAX_KEY_BYTES or "\x00" in key:
        raise InvalidInputError(
            f"the key {key[:40]!r}... has {size:,} bytes or a NUL: keys have up to "
            f"{MAX_KEY_BYTES:,} bytes and none"
        )
    return key
