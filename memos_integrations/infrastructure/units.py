"""Units of work, each with its entries in the audit log; and what all of them have in common."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import sqlalchemy as sa

from memos_integrations.cube import State
from memos_integrations.infrastructure import (
    audit,
    records,
    transitions,
)
from memos_integrations.infrastructure.access import (
    AccessRules,
)
from memos_integrations.infrastructure.database import Database
from memos_integrations.infrastructure.placements import Placements
from memos_integrations.infrastructure.records import Activity
from memos_integrations.infrastructure.retention import RetentionRules
from memos_integrations.infrastructure.spaces import Spaces
from memos_integrations.infrastructure.usage import UsageCounters
from memos_integrations.protocols import Clock, EmbedderFingerprint

log = logging.getLogger(__name__)

T = TypeVar("T")

SYSTEM = "system"
"""The principal of what happens by itself."""
_READ_TOO = "readings"


@dataclass
class Shared:
    """What all who look at a store have in common, and what changes while it is open."""

    fingerprint: EmbedderFingerprint | None
    rules: AccessRules
    retention: RetentionRules
    spaces: Spaces
    flush_due: float = 0.0
    secret: bytes | None = None
    readings: audit.Readings = field(default_factory=audit.Readings)
    """What was read or refused, and is not in the audit log yet."""


@dataclass(frozen=True)
class Writer:
    """Units of work, each with its entries in the audit log."""

    store: str
    shared: Shared
    usage: UsageCounters
    placements: Placements
    clock: Clock

    def write(self, database: Database, work: Callable[[sa.Connection], T]) -> T:
        """Do it in one transaction, and write down what it did."""
        taken: list[audit.Fields] = []

        def audited(tx: sa.Connection) -> T:
            audit.begin(tx)
            outcome = work(tx)
            if tx.info.pop(_READ_TOO, False):
                taken.extend(self.shared.readings.take())
            audit.settle(tx, self.shared.rules, self.store, self.clock.now())
            audit.append(tx, taken, self.store)
            return outcome

        try:
            return database.write(audited)
        except BaseException:  # whatever it was: what is not written is written later
            self.shared.readings.put_back(taken)
            raise

    def counters(self, tx: sa.Connection) -> None:
        """What was counted in memory; a first use activates."""
        used = self.usage.flush(tx)
        for namespace_pk, pks in transitions.generated_among(tx, used).items():
            activity = Activity(str(uuid.uuid4()), "activate", SYSTEM, self.clock.now())
            activity_pk = records.insert_activity(tx, namespace_pk, activity)
            moves = [(pk, State.GENERATED, State.ACTIVATED) for pk in pks]
            transitions.move(tx, activity_pk, moves, "first use")
        self.placements.flush(tx)
        self.readings(tx)

    def readings(self, tx: sa.Connection) -> None:
        """What was read or refused goes into the audit log with this unit of work."""
        tx.info[_READ_TOO] = True
