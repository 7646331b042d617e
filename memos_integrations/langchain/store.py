"""``MemOSStore``: LangGraph's ``BaseStore`` with versions, provenance and erasable memories."""

from __future__ import annotations

import builtins
import logging
import math
import re
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import networkx as nx
from langchain_core.embeddings import Embeddings
from langgraph.store.base import (
    BaseStore,
    GetOp,
    InvalidNamespaceError,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
    get_text_at_path,
    tokenize_path,
    validate_op_namespace,
)

from memos_integrations.checks import check_namespace, thaw_json
from memos_integrations.cube import MemCube
from memos_integrations.errors import CubeNotFoundError, InvalidInputError, MemOSError
from memos_integrations.keyed import KeyedDraft, KeyedMemory
from memos_integrations.langchain.embeddings import MemOSEmbeddings
from memos_integrations.langchain.filters import matches, readable
from memos_integrations.offload import offload
from memos_integrations.session import MemorySession
from memos_integrations.shelf import ShelfView

log = logging.getLogger(__name__)

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


class MemOSStore(BaseStore):
    """A LangGraph store whose every put is a version with provenance. Thread-safe.

    ``graph.compile(store=MemOSStore(memory.session("my-app")))``. Items lie in namespaces below
    the session's: the item ``("users", "alice"), "diet"`` is a memory of the namespace
    ``("my-app", "users", "alice")``, and a session there finds it, too.

    ``fields`` are the paths that are embedded when ``put`` says nothing else, as in LangGraph's
    ``IndexConfig``; ``"$"`` is the whole value. Each path, and each piece of a long text, is
    embedded on its own, and an item is as near to a query as its nearest piece. ``score`` is the
    cosine. ``ttl`` is LangGraph's ``TTLConfig``: minutes to live, and whether reads renew them.
    """

    supports_ttl = True
    __slots__ = ("_fields", "_shelf", "_stop", "_sweeper", "session", "ttl_config")

    def __init__(
        self,
        session: MemorySession,
        *,
        fields: Sequence[str] = ("$",),
        ttl: TTLConfig | None = None,
    ) -> None:
        if isinstance(fields, str):
            raise InvalidInputError(f"fields is {fields!r}: give a list of paths")
        self.session = session
        """The root of the store's namespaces, and who writes."""
        self.ttl_config = ttl
        self._shelf = session.shelf("langgraph")
        self._fields = tuple(fields)
        self._sweeper: threading.Thread | None = None
        self._stop = threading.Event()

    def __repr__(self) -> str:
        return f"MemOSStore({self.session!r})"

    # The contract -------------------------------------------------------------------------

    def batch(self, ops: Iterable[Op]) -> builtins.list[Result]:
        """Answer reads from one moment, then write the puts in one transaction.

        The last put of a key wins; reads do not see the puts of their batch. Raises
        :class:`InvalidNamespaceError` (LangGraph's) and :class:`InvalidInputError`, both
        ``ValueError``, before anything is written.
        """
        wanted = list(ops)
        for op in wanted:
            _check(op)
        puts = {(op.namespace, op.key): op for op in wanted if isinstance(op, PutOp)}
        drafts = [self._draft(op) for op in puts.values()]
        reads = {i: self._call(op) for i, op in enumerate(wanted) if not isinstance(op, PutOp)}
        found = dict(zip(reads, self._shelf.view(list(reads.values())), strict=True))
        self._renew(wanted, found)
        self._shelf.write(drafts)
        return [_result(op, found.get(i)) for i, op in enumerate(wanted)]

    async def abatch(self, ops: Iterable[Op]) -> builtins.list[Result]:
        """:meth:`batch` in a worker thread."""
        return await offload(self.batch, list(ops))

    def _draft(self, op: PutOp) -> KeyedDraft:
        if op.value is None:
            return self._shelf.removal(op.namespace, op.key)
        texts = self._texts(op)
        return self._shelf.draft(
            op.namespace,
            op.key,
            texts or [_clean(readable(op.value))],
            searched=bool(texts),
            ttl=None if op.ttl is None else _minutes(op.ttl),
            origin="tool",
            source=op.key if op.key.strip() and not _CONTROL.search(op.key) else None,
            metadata=dict(op.value),
        )

    def _texts(self, op: PutOp) -> builtins.list[str]:
        """What the item is found by; empty if it is not to be found by a query."""
        if op.index is False or op.value is None:
            return []
        texts: builtins.list[str] = []
        for path in self._fields if op.index is None else op.index:
            if path == "$":
                texts.append(readable(op.value))
            else:
                texts += get_text_at_path(op.value, tokenize_path(path))
        return [_clean(text) for text in texts if _clean(text).strip()]

    def _call(self, op: Op) -> Callable[[ShelfView], Any]:
        if isinstance(op, GetOp):
            return lambda view: view.get(op.namespace, op.key)
        if isinstance(op, SearchOp):
            keep = partial(matches, filters=op.filter) if op.filter else None
            question = self._shelf.question(op.query) if op.query and op.query.strip() else None
            return lambda view: view.search(
                op.namespace_prefix,
                question=question,
                limit=op.limit,
                offset=op.offset,
                keep=keep,
            )
        assert isinstance(op, ListNamespacesOp)
        return lambda view: _listed(view.namespaces(), op)

    def _renew(self, ops: Sequence[Op], found: Mapping[int, Any]) -> None:
        """Begin the time to live of what was read anew, and count it as used."""
        used: builtins.list[KeyedMemory] = []
        renewed: builtins.list[KeyedMemory] = []
        for i, answer in found.items():
            op = ops[i]
            if isinstance(op, GetOp | SearchOp):
                items = answer if isinstance(answer, list) else [answer] if answer else []
                used += items
                renewed += items if op.refresh_ttl else []
        if used:
            self._shelf.count_uses(used)
        if renewed:
            self._shelf.prolong(renewed)

    # What a plain store has not ---------------------------------------------------------------

    def history(self, namespace: tuple[str, ...], key: str) -> builtins.list[MemCube]:
        """Every version that ``put`` wrote under a key, oldest first; also of a deleted item.

        Raises :class:`CubeNotFoundError` if nothing ever stood there.
        """
        return self.below(namespace).history(self._id(namespace, key))

    async def ahistory(self, namespace: tuple[str, ...], key: str) -> builtins.list[MemCube]:
        """:meth:`history` in a worker thread."""
        return await offload(self.history, namespace, key)

    def lineage(self, namespace: tuple[str, ...], key: str) -> nx.DiGraph[str]:
        """The provenance graph of an item, as :meth:`MemorySession.lineage`."""
        return self.below(namespace).lineage(self._id(namespace, key))

    async def alineage(self, namespace: tuple[str, ...], key: str) -> nx.DiGraph[str]:
        """:meth:`lineage` in a worker thread."""
        return await offload(self.lineage, namespace, key)

    def below(self, namespace: tuple[str, ...]) -> MemorySession:
        """The session of one of the store's namespaces: every verb over the same items."""
        return self.session.below(*namespace)

    def _id(self, namespace: tuple[str, ...], key: str) -> str:
        cube_id = self._shelf.cube_id(tuple(namespace), key)
        if cube_id is None:
            raise CubeNotFoundError(f"no item {key!r} was ever put in {namespace!r}")
        return cube_id

    # Time to live -----------------------------------------------------------------------------

    def sweep_ttl(self) -> int:
        """Delete what has expired; return how many. Reads leave it out anyway."""
        return self._shelf.sweep()

    async def asweep_ttl(self) -> int:
        """:meth:`sweep_ttl` in a worker thread."""
        return await offload(self.sweep_ttl)

    def start_ttl_sweeper(self, sweep_interval_minutes: float | None = None) -> None:
        """Sweep every ``sweep_interval_minutes`` (or the ``TTLConfig``'s; else 5) until stopped.

        The thread ends with the store.
        """
        if self._sweeper is not None and self._sweeper.is_alive():
            return
        configured = (self.ttl_config or {}).get("sweep_interval_minutes")
        minutes = sweep_interval_minutes if sweep_interval_minutes is not None else configured
        pause = _minutes(5.0 if minutes is None else minutes).total_seconds()
        self._stop = threading.Event()
        self._sweeper = threading.Thread(
            target=_sweep,
            args=(weakref.ref(self), self._stop, pause),
            name="memos-ttl",
            daemon=True,
        )
        self._sweeper.start()

    def stop_ttl_sweeper(self, timeout: float | None = None) -> bool:
        """Stop sweeping; whether the thread ended within ``timeout`` seconds."""
        self._stop.set()
        if self._sweeper is not None:
            self._sweeper.join(timeout)
            return not self._sweeper.is_alive()
        return True

    # What LangGraph's tools ask for -------------------------------------------------------------

    @property
    def embeddings(self) -> Embeddings:
        """The store's embedder."""
        return MemOSEmbeddings(self._shelf.embedder)

    @property
    def index_config(self) -> dict[str, Any]:
        """``dims``, ``embed`` and ``fields``, as in LangGraph's ``IndexConfig``."""
        dimension = self._shelf.embedder.fingerprint.dimension
        return {"dims": dimension, "embed": self.embeddings, "fields": list(self._fields)}


def _sweep(store: weakref.ref[MemOSStore], stop: threading.Event, pause: float) -> None:
    while not stop.wait(pause):
        found = store()
        if found is None:
            return
        try:
            found.sweep_ttl()
        except MemOSError as error:
            log.warning("expired items were not swept: %s", error)
        del found


def _check(op: Op) -> None:
    """Refuse what no store takes, before anything happens."""
    validate_op_namespace(op)
    if isinstance(op, PutOp):
        _check_writable(op.namespace)
        if op.value is not None and not isinstance(op.value, Mapping):
            raise InvalidInputError(f"a value is a dict, not a {type(op.value).__name__}")
        if op.ttl is not None:
            _minutes(op.ttl)
    elif isinstance(op, SearchOp | ListNamespacesOp):
        for name in ("limit", "offset"):
            number = getattr(op, name)
            if not isinstance(number, int) or isinstance(number, bool) or number < 0:
                raise InvalidInputError(f"{name} is {number!r}: give a number from 0 on")
    elif not isinstance(op, GetOp):
        raise InvalidInputError(f"unknown operation {type(op).__name__}")


def _check_writable(namespace: tuple[str, ...]) -> None:
    if not namespace:
        raise InvalidNamespaceError("Namespace cannot be empty: give at least one label.")
    # The root "langgraph" is refused by put(); raw operations are LangGraph's own way to it.
    try:
        check_namespace(tuple(namespace))
    except InvalidInputError as error:
        raise InvalidNamespaceError(str(error)) from None


def _minutes(ttl: float) -> timedelta:
    if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not math.isfinite(ttl):
        raise InvalidInputError(f"ttl is {ttl!r}: give minutes")
    if not 0 < ttl < 1e9:
        raise InvalidInputError(f"ttl is {ttl!r} minutes: give more than 0 and less than 1e9")
    return timedelta(minutes=ttl)


def _clean(text: str) -> str:
    """A text that can be searched: control characters are read as spaces."""
    return _CONTROL.sub(" ", text)


def _listed(known: Sequence[tuple[str, ...]], op: ListNamespacesOp) -> list[tuple[str, ...]]:
    conditions = op.match_conditions or ()
    found = [path for path in known if all(_fits(path, condition) for condition in conditions)]
    if op.max_depth is not None:
        found = sorted({path[: op.max_depth] for path in found})
    return found[op.offset : op.offset + op.limit]


def _fits(path: tuple[str, ...], condition: MatchCondition) -> bool:
    """Whether a namespace begins or ends as asked; ``*`` stands for any one part."""
    wanted = tuple(condition.path)
    if len(path) < len(wanted):
        return False
    if condition.match_type not in ("prefix", "suffix"):
        raise InvalidInputError(f"match type {condition.match_type!r}: use 'prefix' or 'suffix'")
    begins = condition.match_type == "prefix"
    part = path[: len(wanted)] if begins else path[len(path) - len(wanted) :]
    return all(w in ("*", p) for w, p in zip(wanted, part, strict=True))


def _result(op: Op, answer: Any) -> Result:
    if isinstance(op, GetOp):
        return Item(**_fields_of(answer)) if answer else None
    if isinstance(op, SearchOp):
        return [SearchItem(**_fields_of(one), score=one.score) for one in answer]
    return None if isinstance(op, PutOp) else answer


def _fields_of(one: KeyedMemory) -> dict[str, Any]:
    return {
        "namespace": one.namespace,
        "key": one.key,
        "value": thaw_json(one.cube.metadata),
        "created_at": one.created_at,
        "updated_at": one.cube.created_at,
    }
