"""How a session erases: what is common to ``forget`` and to a sweep that erases."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

from memos_integrations.cube import Principal
from memos_integrations.infrastructure import erasure, retention
from memos_integrations.infrastructure.erasure import Guard, Wish
from memos_integrations.infrastructure.receipts import Receipt
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.memories.activation.catalogue import pieces_with
from memos_integrations.operation.operator import MemOperator
from memos_integrations.operation.organising.words import stem


class Erasing:
    """No verbs of its own."""

    principal: Principal
    _vault: MemVault
    _operator: MemOperator

    def _erase(self, wish: Wish, *, dry_run: bool) -> Receipt:
        started = time.monotonic()
        if dry_run:
            return self._with_pieces(erasure.preview(self._vault, wish))
        activity = partial(self._operator.activity, "forget", self.principal)
        done = erasure.commit(self._vault, wish, activity, self._with_pieces)
        stem.cache_clear()
        done = replace(done, seconds=time.monotonic() - started)
        return erasure.finish(self._vault, done, self._operator.now)

    def _guard(self) -> Guard:
        """What keeps held memories from being erased."""
        vault = self._vault
        return retention.guard(lambda: vault.retention, vault.rules, vault.asker, vault.now())

    def _with_pieces(self, receipt: Receipt) -> Receipt:
        """The receipt, with the cached pieces that know one of these memories."""
        files = pieces_with(self._vault.folder / "kv", receipt.ids)
        return replace(
            receipt, pieces=len(files), piece_bytes=sum(one.stat().st_size for one in files)
        )
