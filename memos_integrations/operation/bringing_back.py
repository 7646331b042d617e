"""What adapters know as memories in words again: those whose own memory was deleted since."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from memos_integrations.checks import Namespace
from memos_integrations.cube import LEVELS, Draft, MemCube, Plaintext, Principal, State
from memos_integrations.infrastructure import lookups
from memos_integrations.infrastructure.derivations import Made
from memos_integrations.infrastructure.quarantine import is_held
from memos_integrations.memories.plaintext import embedding_text
from memos_integrations.models.checked import embed_checked
from memos_integrations.operation.door import Also
from memos_integrations.operation.operator import MemOperator


def bring_back(
    operator: MemOperator,
    path: Namespace,
    who: Principal,
    adapter: MemCube,
    known: Sequence[MemCube],
    confidence: Mapping[str, float],
) -> dict[str, MemCube]:
    """Write as new memories what an adapter knows and no memory says any more; by source.

    ``known``: the versions that it was made of; ``confidence``: how surely it says each.
    """
    gone = deleted(operator, path, known)
    if not gone:
        return {}
    activity = operator.activity("externalise", who)
    drafts = [_draft(one, adapter, confidence[one.id]) for one in gone]
    admitted = operator.door.admit(drafts, path)
    operator.door.count(who, len(gone), activity.at)
    new = [operator.cube(path, who, draft, activity) for draft, _ in admitted]

    def beside(ids: Collection[str]) -> Also | None:
        entries = zip(new, (entry for _, entry in admitted), strict=True)
        return operator.door.beside([(cube, entry) for cube, entry in entries if cube.id in ids])

    written = operator.vault.bring_back(
        path,
        activity,
        adapter,
        [Made(cube, (source,)) for cube, source in zip(new, gone, strict=True)],
        embed_checked(operator.embedder, [embedding_text(one) for one in new]),
        operator.embedder.fingerprint,
        beside=beside,
    )
    ids = {cube.id for cube in written}
    return {source.id: cube for cube, source in zip(new, gone, strict=True) if cube.id in ids}


def deleted(operator: MemOperator, path: Namespace, known: Sequence[MemCube]) -> list[MemCube]:
    """Those of these versions whose memory was deleted, and would be alive if it had not been."""
    vault = operator.vault
    with vault.snapshot(path) as view:
        heads = {one.id: view.head(one.id, deleted=True) for one in known}
        there = {one.id for one in known if view.head(one.id) is not None}
        kept = vault.kept()
        lasting = lookups.among(view.tx, set(heads), kept) if kept else set(heads)
        return [
            one
            for one in known
            if (head := heads[one.id]) is not None
            and one.id in lasting - there
            and not is_held(view.tx, head.cube_pk)
            and not _is_over(head.cube, operator)
        ]


def _is_over(cube: MemCube, operator: MemOperator) -> bool:
    ends = cube.header.governance.expires_at
    return cube.state is State.EXPIRED or (ends is not None and ends <= operator.now())


def _draft(source: MemCube, adapter: MemCube, confidence: float) -> Draft:
    """What a memory said, as far as an adapter is believed."""
    about, rules = source.header.descriptive, source.header.governance
    return Draft(
        payload=Plaintext(text=source.text),
        event_time=about.event_time,
        said_at=about.said_at,
        origin="derived",
        role=about.role,
        speaker=about.speaker,
        source=about.source,
        semantic_type=about.semantic_type,
        tags=about.tags,
        metadata={**about.metadata, "confidence": round(confidence, 6)},
        expires_at=rules.expires_at,
        priority=rules.priority,
        access=rules.access,
        sensitivity=rules.sensitivity,
        trust=max(source.trust, adapter.trust, key=LEVELS.index),  # the lower one
    )
