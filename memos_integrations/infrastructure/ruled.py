"""Who may look at a store, for how long memories live, and what stands in its audit log."""

from __future__ import annotations

import json
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.errors import (
    MemOSError,
)
from memos_integrations.infrastructure import (
    audit,
    governance,
    records,
    retention,
)
from memos_integrations.infrastructure.access import (
    AccessRules,
    Asker,
    Grant,
    Right,
    Sight,
)
from memos_integrations.infrastructure.database import Database
from memos_integrations.infrastructure.filters import Clause
from memos_integrations.infrastructure.records import Activity
from memos_integrations.infrastructure.retention import RetentionRules
from memos_integrations.infrastructure.spaces import Space, Spaces, read_spaces, write_spaces
from memos_integrations.infrastructure.units import Shared, Writer
from memos_integrations.infrastructure.usage import UsageCounters
from memos_integrations.protocols import Clock

log = logging.getLogger(__name__)

T = TypeVar("T")


class Ruled(ABC):
    """The rules of a store, held in memory; a part of :class:`MemVault`."""

    asker: Asker | None = None
    """Who looks at it; ``None``: the store itself, which may see everything."""

    usage: UsageCounters
    _shared: Shared
    _clock: Clock
    _database: Database
    _writer: Writer
    _audit_reads: bool | None
    _changing_rules: threading.Lock

    @abstractmethod
    def commit(self, work: Callable[[sa.Connection], tuple[T, bool]]) -> T:
        """One transaction; see :meth:`MemVault.commit`."""

    @property
    def rules(self) -> AccessRules:
        """Who may do what; see :mod:`memos_integrations.infrastructure.access`."""
        return self._shared.rules

    def sight(self) -> Sight:
        """What may be done now by who looks at the store."""
        return Sight(self.rules, self.asker, self._clock.now())

    def require(self, right: Right, path: Namespace, verb: str, *, full: bool = False) -> None:
        """Refuse what takes a right on a whole namespace (:class:`AccessDeniedError`).

        ``full``: on its read-only memories, too.
        """
        scope = self.sight().of(path, right)
        if self.asker is not None and not (scope.full if full else scope.whole):
            raise governance.denied(self.asker, verb, path)

    def change_rules(
        self, path: Namespace, activity: Activity, change: Callable[[sa.Connection], object]
    ) -> None:
        """Change the rules of access; when this returns, they are in force."""

        def work(tx: sa.Connection) -> tuple[AccessRules, bool]:
            namespace = records.ensure_namespace(tx, path)
            records.insert_activity(tx, namespace.pk, replace(activity, asker=None))
            change(tx)
            return governance.read_rules(tx), False

        with self._changing_rules:
            self._shared.rules = self.commit(work)

    def read_rules_again(self) -> None:
        """Grants were written: they are in force when this returns."""
        with self._changing_rules, self._database.read() as tx:
            self._shared.rules = governance.read_rules(tx)

    def grants(self) -> list[Grant]:
        """Every grant there ever was, oldest first."""
        with self._database.read() as tx:
            return governance.read_grants(tx)

    @property
    def retention(self) -> RetentionRules:
        """How long memories live, and which must not go."""
        return self._shared.retention

    def change_retention(
        self, path: Namespace, activity: Activity, change: Callable[[sa.Connection], object]
    ) -> None:
        """Change the rules of retention; when this returns, they are in force."""

        def work(tx: sa.Connection) -> tuple[RetentionRules, bool]:
            namespace = records.ensure_namespace(tx, path)
            records.insert_activity(tx, namespace.pk, replace(activity, asker=None))
            change(tx)
            return retention.read_rules(tx), False

        with self._changing_rules:
            self._shared.retention = self.commit(work)

    def kept(self, path: Namespace | None = None) -> list[Clause]:
        """What retention has not ended: conditions on a query over ``cubes`` of a namespace; of
        any, if none is given, and then over ``namespaces``, too."""
        rules = self.retention if path is None else self.retention.at(path)
        if not rules:
            return []
        return rules.kept(self._clock.now(), self.usage.waiting(), below=path is None)

    def now(self) -> datetime:
        """The time by the store's clock."""
        return self._clock.now()

    @property
    def spaces(self) -> Spaces:
        """Namespaces with a purpose, and what holds in them."""
        return self._shared.spaces

    def change_space(self, activity: Activity, space: Space) -> None:
        """Say what a namespace is for; in force when this returns."""

        def work(tx: sa.Connection) -> tuple[Spaces, bool]:
            namespace = records.ensure_namespace(tx, space.namespace)
            records.insert_activity(tx, namespace.pk, replace(activity, asker=None))
            spaces = read_spaces(tx).with_(space)
            write_spaces(tx, spaces)
            return spaces, False

        with self._changing_rules:
            self._shared.spaces = self.commit(work)

    # The audit log ------------------------------------------------------------------------

    @property
    def audits_reads(self) -> bool:
        """Whether readings stand in the audit log: if asked for, or where access is governed."""
        return self.rules.enforced if self._audit_reads is None else self._audit_reads

    def note_reading(self, entry: audit.Fields, *, at_once: bool = False) -> None:
        """Write down what was read or refused, with a later commit or ``at_once``."""
        if self._shared.readings.note(entry) or at_once:
            try:
                self._writer.write(self._database, self._writer.readings)
            except MemOSError as error:  # what was asked is answered, or refused, all the same
                log.warning("entries of the audit log are kept in memory: %s", error)

    def audit_mac(self, text: str) -> str:
        """What stands in the audit log for a question."""
        if self._shared.secret is None:
            with self._database.read() as tx:
                self._shared.secret = audit.read_secret(tx)
        return audit.mac(self._shared.secret, text)

    def exist(self, cube_ids: Iterable[str]) -> bool:
        """Whether one of these memories is in the store, whoever looks."""
        asked = json.dumps(list(cube_ids))
        query = (
            "SELECT 1 FROM cubes WHERE deleted_by IS NULL "
            "AND id IN (SELECT value FROM json_each(?)) LIMIT 1"
        )
        with self._database.read() as tx:
            return bool(tx.exec_driver_sql(query, (asked,)).first())
