"""Whether two memories may count as one: what must not differ, and what may."""

from __future__ import annotations

from memos_integrations.operation.organising.contradictions import same_attribute, same_subject
from memos_integrations.operation.organising.memo import Memo
from memos_integrations.operation.organising.statements import Statement
from memos_integrations.operation.organising.times import when
from memos_integrations.operation.organising.words import MONTHS, WEEKDAYS, numbers

_CALENDAR = WEEKDAYS | MONTHS


def other_speaker(new: Memo, old: Memo) -> bool:
    """Whether "I" is not the same person in both."""
    if not (new.personal and old.personal):
        return False
    return (new.speaker or "").casefold() != (old.speaker or "").casefold()


def other_day(new: Memo, old: Memo) -> bool:
    """Whether both happened on known days that differ."""
    if new.event_time is None or old.event_time is None:
        return False
    return new.event_time.date() != old.event_time.date()


def differs(new: Memo, old: Memo) -> bool:
    """Whether a number, date, name, denial, speaker or day differs: never one memory then."""
    if other_speaker(new, old) or other_day(new, old) or new.asks != old.asks:
        return True
    if not (new.read_whole and old.read_whole):
        return True
    if numbers(new.words) != numbers(old.words) or _names_differ(new, old):
        return True
    if _others(new, old):
        return True
    mine, other = new.words & _CALENDAR, old.words & _CALENDAR
    return mine != other or _polarity(new) != _polarity(old)


def overlap(new: Memo, old: Memo) -> float:
    """Share of common content words (Jaccard)."""
    either = len(new.words | old.words)
    return len(new.words & old.words) / either if either else 0.0


def replaced(new: Memo, old: Memo) -> bool:
    """Whether each has a content word that the other lacks: export for import."""
    return bool(new.words - old.words) and bool(old.words - new.words)


def says_the_same(new: Statement, old: Statement) -> bool:
    """Same subject, attribute, value and polarity, in whatever words."""
    if new.positive is not old.positive or new.past is not old.past:
        return False
    if "?" in (new.subject, old.subject) or not same_subject(new, old):
        return False
    if not same_attribute(new, old) or new.attribute == "*":
        return False
    if new.tail_words != old.tail_words:
        return False
    timed = new.attribute == "birthday" or new.attribute.endswith(" when")
    if timed and when(new.value):
        return when(new.value) == when(old.value)
    return bool(new.value_words) and new.value_words == old.value_words


def _names_differ(new: Memo, old: Memo) -> bool:
    """Names that one has and the other lacks, speakers aside; or the same ones in another order."""
    said = {name.casefold() for name in (new.speaker, old.speaker) if name}
    mine = [name for name in new.names if name not in said and name not in _CALENDAR]
    other = [name for name in old.names if name not in said and name not in _CALENDAR]
    missing = (set(mine) - old.words - set(other)) | (set(other) - new.words - set(mine))
    if missing:
        return True
    swapped = sorted(mine) == sorted(other) and mine != other
    return swapped and len(set(mine)) > 1 and " and " not in f"{new.text} {old.text}"


def _others(new: Memo, old: Memo) -> bool:
    """Whether both are known to be about somebody, and not the same: Ann paid Bo, Bo paid Ann."""
    pairs = list(zip(new.statements, old.statements, strict=False))
    known = [(a, b) for a, b in pairs if "?" not in (a.subject, b.subject)]
    return any(a.attribute == b.attribute and not same_subject(a, b) for a, b in known)


def _polarity(memo: Memo) -> list[bool]:
    return sorted(one.denies for one in memo.statements)
