"""Whether one statement takes the place of another: a new value, or a denial."""

from __future__ import annotations

from dataclasses import dataclass

from memos_integrations.operation.organising.statements import Statement
from memos_integrations.operation.organising.times import clash, when
from memos_integrations.operation.organising.words import content_words

REPLACEABLE = frozenset(("use", "drives", "run"))
"""Of these somebody may have several; "now" and "switched" tell that one takes another's place."""


@dataclass(frozen=True)
class Clash:
    """A contradiction: how certain (0 to 1), and why."""

    certainty: float
    because: str


def contradiction(new: Statement, old: Statement) -> Clash | None:
    """What makes ``new`` replace ``old``, if anything. Different subjects never contradict."""
    if new.question or old.question or "?" in (new.subject, old.subject):
        return None
    if not same_subject(new, old):
        return None
    for check in (_named, _denied, _new_value):
        found = check(new, old)
        if found:
            return found
    return None


def same_subject(new: Statement, old: Statement) -> bool:
    """Whether both are about the same; "the office" is also that of whoever says "our office"."""
    if new.alias and old.alias and new.alias != old.alias:
        return False
    known = {old.subject, old.alias} - {""}
    if new.subject == old.subject or new.subject in known or new.alias in known:
        return True
    ownerless = "" in (new.subject, old.subject)
    return ownerless and "'s " not in new.subject + old.subject and _head(new) == _head(old)


def same_attribute(new: Statement, old: Statement) -> bool:
    """Whether both say the same kind of thing; a change may name the thing more shortly."""
    if new.attribute == old.attribute:
        return bool(new.attribute)
    if (
        not new.changed
        or _head(new) != _head(old)
        or not new.attribute.endswith((" when", " where"))
    ):
        return False
    mine, other = set(new.attribute.split()), set(old.attribute.split())
    return mine <= other or other <= mine


def label(statement: Statement) -> str:
    """``maya: lives in``."""
    return f"{statement.subject or 'the'}: {statement.attribute}"


def _head(statement: Statement) -> str:
    """The noun of an attribute: ``appointment`` of ``dentist appointment when``."""
    words = statement.attribute.removesuffix(" when").removesuffix(" where").split(" with ")[0]
    kind = statement.attribute.rsplit(" ", 1)[-1]
    return f"{words.rsplit(' ', 1)[-1]} {kind}"


def _named(new: Statement, old: Statement) -> Clash | None:
    """The new one says which value is over, and the old one has it."""
    was = content_words(new.instead_of)
    related = same_attribute(new, old) or was < old.words or was == old.value_words
    if not was or not old.positive or not related or not was <= old.value_words:
        return None
    return Clash(0.95, f"{label(new)}: {new.value} instead of {old.value}")


def _denied(new: Statement, old: Statement) -> Clash | None:
    """The same statement with and without a denial that reaches it."""
    if new.positive is old.positive:
        return None
    if new.attribute == "*" and old.positive:
        reached = new.value_words <= old.words and bool(new.value_words)
        return Clash(0.8, f"{new.subject}: no more {new.value}") if reached else None
    if not same_attribute(new, old):
        return None
    denial, claim = (new, old) if old.positive else (old, new)
    if not denial.value_words <= claim.value_words | claim.words:
        return None
    if not _whole(denial) <= _whole(claim) and not new.changed and not new.past:
        return None
    because = "denied now" if old.positive else "denied before"
    return Clash(0.9, f"same statement ({label(new)}), {because}: {claim.value or claim.text}")


def _whole(statement: Statement) -> frozenset[str]:
    """All that is said but the verb, which tense and denial may change."""
    verbs = content_words(statement.attribute) | {"start", "stop", "quit", "used", "dislike"}
    return statement.words - verbs - {"hate", "stand", "love", "like", "enjoy"}


def _new_value(new: Statement, old: Statement) -> Clash | None:
    """The same attribute with another value, where there is one at a time."""
    if not (new.positive and old.positive) or not same_attribute(new, old):
        return None
    if new.attribute == "*":
        return None
    replaceable = new.changed and new.attribute.rsplit(" ", 1)[-1] in REPLACEABLE
    if not (new.single and old.single) and not _counted(new, old) and not replaceable:
        return None
    if not _other_value(new, old):
        return None
    because = (
        f"same subject and attribute ({label(new)}), new value: {new.value} instead of {old.value}"
    )
    return Clash(0.95 if new.changed else 0.85, because)


def _other_value(new: Statement, old: Statement) -> bool:
    if new.attribute.endswith(" when") or new.attribute in ("birthday", "wakes up"):
        times, former = when(new.value), when(old.value)
        if times and former:
            apart = not times.keys() & former.keys()
            return clash(times, former) or (new.changed and apart)
    mine, other = new.value_words, old.value_words
    return bool(mine and other) and not (mine <= other or other <= mine)


def _counted(new: Statement, old: Statement) -> bool:
    """Two cats, three cats: as many of one thing."""
    if new.attribute != "has":
        return False
    mine, other = new.value_words, old.value_words
    figures = {word for word in mine ^ other if not word.isdigit()}
    return bool(mine & other) and not figures and len(mine) == len(other)
