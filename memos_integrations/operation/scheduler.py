"""MemScheduler: sees what happens to the memories of a store, decides, and does it.

What happened is read from the store's own log, so no event is lost with a process. Decisions are
the pure function of :mod:`memos_integrations.operation.scheduling`. They are written down before
they are done, and what changes a memory is done in the transaction that ends its job: killed at
any point, nothing is lost and nothing is done twice.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Self

import sqlalchemy as sa

from memos_integrations.cube import MemCube, Principal, State
from memos_integrations.errors import (
    CubeNotFoundError,
    IllegalTransitionError,
    InvalidInputError,
    MemOSError,
)
from memos_integrations.infrastructure import crashpoints, happenings, jobs, sweeping
from memos_integrations.infrastructure.happenings import Since
from memos_integrations.infrastructure.jobs import Job
from memos_integrations.infrastructure.records import Activity
from memos_integrations.infrastructure.units import SYSTEM
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.operation import lifecycle
from memos_integrations.operation.consolidating import Consolidation, Overtaken
from memos_integrations.operation.scheduled import (
    Caches,
    Report,
    action_of,
    new_job,
    verb_of,
)
from memos_integrations.operation.scheduling.actions import Action
from memos_integrations.operation.scheduling.events import Event, Lost, Pressure, Tick
from memos_integrations.operation.scheduling.explanation import Explanation
from memos_integrations.operation.scheduling.planner import Planner
from memos_integrations.operation.scheduling.policies import KeepPolicy
from memos_integrations.operation.scheduling.rules import Budgets, Rules
from memos_integrations.operation.scheduling.sighting import Sighting, place
from memos_integrations.operation.scheduling.tiers import BOUNDED, Tier
from memos_integrations.protocols import Clock

log = logging.getLogger(__name__)

VECTORS_UP_TO = 20_000
"""Memories of which the scheduler keeps vectors, to prefetch by topic; with more it does not."""

_SYSTEM = Principal(id=SYSTEM, kind="service")


class MemScheduler:
    """Moves memories between tiers from what it has seen. Thread-safe.

    Made by :meth:`MemOS.scheduler`. Call :meth:`tick` yourself, or let it run::

        with memory.scheduler(every=60):
            ...

    ``caches``: who holds KV caches; without it nothing is promoted to activation memory.
    ``training``: what makes weights of memories; without it nothing is.
    """

    def __init__(
        self,
        vault: MemVault,
        *,
        clock: Clock,
        activity: Callable[[str, Principal], Activity],
        caches: Caches | None = None,
        training: Consolidation | None = None,
        budgets: Budgets | None = None,
        rules: Rules | None = None,
        policy: KeepPolicy | None = None,
        every: float = 60.0,
    ) -> None:
        if isinstance(every, bool) or not isinstance(every, int | float) or not every > 0:
            raise InvalidInputError(f"every is {every!r}: give a positive number of seconds")
        self._vault, self._clock, self._activity = vault, clock, activity
        self._caches, self._training, self._every = caches, training, float(every)
        self._budgets, self._rules, self._policy = budgets, rules, policy
        self._lock, self._trains = threading.RLock(), threading.Lock()
        self._planner: Planner | None = None
        self._since = Since()
        self._sighting = Sighting(None)
        self._with_vectors = True
        self._ended = threading.Event()
        self._worker: threading.Thread | None = None

    # What callers use ---------------------------------------------------------------------

    def tick(self) -> Report:
        """Take in what happened, decide, and do it. Raises :class:`StoreError`.

        If memories become weights, it takes as long as that does; all else goes on meanwhile.
        """
        with self._lock:
            seen, touched = self._step(Tick(self._clock.now().timestamp()))
        self._train()
        return Report(seen, tuple(self._again(touched)))

    def press(self, tier: Tier | str, bytes: int) -> Report:
        """Memory is short: free so many bytes of a tier at once, the least valuable first.

        The tier is not filled again for ``Rules.pressure_hold`` seconds. Of ``plaintext`` it
        archives, of ``activation`` it lets go of caches. Raises as :meth:`tick` does.
        """
        if tier not in set(BOUNDED) or type(bytes) is not int or bytes < 0:
            raise InvalidInputError(
                f"press({tier!r}, {bytes!r}): give {', '.join(BOUNDED)}, and 0 bytes or more"
            )
        with self._lock:
            seen, touched = self._step(Pressure(self._clock.now().timestamp(), Tier(tier), bytes))
        return Report(seen, tuple(self._again(touched)))

    def explain(self, id: str) -> Explanation | None:
        """Why a memory is where it is, with every decision about it; ``None`` if it is unknown.

        As of the last tick. With a trainer it has the break-even of the set that it is in.
        """
        with self._lock:
            planner = self._known()
            found = planner.explain(id)
            why = self._training.explain(planner, id) if self._training and found else ""
        if found is None:
            return None
        return replace(found, decisions=tuple(self.decisions(id)), training=why)

    def decisions(self, id: str | None = None, *, limit: int = 100) -> list[Action]:
        """The decisions about a memory, or the latest about any; oldest first.

        The reason of a job that was skipped or failed ends in why.
        """
        return [action_of(job) for job in self.jobs(id, limit=limit)]

    def jobs(self, id: str | None = None, *, limit: int = 100) -> list[Job]:
        """The same with what came of them."""
        with self._vault.reading() as (tx, _):
            return jobs.latest(tx, limit) if id is None else jobs.of(tx, id)

    def start(self) -> None:
        """Tick in the background from now on; a second call does nothing."""
        with self._lock:
            if self._worker is None:
                self._ended.clear()
                self._worker = threading.Thread(
                    target=self._work, name="memos-scheduler", daemon=True
                )
                self._worker.start()

    def stop(self) -> None:
        """End the background work after one last tick; a training ends, and is begun anew later."""
        with self._lock:
            worker, self._worker = self._worker, None
        if worker is not None:
            self._ended.set()
            worker.join()
            self._tick_quietly()
            self._ended.clear()

    @property
    def is_running(self) -> bool:
        """Whether it ticks by itself."""
        return self._worker is not None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    # In the background --------------------------------------------------------------------

    def _work(self) -> None:
        while not self._ended.wait(self._every):
            self._tick_quietly()

    def _tick_quietly(self) -> None:
        if not self._vault.is_open:
            return
        try:
            self.tick()
        except MemOSError as error:
            log.warning("the scheduler's tick failed and is tried again: %s", error)
        except Exception:  # a background thread tells, and goes on
            log.exception("the scheduler's tick failed and is tried again")

    # A step -------------------------------------------------------------------------------

    def _step(self, event: Event) -> tuple[int, list[Job]]:
        """Do what was left over; see what happened, and then the event; do what is decided.

        How many events there were, and the jobs; those that train are done by :meth:`_train`.
        """
        left = self._waiting()
        for job in left:
            self._do(job)
        self._sweep()
        try:
            seen = self._decide(event)
        except BaseException:  # whatever it was
            self._planner = None  # it may know what was not written: learn it anew
            raise
        known = {job.pk for job in left}
        decided = [job for job in self._waiting() if job.pk not in known]
        for job in decided:
            self._do(job)
        return seen, [*left, *decided]

    # Seeing -------------------------------------------------------------------------------

    def _known(self) -> Planner:
        """The planner, which has learnt all up to the cursor."""
        if self._planner is not None:
            return self._planner
        planner = Planner(self._budgets, self._rules, self._policy)
        cache = None if self._caches is None else self._caches.form
        self._sighting = Sighting(cache, in_sets=self._training is not None)
        with self._vault.reading() as (tx, _):
            self._since = Since.read(jobs.cursor(tx))
            self._with_vectors = happenings.count(tx) <= VECTORS_UP_TO
            past = happenings.read(tx, Since(), self._clock.now(), vectors=self._with_vectors)
        known = [one for one in past.touched if one.activity_pk <= self._since.activity_pk]
        for event in self._sighting.events(known, past.prompts, past.recalls, self._since.micros):
            planner.learn(event)
        place(planner, known, self._since.micros / 1e6)
        self._planner = planner
        return planner

    def _sweep(self) -> None:
        """Put away what has outlived its retention; searches leave it out already."""
        swept = sweeping.sweep(self._vault, (), lambda: self._activity("expire", _SYSTEM))
        if swept:
            log.info("%d memories have outlived their retention", len(swept))

    def _decide(self, last: Event) -> int:
        """Step through what is new, write the decisions and how far it went; how many events."""
        planner, now = self._known(), self._clock.now()
        self._vault.flush_counters()
        with self._vault.reading() as (tx, _):
            # A use may have prolonged a life, which is no activity.
            over = planner.lapsing(now.timestamp())
            new = happenings.read(tx, self._since, now, vectors=self._with_vectors, also=over)
        events = self._sighting.events(new.touched, new.prompts, new.recalls, None)
        actions = [action for event in events for action in planner.step(event)]
        place(planner, new.touched, now.timestamp())
        actions += planner.step(last)
        if self._training is not None and isinstance(last, Tick):
            for event in self._training.events(planner, now.timestamp(), self._waiting()):
                actions += planner.step(event)
        crashpoints.reach("jobs-decided")
        new_jobs = [new_job(one) for one in actions]
        self._commit(lambda tx: jobs.write(tx, new_jobs, str(new.upto)))
        crashpoints.reach("jobs-written")
        self._since = new.upto
        return len(events)

    # Doing --------------------------------------------------------------------------------

    def _waiting(self) -> list[Job]:
        with self._vault.reading() as (tx, _):
            return jobs.waiting(tx)

    def _again(self, done: Sequence[Job]) -> list[Job]:
        with self._vault.reading() as (tx, _):
            return [found for one in done if (found := jobs.find(tx, one.pk)) is not None]

    def _do(self, job: Job) -> None:
        """Do what was decided; what fails is tried again with a later tick."""
        if self._training is not None and self._training.is_training(job):
            return  # with the others of its set
        try:
            if (verb := verb_of(job)) is not None:
                self._change(job, verb)
            else:
                self._end(job, self._move(job))
        except (CubeNotFoundError, IllegalTransitionError, Overtaken) as error:
            self._end(job, str(error))
        except Exception as error:  # what a cache raises ends this job, not the tick
            if not isinstance(error, MemOSError):
                log.exception("a job of the scheduler failed")
            self._failed([job], error)

    def _failed(self, these: Sequence[Job], error: Exception) -> None:
        for job in these:
            self._commit(partial(jobs.count_attempt, pk=job.pk))
            if job.attempts + 1 >= jobs.ATTEMPTS:
                self._end(job, f"{type(error).__name__}: {error}", failed=True)

    def _train(self) -> None:
        """Train what waits for it, a namespace at a time; others go on, and tick, meanwhile."""
        if self._training is None or not self._trains.acquire(blocking=False):
            return
        try:
            for these in self._training.together(self._waiting()):
                if self._goes_on():
                    self._train_set(self._training, these)
        finally:
            self._trains.release()

    def _train_set(self, training: Consolidation, these: Sequence[Job]) -> None:
        try:
            is_done = training.train(these, self._end, self._goes_on)
        except Exception as error:  # what a trainer raises ends these jobs, not the tick
            if not isinstance(error, MemOSError):
                log.exception("a training of the scheduler failed")
            self._failed(these, error)
            return
        if is_done and self._caches is not None:
            for job in these:
                if job.source == Tier.ACTIVATION:
                    self._caches.drop(job.cube_id)

    def _goes_on(self) -> bool:
        return self._vault.is_open and not self._ended.is_set()

    def _commit(self, work: Callable[[sa.Connection], None]) -> None:
        def done(tx: sa.Connection) -> tuple[None, bool]:
            work(tx)
            return None, False

        self._vault.commit(done)

    def _change(self, job: Job, verb: str) -> None:
        """Change the state of a memory, in one transaction with the end of the job."""
        activity = self._activity(verb, _SYSTEM)

        def after(cube: MemCube) -> State:
            if verb == "expire" and not lifecycle.is_over(cube, activity.at):
                raise Overtaken("its lifespan was prolonged meanwhile")
            return lifecycle.after(verb, cube.id, cube.state)

        self._vault.transition(
            job.namespace,
            activity,
            [job.cube_id],
            after,
            job.reason,
            also=lambda tx: jobs.end(tx, job.pk, "done", "", activity.at),
        )
        crashpoints.reach("job-done")

    def _move(self, job: Job) -> str:
        """Build or let go of what is derived from a memory; why not, or an empty string.

        Doing it twice makes nothing different: a cache that is there is not built again.
        """
        if job.target == Tier.PARAMETER:
            return "nothing trains: give the scheduler a trainer, or distil by a call"
        if job.source == Tier.PARAMETER and self._training is not None:
            self._training.drop(job)
            return ""
        if self._caches is None:
            return "no KV-cache accelerator is attached"
        if job.target == Tier.ACTIVATION:
            cubes = self._vault.heads([job.cube_id])
            return self._caches.build(cubes[0]) if cubes else "the memory is gone"
        self._caches.drop(job.cube_id)
        return ""

    def _end(self, job: Job, why_not: str, *, failed: bool = False) -> None:
        now = self._clock.now()
        status: jobs.Status = "failed" if failed else "skipped" if why_not else "done"
        self._commit(lambda tx: jobs.end(tx, job.pk, status, why_not, now))
        with self._lock:
            if why_not and self._planner is not None:
                self._correct(self._planner, job, now)

    def _correct(self, planner: Planner, job: Job, now: datetime) -> None:
        """The planner believes what was not done."""
        if job.target is None:
            self._planner = None  # it has forgotten what is still there: learn it anew
        elif job.target == Tier.PARAMETER:
            memory = planner.holding.get(job.cube_id)
            if memory is not None and memory.tier is Tier.PARAMETER:
                planner.place(job.cube_id, Tier(job.source), now.timestamp())
        elif job.target == Tier.ACTIVATION:
            planner.step(Lost(now.timestamp(), job.cube_id, Tier(job.target)))
        elif job.target == Tier.ARCHIVE:
            planner.place(job.cube_id, Tier.PLAINTEXT, now.timestamp())
        elif job.source == Tier.ARCHIVE:
            planner.place(job.cube_id, Tier.ARCHIVE, now.timestamp())
