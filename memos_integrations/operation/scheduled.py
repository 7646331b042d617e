"""What a scheduler is given and tells: who holds caches, reports, decisions as jobs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from memos_integrations.cube import MemCube
from memos_integrations.infrastructure.jobs import Job, NewJob
from memos_integrations.operation.scheduling.actions import KINDS, Action
from memos_integrations.operation.scheduling.tiers import Form, Tier


class Caches(Protocol):
    """Who holds activation memory, such as an accelerator."""

    def form(self, characters: int) -> Form:
        """What the cache of a text takes, in bytes and milliseconds."""
        ...

    def build(self, cube: MemCube) -> str:
        """Make the cache of a memory; why not, if it cannot be, else an empty string."""
        ...

    def drop(self, cube_id: str) -> None:
        """Let go of the cache of a memory."""
        ...


@dataclass(frozen=True)
class Report:
    """What one tick did; as a string, lines to read."""

    events: int
    jobs: tuple[Job, ...]
    """What was decided or left over, with what came of it."""

    def __str__(self) -> str:
        head = f"{self.events} events, {len(self.jobs)} decisions"
        return "\n".join([head, *(f"  {job.cube_id}: {job}" for job in self.jobs)])


def verb_of(job: Job) -> str | None:
    """What a job does to the memory itself; ``None`` if only to what is derived from it."""
    if job.target is None:
        return "expire"
    if job.target == Tier.ARCHIVE:
        return "archive"
    return "restore" if job.source == Tier.ARCHIVE else None


def new_job(action: Action) -> NewJob:
    """A decision, to be written down."""
    target = None if action.target is None else action.target.value
    at = datetime.fromtimestamp(action.at, UTC)
    return NewJob(action.cube_id, action.kind, action.source.value, target, action.reason, at)


def action_of(job: Job) -> Action:
    """The decision that was written down, with what came of it."""
    reason = f"{job.reason}; {job.status}: {job.outcome}" if job.outcome else job.reason
    target = None if job.target is None else Tier(job.target)
    return KINDS[job.kind](job.at.timestamp(), job.cube_id, Tier(job.source), target, reason)
