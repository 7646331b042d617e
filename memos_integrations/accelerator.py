"""Watches which memories reach a model, and computes the caches that pay before they are asked.

A chat model keeps what it reads by itself. This adds what it cannot know: which memories are used
often, so that a new conversation begins with their cache, also after one of them was corrected.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from memos_integrations.cube import MemCube
from memos_integrations.errors import InvalidInputError, MemOSError
from memos_integrations.local_chat import LocalChat
from memos_integrations.memories.activation.admission import AdmissionPolicy, Decision
from memos_integrations.memories.activation.chains import chains
from memos_integrations.memories.activation.segments import Source
from memos_integrations.memories.block import CLOSING, entries, line
from memos_integrations.operation.scheduling.tiers import Form
from memos_integrations.recall import in_use_order

log = logging.getLogger(__name__)

HOTTEST = 8
"""Memories that are kept ready for each user and beginning of a prompt, at most."""
WAITING = 256
"""Prompts that wait to be looked at; more are left out, and counted."""
CHARACTERS_A_TOKEN = 4.0
"""Of English, roughly; for estimates alone."""
GROUPS = 1_000
"""Beginnings of prompts that are told apart."""


@dataclass(frozen=True)
class _Seen:
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] | None


@dataclass(frozen=True)
class _Changed:
    cube_ids: frozenset[str]


@dataclass
class _Group:
    """Prompts that begin alike, of one user."""

    header: str
    salt: str
    heat: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By cube id: uses, cooled, and when that was."""
    shown: int = 0
    """The most memories that one of them showed."""
    ahead: frozenset[Source] = frozenset()
    """The memories that were computed ahead."""
    ready: object = None
    """What was computed ahead, and what the cache had let go of by then."""


class Accelerator:
    """Precomputes the KV caches of memories that are used often, while nobody waits.

    Give it prompts with :meth:`saw`; the callbacks of both frameworks do. For each user and
    beginning of a prompt it takes the ``hottest`` memories at most, those that ``policy`` finds
    worth it, in the order in which ``RecallPolicy(order="use")`` shows them, and computes what
    prompts with some of them begin with: see
    :func:`~memos_integrations.memories.activation.chains.chains`. Works only with a store.
    """

    def __init__(
        self,
        chat: LocalChat,
        *,
        policy: AdmissionPolicy | None = None,
        hottest: int = HOTTEST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if chat.store is None:
            raise InvalidInputError("give a chat with a store: LocalChat(memory, ...)")
        if isinstance(hottest, bool) or hottest < 1:
            raise InvalidInputError(f"hottest is {hottest!r}: give a number from 1 on")
        self.chat, self.policy, self.hottest = chat, policy or AdmissionPolicy(), hottest
        self._store, self._clock = chat.store, clock
        self._lock = threading.Lock()
        self._groups: dict[tuple[str, str], _Group] = {}
        self._prompts: queue.Queue[_Seen | _Changed | None] = queue.Queue(WAITING)
        self._closing = False
        self._seen = self._left_out = self._failed = self._precomputed = 0
        self._worker = threading.Thread(target=self._work, name="memos-accelerator", daemon=True)
        self._worker.start()
        self._store.vault.watch(self._changed)

    # What adapters call -------------------------------------------------------------------

    def saw(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """A chat went to the model, with these tools; returns at once."""
        self._later(_Seen(messages, tools))

    def flush(self) -> None:
        """Return when every prompt so far has been looked at."""
        self._prompts.join()

    def close(self) -> None:
        """End the worker; what it has not computed ahead yet is left."""
        self._closing = True
        self._prompts.put(None)
        self._worker.join()

    # Looking ------------------------------------------------------------------------------

    def report(self) -> dict[str, Any]:
        """Hit rate, tokens saved, first-token times, this machine's rates and whether they are
        measured, and what was precomputed; JSON-plain."""
        return {
            **self.chat.stats(),
            "rates": asdict(self.chat.engine.rates()),
            "prompts_seen": self._seen,
            "prompts_left_out": self._left_out,
            "precomputed_tokens": self._precomputed,
            "failures": self._failed,
        }

    def explain(self, cube_id: str) -> Decision | None:
        """Whether a memory is worth being computed ahead, and why, where it is used most.

        ``None`` if it was never seen in a prompt.
        """
        with self._lock:
            heats = [
                (self.policy.cooled(*self._aged(group.heat[cube_id])), group)
                for group in self._groups.values()
                if cube_id in group.heat
            ]
        cubes = self._store.vault.heads([cube_id])
        if not heats or not cubes:
            return None
        return self._decide(cubes[0], *max(heats, key=lambda one: one[0]))

    # What a scheduler calls ---------------------------------------------------------------

    def form(self, characters: int) -> Form:
        """What the cache of a text of so many characters takes: measured rates, guessed tokens."""
        tokens, rates = characters / CHARACTERS_A_TOKEN, self.chat.engine.rates()
        return Form(
            bytes=round(tokens * rates.bytes_per_token),
            build_ms=1_000 * tokens / rates.prefill_tokens_per_second,
        )

    def build(self, cube: MemCube) -> str:
        """Precompute a memory for each user and beginning of a prompt that it was seen with.

        Returns why not, if it cannot be: what was never in a prompt has no place to stand.
        """
        with self._lock:
            groups = [one for one in self._groups.values() if cube.id in one.heat]
        if not groups:
            return "no prompt with it has reached this model yet"
        for group in groups:
            self._precompute(group, self._clock(), also=cube.id)
        return ""

    def drop(self, cube_id: str) -> None:
        """Let go of every cache that a memory is part of."""
        self.chat.engine.drop_cubes([cube_id])

    # Within -------------------------------------------------------------------------------

    def _changed(self, cube_ids: Collection[str]) -> None:
        with self._lock:
            hot = {one for group in self._groups.values() for one in group.heat}
        if not hot.isdisjoint(cube_ids):
            self._later(_Changed(frozenset(cube_ids)))

    def _later(self, what: _Seen | _Changed) -> None:
        if self._worker.is_alive():
            try:
                self._prompts.put_nowait(what)
            except queue.Full:
                self._left_out += 1

    def _work(self) -> None:
        while (what := self._prompts.get()) is not None:
            try:
                if isinstance(what, _Seen):
                    self._look_at(what)
                else:
                    self._mend(what.cube_ids)
            except MemOSError as error:
                self._failed += 1
                log.warning("a prompt was not precomputed: %s", error)
            except Exception:  # a background thread tells, and goes on
                self._failed += 1
                log.exception("a prompt was not precomputed")
            finally:
                self._prompts.task_done()
        self._prompts.task_done()

    def _look_at(self, seen: _Seen) -> None:
        self._seen += 1
        text = self.chat.model.render(seen.messages, tools=seen.tools)
        first = next(entries(text), None)
        prompt = self.chat.read(text)
        if first is None or not prompt.spans:
            return
        header, now = text[: first[0]], self._clock()
        with self._lock:
            group = self._groups.setdefault((prompt.salt, header), _Group(header, prompt.salt))
            shown = {span.source.cube_id for span in prompt.spans}
            group.shown = max(group.shown, len(shown))
            for cube_id in shown:
                heat, seconds = self._aged(group.heat.get(cube_id, (0.0, now)), now)
                group.heat[cube_id] = self.policy.cooled(heat, seconds) + 1.0, now
            while len(self._groups) > GROUPS:
                self._groups.pop(next(iter(self._groups)))
        self._precompute(group, now)

    def _mend(self, cube_ids: frozenset[str]) -> None:
        """Memories have changed: compute what begins with them before it is asked for."""
        with self._lock:
            hit = [one for one in self._groups.values() if not cube_ids.isdisjoint(one.heat)]
        for group in hit:
            self._precompute(group, self._clock())

    def _precompute(self, group: _Group, now: float, also: str | None = None) -> None:
        """Compute what prompts with the hottest memories begin with; ``also`` is among them."""
        with self._lock:
            known = dict(group.heat)
        heat = {
            cube_id: self.policy.cooled(*self._aged(one, now)) if cube_id != also else math.inf
            for cube_id, one in known.items()
        }
        hot = sorted(heat, key=lambda one: -heat[one])[: self.hottest]
        cubes = self._store.vault.heads(hot)
        worth = [c for c in cubes if c.id == also or self._decide(c, heat[c.id], group).admit]
        worth = in_use_order(worth)
        chosen = chains(worth, [heat[cube.id] for cube in worth], shown=group.shown)
        ready = self._state(chosen)
        if ready == group.ready:
            return
        self._store.ledger.note(worth)
        for chain in chosen:
            if self._closing:
                return
            self._compute(group, chain)
        group.ahead = frozenset(Source(c.id, c.version) for chain in chosen for c in chain)
        group.ready = ready

    def _state(self, chosen: Sequence[Sequence[MemCube]]) -> object:
        """Equal as long as there is nothing new to compute."""
        tree = self.chat.engine.tree.stats()
        versions = [[(cube.id, cube.version) for cube in chain] for chain in chosen]
        return versions, tree.evicted + tree.dropped, self.chat.known_memories()

    def _compute(self, group: _Group, chain: Sequence[MemCube]) -> None:
        text = "\n".join([group.header + line(chain[0]), *map(line, chain[1:]), CLOSING, ""])
        prompt = self.chat.read(text)
        if prompt.salt == group.salt:
            self._precomputed += self.chat.precompute(prompt, background=True)

    def _decide(self, cube: MemCube, heat: float, group: _Group) -> Decision:
        tokens = len(self.chat.model.encode(line(cube), special=False))
        source = Source(cube.id, cube.version)
        built = source in group.ahead and (
            self.chat.engine.tree.knows(source) or source in self._store.pieces.sources()
        )
        return self.policy.decide(tokens, heat, self.chat.engine.rates(), cached=built)

    def _aged(self, known: tuple[float, float], now: float | None = None) -> tuple[float, float]:
        heat, at = known
        return heat, (self._clock() if now is None else now) - at
