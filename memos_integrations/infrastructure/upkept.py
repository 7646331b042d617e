"""What is kept beside the records of a store: the vector index, and what is counted in memory."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import sqlalchemy as sa

from memos_integrations.checks import Namespace
from memos_integrations.cube import MemCube
from memos_integrations.errors import MemOSError
from memos_integrations.infrastructure import lookups, records
from memos_integrations.infrastructure.placements import Placements
from memos_integrations.infrastructure.readable import Readable

log = logging.getLogger(__name__)

FLUSH_EVERY = 1.0
"""Seconds between commits that also write what is counted in memory."""


class Upkept(Readable):
    """Counters and the index of a store; a part of :class:`MemVault`."""

    placements: Placements

    # Counters -----------------------------------------------------------------------------

    def record_uses(self, cube_pks: Sequence[int]) -> None:
        """Count a recall of each; written with a later commit, or when there are many."""
        if self.usage.record(cube_pks, self._clock.now()):
            self._flush_alone()

    def record_placements(self, shown: Sequence[MemCube], prompt: str) -> None:
        """Note which memories stood in a prompt; written with a later commit, or when many."""
        sight = self.sight()
        shown = [cube for cube in shown if sight.of(cube.namespace).why(cube) is not None]
        if self.placements.note(shown, prompt, self._clock.now()):
            self._flush_alone()

    def flush_counters(self) -> None:
        """Write what was counted in memory, and what was read into the audit log."""
        self._writer.write(self._database, self._flush)

    def _flush(self, tx: sa.Connection) -> None:
        self._writer.counters(tx)
        self._shared.flush_due = time.monotonic() + FLUSH_EVERY

    def _flush_alone(self) -> None:
        try:
            self.flush_counters()
        except MemOSError as error:  # a search does not fail because its count cannot be written
            log.warning("counters of use are kept in memory: %s", error)

    # The index ----------------------------------------------------------------------------

    def index_if_large(self, tx: sa.Connection, path: Namespace) -> bool:
        """Give a namespace that has grown a vector index; whether it has one."""
        namespace = lookups.find_namespace(tx, path)
        assert namespace is not None
        if namespace.collection is None and namespace.live >= self._policy.exact_below:
            records.index_namespace(tx, namespace)
            return True
        return namespace.collection is not None

    def wait_for_index(self, seconds: float = 60.0) -> bool:
        """Wait until the vector index holds all that is committed; searches need not wait."""
        return self._keeper.wait(seconds)

    @property
    def index_state(self) -> str:
        """See :attr:`IndexKeeper.state`."""
        return self._keeper.state

    @property
    def index_trouble(self) -> str:
        """Why the index was rebuilt since this store was opened; empty if it was not."""
        return self._keeper.trouble

    def audit_index(self) -> str:
        """Compare the index with the records, ids and vectors; empty if they are equal."""
        return self._keeper.audit()

    def rebuild_index(self, seconds: float) -> bool:
        """Throw the index away and make it anew; ``False`` if it took longer than ``seconds``."""
        self._keeper.suspect("a rebuild was asked for")
        return self._keeper.wait(seconds)

    def renew_index(self, seconds: float) -> bool:
        """Let go of every file of the index and make it anew; ``True`` once they are gone."""
        return self._keeper.renew(seconds)
