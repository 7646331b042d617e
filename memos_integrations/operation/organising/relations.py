"""The relation of a new memory to an older one: duplicate, contradiction, elaboration, kinship."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from memos_integrations.operation.organising.contradictions import (
    contradiction,
    label,
    same_attribute,
    same_subject,
)
from memos_integrations.operation.organising.memo import Memo
from memos_integrations.operation.organising.sameness import (
    differs,
    other_day,
    other_speaker,
    overlap,
    replaced,
    says_the_same,
)
from memos_integrations.operation.organising.statements import Statement
from memos_integrations.operation.organising.thresholds import DEFAULT, Thresholds

__all__ = ["DEFAULT", "Found", "Memo", "Relation", "Thresholds", "relate"]


class Relation(StrEnum):
    """What a new memory is to an older one."""

    DUPLICATE = "duplicate"
    SUPERSEDES = "supersedes"
    ELABORATES = "elaborates"
    SAME_ENTITY = "same_entity"
    SAME_EVENT = "same_event"


@dataclass(frozen=True)
class Found:
    """A relation, how sure (0 to 1), and why in one line."""

    relation: Relation
    score: float
    because: str


def relate(new: Memo, old: Memo, cosine: float, thresholds: Thresholds = DEFAULT) -> Found | None:
    """How ``new`` stands to ``old``, the strongest relation first; None if they are unrelated.

    ``cosine`` is that of their embeddings, -1 to 1.
    """
    if not new.form or not old.form:
        return None
    for check in (_exact, _contradicts, _near, _reworded, _elaborates, _event, _entity):
        found = check(new, old, cosine, thresholds)
        if found:
            return found
    return None


def _exact(new: Memo, old: Memo, cosine: float, at: Thresholds) -> Found | None:
    if new.form != old.form or other_speaker(new, old) or other_day(new, old):
        return None
    return Found(Relation.DUPLICATE, 1.0, "the same words")


def _contradicts(new: Memo, old: Memo, cosine: float, at: Thresholds) -> Found | None:
    if cosine < at.contradiction_cosine:
        return None
    clashes = {i: c for i, a, b in _pairs(new, old) if (c := contradiction(a, b))}
    if not clashes:
        return None
    best = max(clashes.values(), key=lambda clash: clash.certainty)
    share = len(clashes) / len(old.statements)
    return Found(Relation.SUPERSEDES, round(best.certainty * (1 + share) / 2, 3), best.because)


def _near(new: Memo, old: Memo, cosine: float, at: Thresholds) -> Found | None:
    common = overlap(new, old)
    if cosine < at.duplicate_cosine or common < at.duplicate_overlap or differs(new, old):
        return None
    if replaced(new, old) and cosine < at.replaced_cosine:
        return None
    if new.words > old.words:  # more is said: that elaborates
        return None
    because = f"the same but for wording: cosine {cosine:.2f}, words {common:.2f}"
    return Found(Relation.DUPLICATE, round(min(1.0, (cosine + common) / 2), 3), because)


def _reworded(new: Memo, old: Memo, cosine: float, at: Thresholds) -> Found | None:
    """Both say the same of the same attribute, and nothing else."""
    same = [a for _, a, b in _pairs(new, old) if says_the_same(a, b)]
    if not len(new.statements) == len(old.statements) == len(same) or not same:
        return None
    if cosine < at.reworded_cosine or differs(new, old):
        return None
    because = f"same subject, attribute and value ({label(same[0])} {same[0].value})"
    return Found(Relation.DUPLICATE, round(max(cosine, 0.5), 3), because)


def _elaborates(new: Memo, old: Memo, cosine: float, at: Thresholds) -> Found | None:
    more = new.words - old.words
    if new.asks or old.asks or not more or not old.words <= new.words:
        return None
    if len(old.words) < 3 and not any(one.attribute for one in old.statements):
        return None
    if cosine < at.elaboration_cosine or other_speaker(new, old) or other_day(new, old):
        return None
    if not _goes_on(new, old) or {one.denies for one in old.statements} != {
        new.statements[0].denies
    }:
        return None
    because = f"says the same, and more: {', '.join(sorted(more)[:5])}"
    return Found(Relation.ELABORATES, round(min(1.0, cosine), 3), because)


def _goes_on(new: Memo, old: Memo) -> bool:
    """Whether the new one speaks of what the old one speaks of, and of no change in it."""
    if any(one.changed for one in new.statements) and not any(o.changed for o in old.statements):
        return False
    return any(
        (a.attribute == b.attribute == "") or (same_subject(a, b) and same_attribute(a, b))
        for _, a, b in _pairs(new, old)
    )


def _event(new: Memo, old: Memo, cosine: float, at: Thresholds) -> Found | None:
    shared = new.entities & old.entities
    if new.event_time is None or old.event_time is None or other_day(new, old) or not shared:
        return None
    because = f"both about {', '.join(sorted(shared)[:3])} on {new.event_time.date()}"
    return Found(Relation.SAME_EVENT, round(max(0.3, min(1.0, cosine)), 3), because)


def _entity(new: Memo, old: Memo, cosine: float, at: Thresholds) -> Found | None:
    shared = new.entities & old.entities
    if not shared or cosine < at.entity_cosine:
        return None
    because = f"both about {', '.join(sorted(shared)[:3])}"
    return Found(Relation.SAME_ENTITY, round(min(1.0, cosine), 3), because)


def _pairs(new: Memo, old: Memo) -> Iterator[tuple[int, Statement, Statement]]:
    """Each statement of the new beside each of the old, with the old one's place."""
    for a in new.statements:
        for i, b in enumerate(old.statements):
            yield i, a, b
