"""Cached pieces in a store elsewhere, below the folder: fetched when asked for, sent later.

Any file system of fsspec will do. It may be down, slow or read-only: that is counted, logged once,
and costs a prefill. Nothing is read from there that the gate does not let through.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from memos_integrations.memories.activation.catalogue import UNREADABLE, Entry, read_entry
from memos_integrations.memories.activation.faults import warn
from memos_integrations.memories.activation.piece_files import PieceOnDisk
from memos_integrations.memories.activation.prefix_tree import Node
from memos_integrations.memories.activation.remote_folder import Index, RemoteFolder
from memos_integrations.memories.activation.resting import Rest
from memos_integrations.memories.activation.segments import Source
from memos_integrations.memories.activation.tensors import DamagedPieceError, Piece
from memos_integrations.memories.activation.tiers import FolderTier

log = logging.getLogger(__name__)

GOODBYE = 10.0
"""Seconds that :meth:`RemoteTier.close` waits for what is on its way."""
_COUNTS = ("fetched", "late", "damaged", "sent", "unsent", "removed")


@dataclass
class _Fetch:
    """A piece on its way here."""

    digest: str
    tokens: tuple[int, ...]
    done: threading.Event = field(default_factory=threading.Event)


class RemoteTier:
    """A :class:`FolderTier` with a store behind it. Thread-safe; one process a store.

    A piece that is not in the folder is fetched, checked, and put there; a request waits
    ``patience`` seconds for it, then computes it itself. What is written to the folder is sent in
    the background; above ``budget`` bytes there, what was sent or fetched first goes. After a
    failure the store is left alone for ``rest`` seconds. ``gate`` says which memories may not be
    served. Until the store has been listed, nothing is fetched.
    """

    def __init__(
        self,
        folder: FolderTier,
        store: RemoteFolder,
        *,
        gate: Callable[[Collection[Source]], Collection[Source]],
        budget: int | None = None,
        patience: float = 2.0,
        rest: float = 30.0,
        pending: int = 256,
    ) -> None:
        self.folder, self.store, self.budget, self.patience = folder, store, budget, patience
        self.dtype, self.loads = folder.dtype, folder.loads
        self._gate, self._most = gate, pending
        self._news = threading.Condition(threading.RLock())
        self._index = Index()
        self._listed = self._busy = self._closing = False
        self._to_send: deque[str] = deque()
        self._doomed: dict[str, None] = {}  # in the order in which they are asked to go
        self._fetching: dict[str, _Fetch] = {}
        self._fetches: queue.Queue[_Fetch | None] = queue.Queue()
        self._counts = dict.fromkeys(_COUNTS, 0)
        self._reading, self._listing, self._writing = (
            Rest(f"{store.name} cannot be {what}", rest) for what in ("read", "listed", "written")
        )
        folder.written = self._written
        self._threads = [
            threading.Thread(target=work, name="memos-kv-remote", daemon=True)
            for work in (self._work, self._fetch_all)
        ]
        for thread in self._threads:
            thread.start()

    # What the engine calls ----------------------------------------------------------------

    def load(self, digest: str, tokens: Sequence[int]) -> tuple[Piece, frozenset[Source]] | None:
        """From the folder, or else from the store by way of the folder; ``None`` if in neither."""
        found = self.folder.load(digest, tokens)
        if found is None and self._fetch(digest, tuple(tokens)):
            found = self.folder.load(digest, tokens)
        return found

    def save(self, node: Node[Piece], model: Mapping[str, str] | None = None) -> None:
        """Write a piece to the folder soon, and send it after that."""
        self.folder.save(node, model)

    def remove(self, digests: Collection[str]) -> None:
        """Delete pieces, here now, in the store soon."""
        self.folder.remove(digests)
        self._doom(digests)

    def remove_cubes(self, cube_ids: Collection[str]) -> list[str]:
        """Delete every piece that knows one of these memories: here now, in the store soon.

        Returns the digests of those that were here.
        """
        removed = self.folder.remove_cubes(cube_ids)
        with self._news:
            self._doom({digest for cube_id in cube_ids for digest in self._index.of(cube_id)})
        return removed

    def lost(self, error: DamagedPieceError) -> None:
        """A piece that was loaded is damaged: it is computed again, and not fetched."""
        self.folder.lost(error)
        self._doom([error.digest])

    # Looking, waiting, closing ------------------------------------------------------------

    def report(self) -> dict[str, Any]:
        """Counts since the start, what is there, what waits, and what fails; JSON-plain."""
        rests = (self._reading, self._listing, self._writing)
        with self._news:
            return {
                "store": self.store.name,
                "listed": self._listed,
                "pieces": len(self._index),
                "bytes": self._index.bytes,
                **self._counts,
                "to_send": len(self._to_send),
                "to_remove": len(self._doomed),
                "failures": sum(one.failures for one in rests),
                "failing": [one.reason for one in rests if one.reason],
            }

    def try_again(self) -> None:
        """Ask a store that failed again now, not after its rest."""
        for one in (self._reading, self._listing, self._writing):
            one.over()
        with self._news:
            self._news.notify_all()

    def flush(self) -> None:
        """Return when everything that waits is written, sent and removed, or has failed."""
        self.folder.flush()
        with self._news:
            self._news.wait_for(lambda: not self._busy and self._next() is None)

    def close(self) -> None:
        """Write and send what waits, for ten seconds at most; the next start goes on."""
        self.folder.close()
        with self._news:
            self._closing = True
            self._news.notify_all()
        self._fetches.put(None)
        for thread in self._threads:
            thread.join(GOODBYE)

    # Fetching -----------------------------------------------------------------------------

    def _fetch(self, digest: str, tokens: tuple[int, ...]) -> bool:
        """Whether the folder may have the piece now."""
        with self._news:
            there = digest in self._index and digest not in self._doomed
            if not there or not self.folder.catalogue.wanted(digest) or self._reading.left():
                return False
            fetch = self._fetching.get(digest)
            if fetch is None:
                fetch = self._fetching[digest] = _Fetch(digest, tokens)
                self._fetches.put(fetch)
        if fetch.done.wait(self.patience):
            return True
        self._count("late")
        self._reading.failed(TimeoutError(f"a piece took longer than {self.patience:g} s"))
        return False

    def _fetch_all(self) -> None:
        while (fetch := self._fetches.get()) is not None:
            try:
                self._download(fetch)
            except FileNotFoundError:
                with self._news:
                    self._index.forget(fetch.digest)
            except Exception as error:  # noqa: BLE001 - a file system's own code
                self._reading.failed(error)
            finally:
                with self._news:
                    del self._fetching[fetch.digest]
                fetch.done.set()

    def _download(self, fetch: _Fetch) -> None:
        """Into the folder, if it is whole, of the right tokens, and may be served."""
        aside = self.folder.aside(fetch.digest)
        try:
            self.store.fetch(fetch.digest, aside)
            self._reading.worked()
            entry = self._checked(aside, fetch)
            if entry is None or self._gate(entry.sources):
                self._doom([fetch.digest])
            elif self.folder.adopt(fetch.digest, aside):
                self._count("fetched")
                with self._news:
                    self._index.put(fetch.digest, entry.sources, entry.size)
                if self._gate(entry.sources):  # changed between the question and the adoption
                    self.remove([fetch.digest])
        finally:
            aside.unlink(missing_ok=True)

    def _checked(self, path: Any, fetch: _Fetch) -> Entry | None:
        """What a fetched file says of itself; ``None`` if it is not what was written."""
        try:
            entry = read_entry(path, fetch.digest)
            if entry.tokens != fetch.tokens:
                raise ValueError("it holds other tokens")
            if entry.approximate != (self.dtype is not None):
                raise ValueError("it is kept in another data type")
            PieceOnDisk(path, fetch.digest, entry).check()
        except (*UNREADABLE, DamagedPieceError) as error:
            where = self.store.path(fetch.digest)
            warn(log, "%s: %s; removed there, and computed again", where, error)
            self._count("damaged")
            return None
        return entry

    # Sending and removing -----------------------------------------------------------------

    def _written(self, digest: str) -> None:
        """A piece is in the folder: send it soon."""
        with self._news:
            if len(self._to_send) >= self._most:
                self._counts["unsent"] += 1
            elif digest not in self._to_send:
                self._to_send.append(digest)
                self._news.notify_all()

    def _doom(self, digests: Collection[str]) -> None:
        with self._news:
            self._doomed |= {digest: None for digest in digests if digest in self._index}
            self._news.notify_all()

    def _count(self, what: str) -> None:
        with self._news:
            self._counts[what] += 1

    def _waiting(self) -> list[tuple[Rest, Callable[[], None]]]:
        """What there is to do: remove, then look what is there, then send."""
        tasks = (
            (bool(self._doomed), self._writing, self._clear),
            (not self._listed, self._listing, self._list),
            (bool(self._to_send), self._writing, self._send),
        )
        return [(rest, work) for waits, rest, work in tasks if waits]

    def _next(self) -> tuple[Rest, Callable[[], None]] | None:
        """The first of it that the store can be asked for now."""
        return next((task for task in self._waiting() if not task[0].left()), None)

    def _work(self) -> None:
        while (task := self._await_task()) is not None:
            rest, work = task
            try:
                work()
            except Exception as error:  # noqa: BLE001 - a file system's own code
                rest.failed(error)
            else:
                rest.worked()

    def _await_task(self) -> tuple[Rest, Callable[[], None]] | None:
        """The next thing to do, when there is one; ``None`` at the end."""
        with self._news:
            self._busy = False
            self._news.notify_all()
            while (task := self._next()) is None and not self._closing:
                self._news.wait(min((rest.left() for rest, _ in self._waiting()), default=None))
            self._busy = task is not None
            return task

    def _clear(self) -> None:
        with self._news:
            digest = next(iter(self._doomed))
            self._doomed[digest] = self._doomed.pop(digest)  # if it fails, the others first
        self.store.delete(digest)
        with self._news:
            self._index.forget(digest)
            self._doomed.pop(digest, None)
            self._counts["removed"] += 1

    def _list(self) -> None:
        """What earlier processes left there. What may not be served goes; what lacks is sent."""
        for digest, entry in self.store.entries(self.store.pieces()):
            with self._news:
                sources, size = (entry.sources, entry.size) if entry else (frozenset(), 0)
                self._index.put(digest, sources, size)
                if entry is None:
                    self._counts["damaged"] += 1
                    self._doom([digest])
        with self._news:  # asked after all of them are in the index: no change is missed
            outdated = self._gate(self._index.sources())
            self._doom({one for source in outdated for one in self._index.of_version(source)})
            self._listed = True
            for digest in self.folder.catalogue.digests():
                if digest not in self._index and self.budget is None:
                    self._written(digest)

    def _send(self) -> None:
        with self._news:
            digest = self._to_send.popleft()
        try:
            if self.store.send(digest, self.folder.catalogue, self._expect):
                self._count("sent")
                self._make_room(keep=digest)
        except Exception:  # counted, and raised again
            self._count("unsent")
            self._written(digest)  # again, after the others
            raise

    def _expect(self, entry: Entry) -> None:
        """A piece will be there: whoever removes it from now on finds it in the index."""
        with self._news:
            self._index.put(entry.digest, entry.sources, entry.size)

    def _make_room(self, keep: str) -> None:
        with self._news:
            over = self._index.oldest(self.budget) if self.budget is not None else []
            self._doom([digest for digest in over if digest != keep])
