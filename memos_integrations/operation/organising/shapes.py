"""The shapes of a sentence, tried in turn: an order, somebody with a verb, a noun."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from memos_integrations.operation.organising.attributes import ALIKE, MANY, PARTNER, PEOPLE, RULES
from memos_integrations.operation.organising.times import when
from memos_integrations.operation.organising.words import NUMBERS, stem


@dataclass(frozen=True)
class Shape:
    """What was found in a sentence whose denials and fillers were taken out."""

    subject: str
    attribute: str
    value: str
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
    r"(?P<v>.+?) (?:is|are) (?P<owner>my|our|[\w-]+'s) (?P<noun>favourite [\w-]+|[\w-]+)"
)
_SUBJECT = re.compile(
    r"(?P<own>(?:(?:my|our) |[\w-]+'s )[\w-]+)(?P<called> [\w-]+)? (?P<rest>.+)"
    r"|(?P<who>i|we|(?:the )?user|[\w-]+) (?P<more>.+)"
)
_QUITS = re.compile(
    r"(?:(?:have|has|had) )?(?P<how>used to|stopped|quit|gave up|given up|left) (?:the )?(?P<v>.+)"
)
_BEGINS = re.compile(r"(?:(?:have|has) )?started (?:to )?(?P<v>\w+ing\b.*|\w+\b.*)")
_HELPER = re.compile(r"(?:have|has|am|are|is) (?:been )?(?=[\w-]+(?:ing|ed)\b)|do |does |did ")
_CUT = re.compile(
    r",| (?:and (?!\w+$)|because |that |which |who |with |instead of |since |before |after |when "
    r"|but |so |near |for |from |in |at |on )"
)
_FIRST = ("a ", "an ", "the ", "my ", "our ", "some ")


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
    return Shape("order", attribute, _core(match["v"]), positive=match["stop"] is None)


def _person(body: str, speaker: str, called: frozenset[str]) -> Shape | None:
    """Somebody and what the table of attributes knows."""
    subject, rest = _subject(body, speaker, called)
    if not subject:
        return None
    for attribute, positive, pattern in RULES:
        match = pattern.fullmatch(rest)
        if match:
            groups = match.groupdict()
            value = _core(groups.get("v") or groups.get("w") or "")
            if attribute == "prefers":
                attribute = f"prefers {stem(value.split()[-1])}"
            shape = Shape(subject, attribute, value, groups.get("was") or "", positive)
            return replace(shape, past="used to" in rest)
    return None


def _reversed(body: str, speaker: str, called: frozenset[str]) -> Shape | None:
    """``Elena is my wife``."""
    match = _REVERSED.fullmatch(body)
    if match is None:
        return None
    return _owned(_owner(match["owner"], speaker), match["noun"], match["v"], called)


def _noun(body: str, speaker: str, called: frozenset[str]) -> Shape | None:
    """``the deadline of the project is 30 september``, ``our office moved to the fifth floor``."""
    match = _NOUN.fullmatch(body)
    if match is None or not (match["owner"] or match["moved"] or body.find(":") > 0):
        return None
    owner = _owner(match["of"] or match["owner"] or "the", speaker)
    noun = " ".join(filter(None, (match["noun"], match["verb"])))
    noun = noun.removesuffix(" lives")
    return _owned(owner, noun, match["v"], called, moved=match["moved"] is not None)


def _owned(
    owner: str, noun: str, value: str, called: frozenset[str], *, moved: bool = False
) -> Shape:
    for verb in ("called ", "named "):
        value = value.removeprefix(verb)
    core = _core(value)
    if value.startswith(("cancelled", "canceled", "called off")):
        return Shape(owner, f"{noun} when", "", positive=False)
    if when(value):
        attribute = noun if noun == "birthday" else f"{noun} when"
        return Shape(owner, attribute, value, specific=True)
    if value.startswith(("on ", "in ", "at ")) or moved:
        return Shape(owner, f"{noun} where", core)
    specific = bool(called & set(core.split())) or any(c.isdigit() for c in core)
    specific = specific or core.split()[0] in NUMBERS
    if noun in PARTNER or owner.rsplit(" ", 1)[-1] in PARTNER:
        return Shape(owner.removesuffix(f"'s {owner.rsplit(' ', 1)[-1]}"), "partner", core)
    if noun in PEOPLE and specific:
        return Shape(_of(owner, noun), "name", core, specific=noun not in MANY)
    if noun in PEOPLE:
        return Shape(_of(owner, noun), "is", core)
    return Shape(owner, noun, core, specific=specific and noun != "name")


def _generic(body: str, speaker: str, called: frozenset[str]) -> Shape | None:
    """Somebody with any verb: ``bruno plays the cello``."""
    subject, rest = _subject(body, speaker, called)
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
        return Shape(subject, "*", _core(rest), positive=False)
    past = ended is not None and ended["how"] == "used to"
    return Shape(subject, stem(verb), _core(value), positive=ended is None, past=past)


def _subject(body: str, speaker: str, called: frozenset[str]) -> tuple[str, str]:
    """Who the sentence is about and what follows; ("", "") where nobody is found."""
    match = _SUBJECT.fullmatch(body)
    if match is None:
        return "", ""
    if match["own"]:
        owner, noun = match["own"].rsplit(" ", 1)
        if noun not in PEOPLE:
            return "", ""
        name = (match["called"] or "").strip()
        rest = match["rest"] if name in called else f"{name} {match['rest']}".strip()
        return _of(_owner(owner, speaker), noun), rest
    who, rest = match["who"].removeprefix("the "), match["more"]
    if who in ("i", "we", "user"):
        return speaker, rest
    return (who, rest) if who in called else ("", "")


def _owner(word: str, speaker: str) -> str:
    """``my``, ``anna's`` or ``the`` as a subject."""
    if word in ("my", "our", "the user's", "user's"):
        return speaker
    if word == "the":
        return ""
    word = word.removeprefix("the ").removesuffix("'s")
    return _of(speaker, word[3:]) if word.startswith("my ") else word


def _of(owner: str, noun: str) -> str:
    return f"{owner}'s {noun}" if owner else noun


def _core(value: str) -> str:
    """The head of a value: what stands before the first comma, preposition or clause."""
    for first in _FIRST:
        value = value.removeprefix(first)
    head = _CUT.split(value, maxsplit=1)[0].strip()
    return head or value
