"""Rotation: what other keys have sealed is sealed with today's."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from memos_integrations.infrastructure import crashpoints, sealed
from memos_integrations.infrastructure.sealed import Sealer
from memos_integrations.infrastructure.vault import MemVault

PAGE = 500
"""Pieces of one transaction."""


def reseal_all(
    vault: MemVault, sealer: Sealer, progress: Callable[[int, int], None] | None = None
) -> int:
    """Seal anew, a page at a time; return how many pieces.

    At the end the file is rewritten, so that no byte of it opens with another key.
    """

    def work(tx: sa.Connection) -> tuple[int, bool]:
        old = sealed.of_other_keys(tx, sealer.key_id, PAGE)
        sealed.reseal(tx, sealer, old)
        return len(old), False

    with vault.database.read() as tx:
        total = sealed.count_other_keys(tx, sealer.key_id)
    done = 0
    while page := vault.commit(work):
        done += page
        crashpoints.reach("page-resealed")
        if progress is not None:
            progress(done, total)
    vault.database.compact()
    return done
