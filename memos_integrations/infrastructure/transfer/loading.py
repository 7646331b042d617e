"""MemLoader: staged memories into a store, in one transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import sqlalchemy as sa

from memos_integrations.cube import MemCube
from memos_integrations.errors import ArchiveError
from memos_integrations.infrastructure import (
    governance,
)
from memos_integrations.infrastructure.records import Activity
from memos_integrations.infrastructure.transfer.fates import (
    confirm,
    decide,
    know_activities,
    namespaces_of,
)
from memos_integrations.infrastructure.transfer.inserting import BATCH, Inserter
from memos_integrations.infrastructure.transfer.manner import Loaded, Manner, Progress
from memos_integrations.infrastructure.transfer.staging import Staged
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.infrastructure.vectors import encode
from memos_integrations.protocols import EmbedderFingerprint, Vectors

Embed = Callable[[list[str]], Vectors]


class MemLoader:
    """Writes staged memories; ``embed`` and ``text_of`` as for a reindex."""

    def __init__(
        self,
        vault: MemVault,
        fingerprint: EmbedderFingerprint,
        embed: Embed,
        text_of: Callable[[MemCube], str],
    ) -> None:
        self._vault, self._fingerprint = vault, fingerprint
        self._embed, self._text_of = embed, text_of

    def load(
        self,
        staged: Staged,
        manner: Manner,
        activity: Callable[[], Activity],
        *,
        dry_run: bool = False,
        blobs: Callable[[], Iterator[bytes]] = lambda: iter(()),
    ) -> Loaded:
        """All of it, or nothing."""
        self._require(staged)
        with self._vault.database.read() as tx:
            counts = decide(tx, staged, manner.conflicts, thawing=manner.thawing)
            know_activities(tx, staged)
            known = {one.id for one in governance.read_grants(tx)} if manner.grants else set()
        told = Loaded(
            manner.source,
            counts.get("new", 0),
            sum(counts.get(fate, 0) for fate in ("onward", "next", "restated")),
            counts.get("same", 0),
            counts.get("kept", 0),
            counts.get("erased", 0),
            sum(id not in known for (id,) in staged.rows("SELECT id FROM grants"))
            if manner.grants
            else 0,
            dry_run,
        )
        if dry_run:
            return told
        self._embed_missing(staged, manner.progress)
        grants: list[int] = []
        for blob in blobs():
            self._vault.blobs.put(blob)

        def work(tx: sa.Connection) -> tuple[None, bool]:
            self._require(staged)
            confirm(tx, staged)
            writer = Inserter(tx, staged, self._vault, manner, self._fingerprint)
            follows = writer.write(activity)
            grants.append(writer.grants)
            return None, follows

        if not (told.added or told.updated or told.grants or manner.always):
            return told
        self._vault.commit(work)
        self._vault.embedder_is(self._fingerprint)
        self._vault.tell([id for (id,) in staged.rows(_CHANGED)])
        if told.grants:
            self._vault.read_rules_again()
        return replace(told, grants=grants[0])

    def _require(self, staged: Staged) -> None:
        for path in namespaces_of(staged):
            self._vault.require("write", path, "load into", full=True)

    def _embed_missing(self, staged: Staged, progress: Progress) -> None:
        """Embed what will be found by a vector and has none yet."""
        wanted = staged.one(f"SELECT count(*) FROM ({_UNEMBEDDED})")
        done = 0
        while page := list(staged.rows(f"{_UNEMBEDDED} LIMIT {BATCH}")):
            pieces = [
                (cube_id, part, text)
                for cube_id, body, parts in page
                for part, text in enumerate(self._texts(body, json.loads(parts)))
            ]
            vectors = self._embed([text for *_, text in pieces])
            staged.change(
                "INSERT OR REPLACE INTO vectors (memory, part, vector) VALUES (?, ?, ?)",
                [
                    (cube_id, part, encode(vector))
                    for (cube_id, part, _), vector in zip(pieces, vectors, strict=True)
                ],
            )
            done += len(page)
            progress(done, wanted)

    def _texts(self, body: str, further: list[list[int]]) -> list[str]:
        """The first piece ends where the second one begins."""
        cube = MemCube.model_validate_json(body)
        if not further:
            return [self._text_of(cube)]
        first = cube.text[: further[0][0]].removesuffix("\n")
        pieces = [first, *(cube.text[start:stop] for start, stop in further)]
        if not all(piece.strip() for piece in pieces):
            raise ArchiveError(f"memory {cube.id} has parts that are not in its text")
        return pieces


_CHANGED = "SELECT id FROM memories WHERE fate IN ('onward', 'next', 'restated')"
_WRITTEN = "fate IN ('new', 'onward', 'next')"
_UNEMBEDDED = (
    "SELECT memories.id, versions.body, memories.parts FROM memories JOIN versions "
    "ON versions.id = memories.id AND versions.version = memories.head "
    f"WHERE {_WRITTEN} AND searched AND json_extract(body, '$.payload.type') = 'plaintext' "
    "AND (SELECT count(vector) FROM vectors WHERE memory = memories.id) != "
    "1 + json_array_length(parts)"
)
