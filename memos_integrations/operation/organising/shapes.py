"""The shapes of a sentence, tried in turn: an order, somebody with a verb, a noun."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from memos_integrations.operation.organising.attributes import ALIKE, MANY, PARTNER, PEOPLE, RULES
from memos_integrations.operation.organising.phrases import head_of, owned_by, owner_of, tail_of
from memos_integrations.operation.organising.times import when
from memos_integrations.operation.organising.words import NUMBERS, stem


@dataclass(frozen=True)
class Shape:
    """What was found in a sentence whose denials and fillers were taken out."""

    subject: str
    attribute: str
    value: str
    tail: str = ""
    alias: str = ""
    former: str = ""
    positive: bool = True
    past: bool = False
    specific: bool = False


_ORDER = re.compile(
    r"(?P<stop>stop |avoid )?(?:(?P<in>reply|answer|respond|write|answering|replying) in"
    r"|(?P<verb>use|using|call|add)) (?P<v>.+)"
)
_OWNER = r"(?:(?P<owner>my [\w-]+'s|the [\w-]+(?: [\w-]+)?'s|my|our|the|[\w.-]+'s) )?"
_NOUN = re.compile(
    _OWNER + r"(?P<noun>[\w-]+(?: [\w-]+){0,5}?)(?: of (?P<of>[\w-]+(?: [\w-]+){0,4}?))?"
    r"(?: (?:is|are|was|has been|has(?= moved)|got|gets)\b|(?= (?:moved|changed|pushed) to)"
    r"|(?= (?:lives in|takes place|lands|leaves|departs|arrives|starts|begins|opens|closes) )|:)"
    r"(?P<moved> (?:moved|changed|pushed|postponed|rescheduled|put)(?: back| forward)? to)?"
    r"(?: (?P<verb>lives|takes place|lands|leaves|departs|arrives|starts|begins|opens|closes)\b)?"
    r" (?P<v>.+)"
)
_REVERSED = re.compile(
    r"(?P<v>.+?) (?:is|are) (?:(?P<owner>my|our|[\w-]+'s) (?P<noun>favourite [\w-]+|[\w-]+)"
    r"|the (?P<role>[\w-]+) of (?P<of>[\w-]+(?: [\w-]+){0,4}))"
)
_PLANNED = re.compile(r"^(?:called |named |(?:planned|scheduled|due|set)(?: for)? )")
_SUBJECT = re.compile(
    r"(?P<own>(?:(?:my|our) |[\w-]+'s )[\w-]+)(?P<called> [\w-]+)? (?P<rest>.+)"
    r"|(?P<who>i|we|(?:the )?user|[\w-]+) (?P<more>.+)"
)
_QUITS = re.compile(
    r"(?:(?:have|has|had) )?(?P<how>used to|stopped|quit|gave up|given up|left) (?:the )?(?P<v>.+)"
)
_BEGINS = re.compile(r"(?:(?:have|has) )?started (?:to )?(?P<v>\w+ing\b.*|\w+\b.*)")
_HELPER = re.compile(r"(?:have|has|am|are|is) (?:been )?(?=[\w-]+(?:ing|ed)\b)|do |does |did ")
_THIRD = re.compile(r"[a-z]+(?:s|ed)\b|no longer|went|got|had|took|left|gave|quit|can|will|made")
_THING = re.compile(r"the (?P<noun>[\w-]+) (?P<verb>runs|uses|needs|supports) (?:on )?(?P<v>.+)")


def shape_of(body: str, speaker: str, called: frozenset[str]) -> Shape | None:
    """Read ``body`` (see :func:`.words.plain`); ``called`` are the names that stand in it."""
    for pattern, same in ALIKE:
        body = pattern.sub(same, body)
    for read in (_order, _person, _reversed, _noun, _generic):
        shape = read(body, speaker, called)
        if shape:
            return shape
    return None


def _order(body: str, speaker: str, called: frozenset[str]) -> Shape | None:
    match = _ORDER.fullmatch(body)
    if match is None:
        return None
    attribute = "reply in" if match["in"] else stem(match["verb"])
    return Shape("order", attribute, head_of(match["v"]), positive=match["stop"] is None)


def _person(body: str, speaker: str, called: frozenset[str]) -> Shape | None:
    """Somebody and what the table of attributes knows."""
    subject, alias, rest = _subject(body, speaker, called)
    if not subject:
        return None
    known = _known(subject, alias, rest)
    ended = None if known else _QUITS.fullmatch(rest)
    if ended is None:
        return known
    verb, _, value = ended["v"].partition(" ")
    known = _known(subject, alias, f"{stem(verb)} {value}")
    past = ended["how"] == "used to"
    return replace(known, positive=not known.positive, past=past) if known else None


def _known(subject: str, alias: str, rest: str) -> Shape | None:
    for attribute, positive, pattern in RULES:
        match = pattern.fullmatch(rest)
        if match:
            groups = match.groupdict()
            said = groups.get("v") or groups.get("w") or ""
            value = head_of(said)
            tail = " ".join((tail_of(said), groups.get("also") or "", groups.get("rest") or ""))
            if attribute == "prefers":
                attribute = f"prefers {stem(value.rpartition(' ')[2])}"
            past, former = "used to" in rest, groups.get("was") or ""
            return Shape(subject, attribute, value, tail, alias, former, positive, past)
    return None


def _reversed(body: str, speaker: str, called: frozenset[str]) -> Shape | None:
    """``Elena is my wife``."""
    match = _REVERSED.fullmatch(body)
    if match is None:
        return None
    owner = owner_of(match["owner"] or match["of"], speaker)
    return _owned(owner, match["noun"] or match["role"], match["v"], called)


def _noun(body: str, speaker: str, called: frozenset[str]) -> Shape | None:
    """``the deadline of the project is 30 september``, ``our office moved to the fifth floor``."""
    match = _NOUN.fullmatch(body)
    if match is None or not (match["owner"] or match["moved"] or body.find(":") > 0):
        return None
    owner = owner_of(match["of"] or match["owner"] or "the", speaker)
    noun = " ".join(filter(None, (match["noun"], match["verb"])))
    noun = noun.removesuffix(" lives")
    return _owned(owner, noun, match["v"], called, moved=match["moved"] is not None)


def _owned(
    owner: str, noun: str, value: str, called: frozenset[str], *, moved: bool = False
) -> Shape:
    value = _PLANNED.sub("", value)
    head, tail = head_of(value), tail_of(value)
    kin = owner.rsplit(" ", 1)[-1]
    if value.startswith(("cancelled", "canceled", "called off")):
        return Shape(owner, f"{noun} when", "", positive=False)
    if when(value):
        attribute = noun if noun == "birthday" else f"{noun} when"
        return Shape(owner, attribute, value, specific=True)
    if value.startswith(("on ", "in ", "at ")) or moved:
        return Shape(owner, f"{noun} where", head, tail)
    named = bool(called & set(head.split())) or head.partition(" ")[0] in NUMBERS
    specific = named or any(letter.isdigit() for letter in head)
    if noun in PARTNER or kin in PARTNER:
        return Shape(owner.removesuffix(f"'s {kin}"), "partner", head, tail)
    if noun in PEOPLE:
        attribute = "name" if specific else "is"
        return Shape(
            owned_by(owner, noun), attribute, head, tail, specific=specific and noun not in MANY
        )
    return Shape(owner, noun, head, tail, specific=specific and noun != "name")


def _generic(body: str, speaker: str, called: frozenset[str]) -> Shape | None:
    """Somebody with any verb: ``bruno plays the cello``."""
    thing = _THING.fullmatch(body)
    if thing:
        return Shape(
            "", f"{thing['noun']} {stem(thing['verb'])}", head_of(thing["v"]), tail_of(thing["v"])
        )
    subject, alias, rest = _subject(body, speaker, called)
    if not subject:
        return None
    ended, begun = _QUITS.fullmatch(rest), _BEGINS.fullmatch(rest)
    if ended:
        rest = ended["v"]
    elif begun:
        rest = begun["v"]
    verb, _, value = _HELPER.sub("", rest, count=1).partition(" ")
    loose = ended is not None and ended["how"] != "used to" and not verb.endswith("ing")
    if loose:
        return Shape(subject, "*", head_of(rest), alias=alias, positive=False)
    past = ended is not None and ended["how"] == "used to"
    head, tail = head_of(value), tail_of(value)
    return Shape(subject, stem(verb), head, tail, alias, positive=ended is None, past=past)


def _subject(body: str, speaker: str, called: frozenset[str]) -> tuple[str, str, str]:
    """Who the sentence is about, their name beside it, and what follows; "" where nobody is."""
    match = _SUBJECT.fullmatch(body)
    if match is None:
        return "", "", ""
    if match["own"]:
        owner, noun = match["own"].rsplit(" ", 1)
        if noun not in PEOPLE:
            return "", "", ""
        name = (match["called"] or "").strip()
        if name in called:
            return owned_by(owner_of(owner, speaker), noun), name, match["rest"]
        return owned_by(owner_of(owner, speaker), noun), "", f"{name} {match['rest']}".strip()
    who, rest = match["who"].removeprefix("the "), match["more"]
    if who in ("i", "we", "user"):
        return speaker, "", rest
    return (who, "", rest) if who in called and _THIRD.match(rest) else ("", "", "")
