"""Whose vectors a store holds: those of one embedder, for good or until they are made anew."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import sqlalchemy as sa

from memos_integrations.errors import EmbedderMismatchError
from memos_integrations.infrastructure.schema import settings
from memos_integrations.infrastructure.units import Shared
from memos_integrations.protocols import EmbedderFingerprint


class Embedded:
    """The embedder of a store; a part of :class:`MemVault`."""

    folder: Path
    _shared: Shared

    @property
    def embedder(self) -> EmbedderFingerprint | None:
        """The embedder that the stored vectors come from; ``None`` while there are none."""
        return self._shared.fingerprint

    def embedder_is(self, fingerprint: EmbedderFingerprint) -> None:
        """Vectors of this embedder have been committed."""
        self._shared.fingerprint = self._shared.fingerprint or fingerprint

    def bind_embedder(self, fingerprint: EmbedderFingerprint) -> None:
        """Check that vectors of this embedder fit the store."""
        stored = self._shared.fingerprint
        if stored is None or stored == fingerprint:
            return
        mend = f"run `memcube reindex --path {self.folder}` to rebuild the vectors"
        if stored == replace(fingerprint, form=stored.form):
            raise EmbedderMismatchError(
                f"the memories of {self.folder} were embedded in the form {stored.form} of another "
                f"version; this one embeds them in the form {fingerprint.form}: {mend}"
            )
        raise EmbedderMismatchError(
            f"{self.folder} was written with the embedder {stored}, and was opened with "
            f"{fingerprint}: their vectors cannot be compared. Open it with the first one, or "
            f"{mend}"
        )

    def remember_embedder(self, tx: sa.Connection, fingerprint: EmbedderFingerprint) -> None:
        """Write down whose vectors these are, with the first of them."""
        if self._shared.fingerprint is None:
            stored = tx.execute(
                sa.select(settings.c.value).where(settings.c.key == "embedder")
            ).scalar()
            if stored is None:
                tx.execute(
                    sa.insert(settings).values(key="embedder", value=fingerprint_json(fingerprint))
                )


def fingerprint_json(fingerprint: EmbedderFingerprint) -> str:
    """A fingerprint as the store keeps it."""
    return json.dumps(asdict(fingerprint))
