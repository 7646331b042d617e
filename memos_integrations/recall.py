"""Recall: which memories go into a prompt, how they are written there, and what is kept of a turn.

Every chat adapter asks this one place. Memories are data, not instructions: they stand in a marked
block, in the order in which they were learned, so that the same memories give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

from memos_integrations.checks import MAX_TEXT_BYTES
from memos_integrations.cube import MemCube
from memos_integrations.errors import InvalidInputError, MemOSError, RecallTimeoutError
from memos_integrations.infrastructure.deadline import DeadlineExceeded, DeadlineWorkers
from memos_integrations.interface.rewriting import Rewriter, wordings
from memos_integrations.memories.block import CLOSING, NOTE, OPENING, block, line, without_block
from memos_integrations.protocols import Knows, Vectors
from memos_integrations.query import Hit
from memos_integrations.session import MemorySession
from memos_integrations.verbs.arguments import MAX_LIMIT

__all__ = [
    "CLOSING",
    "NOTE",
    "OPENING",
    "Recall",
    "RecallPolicy",
    "Said",
    "about_tokens",
    "block",
    "clean",
    "in_order",
    "in_use_order",
    "is_only",
    "line",
    "repeats",
    "without_block",
]

log = logging.getLogger(__name__)

T = TypeVar("T")

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")

_WORKERS = DeadlineWorkers("memos-recall")

QUESTION_CHARS = 4_000
"""The part of a long message that is searched with."""


def about_tokens(text: str) -> int:
    """Tokens of a text, estimated: a quarter of its UTF-8 bytes."""
    return len(text.encode("utf-8", "replace")) // 4 + 1


@dataclass(frozen=True, kw_only=True)
class RecallPolicy:
    """How much is recalled, and what happens when the memory does not answer."""

    limit: int = 8
    """The most memories in a prompt."""
    token_budget: int = 1_000
    """The most tokens of the block; better hits go first."""
    count_tokens: Callable[[str], int] = about_tokens
    """The model's own tokenizer, where there is one."""
    filters: Mapping[str, Any] | None = None
    """As in :meth:`MemorySession.search`."""
    leave_out: tuple[str, ...] = ("question",)
    """Semantic types that are not recalled: a question that was asked before is no answer.

    What says something before it asks is recalled.
    """
    around: int = 0
    """How many turns before and after each recalled one are shown beside it (0 to 2), as far as
    the budget has room for them; they do not count for ``limit``."""
    rewrite: Rewriter | None = None
    """Other wordings to search with, as in :meth:`MemorySession.search`. If it fails the question
    is searched as it stands."""
    timeout: float | None = 2.0
    """Seconds that a recall may take; ``None``: any time."""
    order: Literal["age", "use"] = "age"
    """How memories stand in the prompt: ``age``, oldest first, so that a correction follows what it
    corrects; ``use``, those used most first, so that prompts begin alike and a KV cache is met
    more often.
    """
    on_error: Literal["ignore", "raise"] = "ignore"
    """Whether a conversation goes on, with a logged warning, when its memory fails."""
    skip_known: Knows | None = None
    """A chat model that is read through adapters: what these know stays out of the prompt. What
    was changed, hidden or erased since is recalled again."""

    def __post_init__(self) -> None:
        for name in ("limit", "token_budget"):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise InvalidInputError(f"{name} is {number!r}: give a number from 1 on")
        if isinstance(self.around, bool) or self.around not in (0, 1, 2):
            raise InvalidInputError(f"around is {self.around!r}: use 0, 1 or 2")
        number = self.timeout
        if number is not None and (not isinstance(number, int | float) or not number > 0):
            raise InvalidInputError(f"timeout is {self.timeout!r}: give seconds, or None")
        if self.order not in ("age", "use"):
            raise InvalidInputError(f"order {self.order!r}: use 'age' or 'use'")
        if self.skip_known is not None and not isinstance(self.skip_known, Knows):
            raise InvalidInputError(f"skip_known is {self.skip_known!r}: give the chat model")
        if self.on_error not in ("ignore", "raise"):
            raise InvalidInputError(f"on_error {self.on_error!r}: use 'ignore' or 'raise'")


@dataclass(frozen=True)
class Said:
    """One message of a conversation."""

    id: str
    role: str
    """``user`` or ``assistant``."""
    text: str
    name: str | None = None


class Recall:
    """A policy at work. Thread-safe."""

    def __init__(self, policy: RecallPolicy) -> None:
        self.policy = policy

    def find(
        self,
        session: MemorySession,
        question: str,
        *,
        seen: Collection[str] = (),
        conversation: str = "",
        room: Callable[[Sequence[MemCube]], bool] | None = None,
    ) -> list[MemCube]:
        """The memories for a message, in the order of the prompt; empty if the memory fails.

        ``seen`` are ids, of messages or memories, that stand in the prompt anyway; a message's id
        counts in its own ``conversation`` only. ``room`` says whether the prompt has room for a
        block of these memories.
        """
        asked = clean(question[:QUESTION_CHARS])
        if not asked.strip():
            return []
        nothing: list[MemCube] = []
        return self.guarded(
            "recall", lambda: self._found(session, asked, seen, clean(conversation), room), nothing
        )

    def _found(
        self,
        session: MemorySession,
        asked: str,
        seen: Collection[str],
        conversation: str,
        room: Callable[[Sequence[MemCube]], bool] | None,
    ) -> list[MemCube]:
        policy, want = self.policy, min(self.policy.limit + 4, MAX_LIMIT)
        vector = session.embed(asked)  # once, however often the search is widened
        search = partial(self._search, session, asked, vector, self._wordings(asked))
        most = min(30 * policy.limit, MAX_LIMIT // 4)
        new: list[MemCube] = []
        while len(new) < policy.limit:
            hits = search(want, policy.filters)
            new = self._new(hits, seen, conversation)
            if len(hits) < want:
                break
            if want > most:
                new = new or self._new(self._beyond(search), seen, conversation)
                break
            want *= 4  # what is left out took the first places
        chosen = self._within_budget(new, room)
        if policy.around and chosen:
            near = session.around(
                [cube.id for cube in chosen], turns=policy.around, filters=policy.filters
            )
            turns = [Hit(cube, 0.0) for each in near for cube in each]
            chosen = self._filled(chosen, self._new(turns, seen, conversation), room)
        known = self._known()
        return self._ordered([one for one in chosen if (one.id, one.version) not in known])

    def _known(self) -> Collection[tuple[str, int]]:
        asked, nothing = self.policy.skip_known, frozenset[tuple[str, int]]()
        if asked is None:
            return nothing
        return self.guarded("asking the model what it knows", asked.known_memories, nothing)

    def known(self, session: MemorySession) -> list[MemCube]:
        """What is left out of prompts, since the model knows it."""
        ids, nothing = [cube_id for cube_id, _ in self._known()], list[MemCube]()
        found = self.guarded("recall", lambda: session.get_many(ids), nothing) if ids else nothing
        return found

    def _wordings(self, asked: str) -> tuple[str, ...]:
        """Asked for once, however often the search is widened."""
        rewrite, nothing = self.policy.rewrite, ()
        if rewrite is None:
            return nothing
        return self.guarded("rewriting", lambda: wordings(rewrite, asked), nothing)

    def _search(
        self,
        session: MemorySession,
        asked: str,
        vector: Vectors,
        also: tuple[str, ...],
        limit: int,
        filters: Mapping[str, Any] | None,
    ) -> list[Hit]:
        rewrite = (lambda _: also) if also else None
        return session.search(asked, limit=limit, filters=filters, vector=vector, rewrite=rewrite)

    def _new(self, hits: Sequence[Hit], seen: Collection[str], conversation: str) -> list[MemCube]:
        return [
            hit.cube
            for hit in hits
            if not is_only(hit.cube, self.policy.leave_out)
            and hit.cube.id not in seen
            and not _is_said(hit.cube, seen, conversation)
        ]

    def _beyond(self, search: Callable[[int, Mapping[str, Any]], list[Hit]]) -> list[Hit]:
        """Of other types than the first one to leave out, which fills all places."""
        filters = dict(self.policy.filters or {})
        if not self.policy.leave_out or "semantic_type" in filters:
            return []
        filters["semantic_type"] = {"$ne": self.policy.leave_out[0]}
        return search(self.policy.limit + 4, filters)

    def again(self, session: MemorySession, ids: Sequence[str]) -> list[MemCube]:
        """What was found before, as it stands now: without what was forgotten; in that order."""
        nothing: list[MemCube] = []
        return self.guarded("recall", lambda: session.get_many(ids), nothing)

    def record(
        self,
        session: MemorySession,
        turn: Sequence[Said],
        *,
        conversation: str,
        recalled: Sequence[MemCube] = (),
    ) -> None:
        """Remember what was said, each message once however often it is recorded.

        An assistant's answer that repeats a recalled memory word for word is not kept: it would be
        found in the memory's place after that has been corrected or forgotten.
        """
        if any(said.role == "assistant" for said in turn):
            recalled = [*recalled, *self.known(session)]
        for said in turn:
            text = without_block(said.text)
            if not text.strip() or (said.role == "assistant" and repeats(text, recalled)):
                continue
            kept = Said(said.id, said.role, text, said.name)
            self.guarded("recording", partial(_keep, session, kept, conversation), None)

    def guarded(self, what: str, work: Callable[[], T], otherwise: T) -> T:
        """Do what the memory is asked for; in time and without an error, or ``otherwise``."""
        try:
            if self.policy.timeout is None or what != "recall":
                return work()
            return _WORKERS.call(self.policy.timeout, work)
        except DeadlineExceeded:
            error: MemOSError = RecallTimeoutError(
                f"no memories within {self.policy.timeout:g} s: raise the timeout, or look at "
                "`memcube doctor`"
            )
        except MemOSError as raised:
            error = raised
        if self.policy.on_error == "raise":
            raise error
        log.warning("%s failed, the conversation goes on without it: %s", what, error)
        return otherwise

    def _ordered(self, cubes: Iterable[MemCube]) -> list[MemCube]:
        return in_use_order(cubes) if self.policy.order == "use" else in_order(cubes)

    def _within_budget(
        self, ranked: Sequence[MemCube], room: Callable[[Sequence[MemCube]], bool] | None
    ) -> list[MemCube]:
        everything = self._chosen(ranked, lambda _: True)
        if room is None or room(everything):
            return everything
        return self._chosen(ranked, room)

    def _chosen(
        self, ranked: Sequence[MemCube], room: Callable[[Sequence[MemCube]], bool]
    ) -> list[MemCube]:
        """The best that fit; what is too long leaves its place to the next."""
        left = self.policy.token_budget - self.policy.count_tokens(block([]))
        chosen: list[MemCube] = []
        for cube in ranked:
            cost = self.policy.count_tokens(line(cube) + "\n")
            fits = len(chosen) < self.policy.limit and cost <= left
            if fits and room([*chosen, cube]):
                chosen.append(cube)
                left -= cost
        return chosen

    def _filled(
        self,
        chosen: Sequence[MemCube],
        more: Sequence[MemCube],
        room: Callable[[Sequence[MemCube]], bool] | None,
    ) -> list[MemCube]:
        """What is chosen, and of what stands around it as much as there is room for."""
        count, filled = self.policy.count_tokens, list(chosen)
        left = self.policy.token_budget - count(block(filled))
        known = {cube.id for cube in chosen}
        for cube in more:
            cost = count(line(cube) + "\n")
            if cube.id in known or cost > left or (room and not room([*filled, cube])):
                continue
            known.add(cube.id)
            filled.append(cube)
            left -= cost
        return filled


def is_only(cube: MemCube, types: Collection[str]) -> bool:
    """Whether a memory is one sentence of such a type, and says nothing else."""
    says_more = re.search(r"[.!;:]\s+\S", cube.text.strip()) is not None
    return cube.header.descriptive.semantic_type in types and not says_more


def _is_said(cube: MemCube, seen: Collection[str], conversation: str) -> bool:
    """Whether a memory is one of these messages of this conversation."""
    there = cube.metadata.get("conversation", "") == conversation
    return there and cube.header.descriptive.source in seen


def in_order(cubes: Iterable[MemCube]) -> list[MemCube]:
    """Oldest first, whatever their scores: a correction stands after what it corrects."""
    return sorted(cubes, key=lambda cube: cube.id)


def in_use_order(cubes: Iterable[MemCube]) -> list[MemCube]:
    """Used most first, oldest first among those used about as much.

    Only each doubling of its uses moves a memory, so that the order of many prompts is the same.
    """
    return sorted(cubes, key=lambda one: (-one.header.behaviour.uses.bit_length(), one.id))


def repeats(text: str, recalled: Iterable[MemCube]) -> bool:
    """Whether a text has the words of a recalled memory in it, three or more in a row.

    What the assistant itself has said before is not meant: "you are welcome" is no repeated fact.
    """
    said = f" {_folded(text)} "
    told = (cube for cube in recalled if cube.header.descriptive.role != "assistant")
    known = (_folded(cube.text) for cube in told)
    return any(words.count(" ") >= 2 and f" {words} " in said for words in known)


def _folded(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def clean(text: str) -> str:
    """A text that can be stored and searched: what is no character is read as a space."""
    return _CONTROL.sub(" ", text).encode("utf-8", "replace").decode()


def _keep(session: MemorySession, said: Said, conversation: str) -> None:
    text, where, id = clean(said.text), clean(conversation), clean(said.id).strip()
    longest = MAX_TEXT_BYTES // 4  # characters, each of four bytes at most
    pieces = [text[at : at + longest] for at in range(0, len(text), longest)]
    content = [{"role": said.role, "content": piece} for piece in pieces if piece.strip()]
    if not content:
        return
    which = json.dumps([where, id, text]).encode()
    session.add(
        content,
        source=id[:1000] or None,
        speaker=clean(said.name or "").strip()[:200] or None,
        metadata={"conversation": where} if where else None,
        idempotency_key=f"turn:{hashlib.sha256(which).hexdigest()}",
    )
