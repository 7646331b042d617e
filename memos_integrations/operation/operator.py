"""MemOperator: turns drafts into stored memories, changes them, and finds them again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.cube import Draft, MemCube, Plaintext, Principal
from memos_integrations.errors import (
    CubeNotFoundError,
    FrozenCubeError,
    InvalidInputError,
    VersionConflictError,
)
from memos_integrations.infrastructure.filters import Clause
from memos_integrations.infrastructure.keyed import KeyedView
from memos_integrations.infrastructure.lookups import NamespaceRow
from memos_integrations.infrastructure.moments import Moment
from memos_integrations.infrastructure.records import Activity, Parts
from memos_integrations.infrastructure.shelves import Shelves
from memos_integrations.infrastructure.snapshot import Snapshot
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.keyed import KeyedDraft, KeyedMemory
from memos_integrations.memories.plaintext import embedding_text
from memos_integrations.models.checked import checked_vector, embed_checked, embed_query_checked
from memos_integrations.operation.door import Door, Entry
from memos_integrations.operation.retrieval import (
    Question,
    SearchPolicy,
    retrieve,
    without_names,
)
from memos_integrations.operation.retrieving.kept_tokens import KeptTokens
from memos_integrations.operation.retrieving.late import with_tokens
from memos_integrations.operation.retrieving.reranking import reranked
from memos_integrations.operation.retrieving.surroundings import with_surroundings
from memos_integrations.operation.retrieving.wordings import Found, together
from memos_integrations.operation.sensitive.guard import moved
from memos_integrations.operation.versions import digest, first, following, is_frozen, replacing
from memos_integrations.protocols import Clock, Embedder, IdSource, Reranker, TokenEmbedder, Vectors
from memos_integrations.query import Hit, MemoryCall

Choose = Callable[[sa.Connection, NamespaceRow | None], Moment]
"""Which moment of the past, said inside a transaction."""
Progress = Callable[[int, int], None]
"""Called with ``(done, total)``."""


class MemOperator:
    """The verbs, without interpretation of what the caller passed. Thread-safe."""

    def __init__(
        self,
        vault: MemVault,
        embedder: Embedder,
        *,
        clock: Clock,
        ids: IdSource,
        policy: SearchPolicy,
        door: Door | None = None,
        reranker: Reranker | None = None,
        tokens: KeptTokens | None = None,
    ) -> None:
        self._vault, self._embedder = vault, embedder
        if tokens is None:
            tokens = KeptTokens()
            vault.watch_erasures(tokens.clear)
        self._tokens = tokens
        self.reranker = reranker
        """What puts hits into another order, unless a search says otherwise."""
        self.door = door or Door()
        """What each memory passes before it is written."""
        self._shelves = Shelves(vault, clock=clock)
        self._clock, self._ids, self._policy = clock, ids, policy

    @property
    def vault(self) -> MemVault:
        """The store, as it is seen by who asks."""
        return self._vault

    def seen_by(self, vault: MemVault) -> MemOperator:
        """The same, over the store as somebody sees it."""
        return MemOperator(
            vault,
            self._embedder,
            clock=self._clock,
            ids=self._ids,
            policy=self._policy,
            door=self.door,
            reranker=self.reranker,
            tokens=self._tokens,
        )

    def store(
        self,
        path: Namespace,
        who: Principal,
        drafts: Sequence[Draft],
        *,
        idempotency_key: str | None = None,
        progress: Progress | None = None,
    ) -> list[MemCube]:
        """Embed and write drafts, all or none."""
        admitted = self.door.admit(drafts, path)
        drafts = [draft for draft, _ in admitted]
        activity = self.activity("add", who, idempotency_key, drafts)
        before = self._vault.replay(path, activity) if idempotency_key is not None else None
        if before is not None:
            return before
        self.door.count(who, len(drafts), activity.at)
        new = [self.cube(path, who, draft, activity) for draft in drafts]
        beside = self.door.beside(zip(new, (entry for _, entry in admitted), strict=True))
        texts = [embedding_text(cube) for cube in new]
        vectors = embed_checked(self._embedder, texts, progress=progress)
        fingerprint = self._embedder.fingerprint
        return self._vault.add(path, activity, new, vectors, fingerprint, also=beside)

    def update(
        self,
        path: Namespace,
        who: Principal,
        cube_id: str,
        changes: Mapping[str, Any],
        *,
        expected_version: int | None = None,
    ) -> MemCube:
        """Write the next version; ``changes`` holds ``text`` and header fields by name."""
        self.door.count(who, 1, self._clock.now())
        for _ in range(8):
            with self._vault.snapshot(path) as view:
                head = view.head(cube_id)
            if head is None:
                raise _missing(path, cube_id)
            before = head.cube
            if is_frozen(before):
                raise FrozenCubeError(f"memory {cube_id} is frozen: it can be read, not changed")
            if expected_version is not None and before.version != expected_version:
                raise VersionConflictError(
                    cube_id, expected=expected_version, actual=before.version
                )
            activity = self.activity("update", who)
            allowed, entry = self.door.revise(before, changes)
            after = following(before, allowed, activity)
            beside = self.door.beside([(after, entry)])
            text = embedding_text(after)
            same = text == embedding_text(before) and after.tags == before.tags
            vector = None if same else embed_checked(self._embedder, [text])[0]
            try:
                return self._vault.revise(path, activity, before, after, vector, also=beside)
            except VersionConflictError:
                if expected_version is not None:
                    raise  # the caller decides; without an expectation the last writer wins
        raise VersionConflictError(cube_id, expected=before.version, actual=before.version + 1)

    def delete(self, path: Namespace, who: Principal, cube_id: str) -> None:
        """Take a memory out of every read but its history."""
        self._vault.delete(path, self.activity("delete", who), cube_id)

    def search(
        self,
        path: Namespace,
        call: MemoryCall,
        *,
        limit: int,
        filters: Mapping[str, Any] | None = None,
        min_score: float = 0.0,
        policy: SearchPolicy | None = None,
        vector: Vectors | None = None,
        choose: Choose | None = None,
        counted: bool = True,
        reranker: Reranker | None = None,
        surroundings: bool = False,
        tokens: bool = False,
        also: Sequence[tuple[MemoryCall, float]] = (),
    ) -> list[Hit]:
        """The best memories for a question; each counts as used, if that is ``counted``.

        ``also``: other wordings or parts of it, and what their scores are multiplied with.

        ``vector``: the question's, where it is known; else it is embedded. ``choose``: a moment of
        the past to search in; then nothing counts as used. ``reranker``: has the last word about
        the order of the first ``policy.reranked``. ``surroundings``: hits
        have the parts that a reranker sees, without one, too.
        """
        policy = policy or self._policy
        if choose is not None:  # links are those of today
            policy = replace(policy, links=0.0, superseded=0.0)
        clauses = self._vault.clauses(filters)
        view_of = partial(self._vault.snapshot, path)
        if choose is not None:
            view_of = partial(self._vault.snapshot_at, path, choose)
        wide = limit if reranker is None else max(limit, policy.reranked)
        find = partial(
            self._found,
            view_of,
            limit=wide,
            clauses=clauses,
            policy=policy,
            surroundings=surroundings or reranker is not None,
        )
        found = find(call, vector=vector)
        for other, weight in also:
            found = together(found, [(other.text, find(other))], weight)[:wide]
        if tokens or getattr(reranker, "reads_tokens", False):
            found = self._with_tokens(call, found, policy)
        if reranker is not None:  # a model takes its time: no snapshot is open
            found = reranked(reranker, call, found, policy)[:limit]
        kept = [(pk, hit) for pk, hit in found if hit.score >= min_score]
        if choose is None and counted:
            self._vault.record_uses([pk for pk, _ in kept])
        return [hit for _, hit in kept]

    def _found(
        self,
        view_of: Callable[[], AbstractContextManager[Snapshot]],
        call: MemoryCall,
        *,
        limit: int,
        clauses: Sequence[Clause],
        policy: SearchPolicy,
        surroundings: bool = False,
        vector: Vectors | None = None,
    ) -> Found:
        named: frozenset[str] = frozenset()
        if policy.speaker and call.entities:
            with view_of() as view:  # closed while the model embeds
                named = view.speakers(call.entities)
        if vector is not None:
            vector = checked_vector(self._embedder, vector)
        elif policy.dense:
            vector = self.question(without_names(call.text, named))
        question = Question(call, vector, named)
        with view_of() as view:
            if view.namespace is None:
                return []
            found = retrieve(view, question, policy=policy, limit=limit, filters=clauses)
            return with_surroundings(view, question, found, clauses) if surroundings else found

    @property
    def gives_tokens(self) -> bool:
        """Whether the embedder tells the vectors of a text's tokens."""
        return isinstance(self._embedder, TokenEmbedder)

    def _with_tokens(self, call: MemoryCall, found: Found, policy: SearchPolicy) -> Found:
        """The first hits with the parts that a ranker learns from token by token."""
        if not isinstance(self._embedder, TokenEmbedder):
            raise InvalidInputError(
                "this ranker reads the vectors of tokens, which the store's embedder "
                f"({self._embedder.fingerprint}) does not give: train it anew on this store"
            )
        head, rest = found[: policy.reranked], found[policy.reranked :]
        return [*with_tokens(self._embedder, self._tokens, call.text, head), *rest]

    def shelve(self, who: Principal, shelf: str, wanted: Sequence[KeyedDraft]) -> None:
        """Embed and write what is to stand under keys, all or none."""
        admitted = [self._admitted(one) for one in wanted]
        wanted = [one for one, _ in admitted]
        self.door.count(who, sum(one.draft is not None for one in wanted), self._clock.now())
        entries = {id(one): entry for one, entry in admitted}
        written: dict[int, MemCube] = {}
        pieces = [
            one.draft.payload.text[start:stop]
            for one in wanted
            if one.draft is not None and isinstance(one.draft.payload, Plaintext)
            for start, stop in one.spans
        ]
        vectors = embed_checked(self._embedder, pieces) if pieces else np.empty((0, 0), "<f4")
        parts, at = [], 0
        for one in wanted:
            parts.append((one, Parts(one.spans, vectors[at : at + len(one.spans)])))
            at += len(one.spans)

        def build(one: KeyedDraft, before: MemCube | None, activity: Activity) -> MemCube:
            written[id(one)] = self._keyed_cube(who, one, before, activity)
            return written[id(one)]

        def beside(tx: sa.Connection) -> None:
            also = self.door.beside((cube, entries[one]) for one, cube in written.items())
            if also is not None:
                also(tx)

        activity = partial(self.activity, who=who)
        self._shelves.write(shelf, parts, activity, build, self._embedder.fingerprint, also=beside)

    def _admitted(self, one: KeyedDraft) -> tuple[KeyedDraft, Entry]:
        if one.draft is None:
            return one, Entry()
        [(draft, entry)] = self.door.admit([one.draft], one.namespace, keyed=True)
        return replace(one, draft=draft, spans=moved(one.spans, entry.edits)), entry

    def sweep(self, root: Namespace, who: Principal, shelf: str) -> int:
        """Take away what has outlived its time on a shelf; return how many."""
        return self._shelves.sweep(root, shelf, partial(self.activity, who=who))

    def shelf_view(self, root: Namespace, shelf: str) -> AbstractContextManager[KeyedView]:
        """One moment of a shelf."""
        return self._shelves.view(root, shelf)

    def shelves(self, path: Namespace) -> list[str]:
        """The shelves of a namespace that hold something."""
        return self._shelves.names(path)

    def prolong(self, used: Sequence[KeyedMemory]) -> None:
        """Begin the time to live of used memories anew.

        Only of those that would gain a hundredth of it: reading in a loop is no writing.
        """
        now = self._clock.now()
        due = [
            one.pk
            for one in used
            if one.ttl is not None
            and (expires := one.cube.header.governance.expires_at) is not None
            and now + one.ttl - expires > one.ttl / 100
        ]
        if due:
            self._shelves.prolong(due)

    def count_uses(self, used: Sequence[KeyedMemory]) -> None:
        """Count one use each."""
        self._vault.record_uses([one.pk for one in used])

    def now(self) -> datetime:
        """The store's clock."""
        return self._clock.now()

    def new_id(self) -> str:
        """A new id, after all earlier ones."""
        return self._ids()

    def question(self, text: str) -> Vectors:
        """A question as a unit vector, float32 ``(dimension,)``."""
        return embed_query_checked(self._embedder, text)

    @property
    def embedder(self) -> Embedder:
        """Where vectors come from."""
        return self._embedder

    @property
    def policy(self) -> SearchPolicy:
        """How searches weigh, unless told otherwise."""
        return self._policy

    def _keyed_cube(
        self, who: Principal, one: KeyedDraft, before: MemCube | None, activity: Activity
    ) -> MemCube:
        assert one.draft is not None
        draft = one.draft
        if one.ttl is not None:
            draft = draft.model_copy(update={"expires_at": activity.at + one.ttl})
        if before is None:
            return self.cube(one.namespace, who, draft, activity)
        if is_frozen(before):
            raise FrozenCubeError(f"{one.key!r} is frozen: it can be read, not changed")
        fresh = self.cube(one.namespace, who, draft, activity)
        return replacing(before, fresh)

    def activity(
        self,
        verb: str,
        who: Principal,
        key: str | None = None,
        drafts: Sequence[Draft] = (),
    ) -> Activity:
        """One verb of one principal, now."""
        said = digest(drafts) if key is not None else None
        at, asker = self._clock.now(), self._vault.asker
        return Activity(self._ids(), verb, who.id, at, key, said, asker)

    def cube(self, path: Namespace, who: Principal, draft: Draft, activity: Activity) -> MemCube:
        """A draft as a new memory."""
        spaces = self._vault.spaces
        return first(draft, activity, id=self._ids(), path=path, who=who, spaces=spaces)


def _missing(path: Namespace, cube_id: str) -> CubeNotFoundError:
    return CubeNotFoundError(f"no memory {cube_id} in namespace {'/'.join(path)}")
