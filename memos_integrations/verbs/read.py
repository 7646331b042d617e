"""What a session can do to read its memories."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from memos_integrations.checks import Namespace, check_id, check_text, check_version
from memos_integrations.cube import MemCube
from memos_integrations.errors import CubeNotFoundError, InvalidInputError
from memos_integrations.infrastructure.activity_log import LogEntry
from memos_integrations.infrastructure.moments import Moment
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.interface import logquery
from memos_integrations.interface.logquery import LogQuery
from memos_integrations.interface.reader import MemReader
from memos_integrations.interface.rewriting import Rewriter, wordings
from memos_integrations.interface.two_parts import parts_of
from memos_integrations.models.cross_encoder import as_reranker
from memos_integrations.models.ranking.judged import Judged
from memos_integrations.offload import offload
from memos_integrations.operation.operator import Choose, MemOperator
from memos_integrations.operation.retrieval import SearchPolicy
from memos_integrations.operation.retrieving.beside import MOST, turns_around
from memos_integrations.protocols import Clock, Reranker, Vectors
from memos_integrations.query import Hit, TimeWindow
from memos_integrations.verbs.arguments import check_limit, narrowed, strings
from memos_integrations.verbs.life import LifeVerbs
from memos_integrations.verbs.lineage import LineageVerbs


class ReadVerbs(LifeVerbs, LineageVerbs):
    """Verbs of reading. A session of the past says which moment they show."""

    namespace: Namespace
    _vault: MemVault
    _operator: MemOperator
    _reader: MemReader
    _clock: Clock

    def get(self, id: str, *, version: int | None = None) -> MemCube:
        """One memory by id, as it stands or in an older ``version``.

        Raises :class:`CubeNotFoundError`, also for a memory of another namespace.
        """
        cube_id = check_id(id)
        check_version(version, "version")
        with self._view() as view:
            head = view.head(cube_id)
            if head is None:
                raise self._missing(cube_id)
            if version is None or version == head.cube.version:
                return head.cube
            for cube in view.chain(head):
                if cube.version == version:
                    return cube
        raise CubeNotFoundError(
            f"memory {cube_id} has no version {version!r}: it is at version {head.cube.version}"
        )

    async def aget(self, id: str, *, version: int | None = None) -> MemCube:
        """:meth:`get` in a worker thread."""
        return await offload(self.get, id, version=version)

    def get_many(self, ids: Iterable[str]) -> builtins.list[MemCube]:
        """The memories of these ids as they stand now, in the order asked for.

        Left out, not refused: what is deleted, expired or archived, and what another namespace
        holds. So what a search found a while ago can be read again before it is used.
        """
        wanted = [check_id(one) for one in strings(ids, "ids")]
        with self._view() as view:
            found = {cube.id: cube for cube in view.searchable(wanted)}
        return [found[one] for one in wanted if one in found]

    async def aget_many(self, ids: Iterable[str]) -> builtins.list[MemCube]:
        """:meth:`get_many` in a worker thread."""
        return await offload(self.get_many, ids)

    def around(
        self,
        ids: Iterable[str],
        *,
        turns: int = 1,
        filters: Mapping[str, Any] | None = None,
    ) -> builtins.list[builtins.list[MemCube]]:
        """The turns that were said around each of these memories: so many before, so many after.

        Oldest first, without the memory itself, and only those of its talk: not of another
        namespace, and less than an hour away. One list for each id, in the order asked for; it is
        empty for what is no turn, is alone, or is not to be seen. ``turns``: 1 or 2; ``filters``
        as in :meth:`search`.
        """
        if isinstance(turns, bool) or not isinstance(turns, int) or not 1 <= turns <= MOST:
            raise InvalidInputError(f"turns is {turns!r}: give 1 or {MOST}")
        wanted = [check_id(one) for one in strings(ids, "ids")]
        clauses = self._vault.clauses(filters)
        with self._view() as view:
            return turns_around(view, wanted, turns, clauses)

    async def aaround(
        self, ids: Iterable[str], **options: Any
    ) -> builtins.list[builtins.list[MemCube]]:
        """:meth:`around` in a worker thread."""
        return await offload(self.around, ids, **options)

    def search(
        self,
        query: str,
        *,
        limit: int = 10,
        filters: Mapping[str, Any] | None = None,
        window: TimeWindow | None = None,
        memory_type: str | None = None,
        min_score: float = 0.0,
        policy: SearchPolicy | None = None,
        vector: Vectors | None = None,
        reranker: object | None = None,
        rewrite: Rewriter | None = None,
    ) -> builtins.list[Hit]:
        """The memories that answer ``query``, best first, at most ``limit``.

        ``filters`` restrict by header fields: ``{"speaker": "Maya", "event_time": {"$gte": t}}``
        with ``$eq $ne $gt $gte $lt $lte $in``, and ``metadata.<key>``. ``window`` keeps only
        memories whose event time lies in it. ``min_score`` drops hits below it (scores are 0 to
        1). ``policy`` replaces the store's weights for this call. ``vector`` is the question as
        :meth:`embed` gave it, for who asks the same words again. ``rewrite`` (a function from the
        question to other wordings, a LangChain chat model or a LlamaIndex LLM) has the question
        searched in those words, too; a memory counts by the best of them. ``reranker`` puts the
        first ``SearchPolicy.reranked`` into another order: a
        :class:`~memos_integrations.protocols.Reranker` or a ``CrossEncoder``, instead of the
        store's; ``False``: none. A search sees every ``add`` that returned before it.
        """
        check_limit(limit)
        if (
            isinstance(min_score, bool)
            or not isinstance(min_score, int | float)
            or not 0 <= min_score <= 1
        ):
            raise InvalidInputError(f"min_score is {min_score!r}: give a number from 0 to 1")
        if policy is not None and not isinstance(policy, SearchPolicy):
            raise InvalidInputError(f"policy is {policy!r}: give a SearchPolicy")
        now = self._clock.now()
        call = self._reader.ask(query, now=now)
        also = [(part, 1.0) for part in wordings(rewrite, query)] if rewrite is not None else []
        if weight := (policy or self._operator.policy).two_parts:
            also += [(part, weight) for part in parts_of(query)]
        return self._operator.search(
            self.namespace,
            call,
            limit=limit,
            filters=narrowed(filters, window, memory_type),
            min_score=min_score,
            policy=policy,
            vector=vector,
            choose=self._moment_of_search(),
            reranker=self._reranker(reranker),
            also=[(self._reader.ask(words, now=now), weight) for words, weight in also],
        )

    async def asearch(self, query: str, **options: Any) -> builtins.list[Hit]:
        """:meth:`search` in a worker thread."""
        return await offload(self.search, query, **options)

    def judge(
        self,
        feedback: Iterable[tuple[str, Iterable[str]]],
        *,
        filters: Mapping[str, Any] | None = None,
        policy: SearchPolicy | None = None,
    ) -> builtins.list[Judged]:
        """What a :class:`~memos_integrations.models.ranker.Ranker` learns from, of each question.

        ``feedback``: pairs of a question and the ids of the memories that were right. Each
        question is searched as :meth:`search` does it without a reranker, and counts as no use.
        What comes back holds numbers, and no word of a memory.
        """
        pairs = [
            (question, {check_id(one) for one in strings(right, "the ids")})
            for question, right in _pairs(feedback)
        ]
        weights = policy or self._operator.policy
        return [
            Judged.of(
                question,
                self._operator.search(
                    self.namespace,
                    self._reader.ask(question, now=self._clock.now()),
                    limit=weights.reranked,
                    filters=filters,
                    policy=weights,
                    choose=self._moment_of_search(),
                    counted=False,
                    surroundings=True,
                    tokens=self._operator.gives_tokens,
                ),
                right,
            )
            for question, right in pairs
        ]

    async def ajudge(
        self, feedback: Iterable[tuple[str, Iterable[str]]], **options: Any
    ) -> builtins.list[Judged]:
        """:meth:`judge` in a worker thread."""
        return await offload(self.judge, feedback, **options)

    def embed(self, question: str) -> Vectors:
        """A question as the store's embedder sees it: a unit vector, float32 ``(dimension,)``."""
        return self._operator.question(check_text(question, what="question"))

    async def aembed(self, question: str) -> Vectors:
        """See :meth:`embed`."""
        return await offload(self.embed, question)

    def count(self, filters: Mapping[str, Any] | None = None) -> int:
        """How many memories there are (with ``filters`` as in :meth:`search`)."""
        clauses = self._vault.clauses(filters)
        with self._view() as view:
            return view.count(clauses)

    async def acount(self, filters: Mapping[str, Any] | None = None) -> int:
        """:meth:`count` in a worker thread."""
        return await offload(self.count, filters)

    def list(
        self,
        *,
        limit: int = 100,
        after: str | None = None,
        filters: Mapping[str, Any] | None = None,
    ) -> builtins.list[MemCube]:
        """Memories in the order they were made, a page at a time.

        For the next page pass the last id of this one as ``after``.
        """
        check_limit(limit)
        start = check_id(after) if after is not None else None
        clauses = self._vault.clauses(filters)
        with self._view() as view:
            return view.page(clauses, limit, start)

    async def alist(self, **options: Any) -> builtins.list[MemCube]:
        """:meth:`list` in a worker thread."""
        return await offload(self.list, **options)

    def log(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        principal: str | Iterable[str] | None = None,
        verb: str | Iterable[str] | None = None,
        memory_id: str | None = None,
        semantic_type: str | Iterable[str] | None = None,
        below: bool = False,
        limit: int = 100,
        after: str | None = None,
    ) -> builtins.list[LogEntry]:
        """Who did what in this namespace, newest first: each activity with what it touched.

        An activity is one call: all that the call wrote bears its id. ``semantic_type``: only what
        touched memories of this type, or of these. ``below``: also of the namespaces below this
        one, as far as they may be read.
        ``since`` is included, ``until`` is not. For the next page pass the last entry's id as
        ``after``. Reading is no activity; what was recalled stands in the counters, and what was
        put into a prompt in :meth:`uses`.
        """
        query = LogQuery.checked(
            since=since,
            until=until,
            principal=principal,
            verb=verb,
            memory_id=memory_id,
            semantic_type=semantic_type,
            below=below,
            limit=limit,
            after=after,
        )
        self._vault.require("read", self.namespace, "read the log of")
        return logquery.ask(self._vault, self.namespace, query, self._upto())

    async def alog(self, **options: Any) -> builtins.list[LogEntry]:
        """:meth:`log` in a worker thread."""
        return await offload(self.log, **options)

    def summary(self, *, hottest: int = 10) -> dict[str, Any]:
        """Activities by verb, principal and day, memories by state and day, the hottest.

        ``hit_rates``: the shares of the memories that a search ever found, and that ever stood in
        a prompt. JSON-plain, and always as of today.
        """
        check_limit(hottest)
        self._vault.require("read", self.namespace, "summarise")
        return logquery.summarise(self._vault, self.namespace, hottest)

    async def asummary(self, **options: Any) -> dict[str, Any]:
        """:meth:`summary` in a worker thread."""
        return await offload(self.summary, **options)

    def _reranker(self, given: object | None) -> Reranker | None:
        """What is given, else the store's; ``False``: none."""
        if given is None:
            return self._operator.reranker
        return None if given is False else as_reranker(given)

    # Which moment -------------------------------------------------------------------------

    def _moment_of_search(self) -> Choose | None:
        """The moment that searches are of; ``None``: now."""
        return None

    def _moment_shown(self) -> Moment | None:
        """The moment that is shown; ``None``: now."""
        return None

    def _upto(self) -> int | None:
        """The last activity that is known here; ``None``: all are."""
        return None


def _pairs(feedback: object) -> builtins.list[tuple[str, Iterable[str]]]:
    """Feedback as it is documented; :class:`InvalidInputError` says what is not."""
    if isinstance(feedback, str | Mapping) or not isinstance(feedback, Iterable):
        raise InvalidInputError("feedback: give a list of pairs (question, ids that were right)")
    pairs = builtins.list(feedback)
    for one in pairs:
        if not isinstance(one, tuple | builtins.list) or len(one) != 2:
            raise InvalidInputError(f"feedback: {one!r} is no pair (question, ids that were right)")
    return [(question, right) for question, right in pairs]
