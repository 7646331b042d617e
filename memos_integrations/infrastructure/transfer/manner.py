"""How to load, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import sqlalchemy as sa

from memos_integrations.infrastructure.transfer.fates import Conflicts

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Loaded:
    """What became of the memories that were to be loaded; of a dry run, what would."""

    source: str
    """Id of the archive, or what was imported."""
    added: int = 0
    updated: int = 0
    """Got further versions."""
    unchanged: int = 0
    kept: int = 0
    """Are here with other words, and stay."""
    erased: int = 0
    """Were erased here, and do not come back."""
    grants: int = 0
    dry_run: bool = False

    @property
    def total(self) -> int:
        """All that were looked at."""
        return self.added + self.updated + self.unchanged + self.kept + self.erased


@dataclass(frozen=True)
class Manner:
    """How to load."""

    source: str
    conflicts: Conflicts = "keep"
    grants: bool = False
    thawing: bool = False
    always: bool = False
    """Write a transaction even if nothing is to be loaded."""
    progress: Progress = lambda done, total: None
    also: Callable[[sa.Connection, int], object] = field(default=lambda tx, base: None)
    """Is done in the same transaction, with the key before the first new memory's."""
