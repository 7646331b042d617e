"""What a sentence says: about whom, which attribute, which value, and whether it denies it.

Rules for English, offline. A sentence that no rule reads keeps its content words alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from memos_integrations.operation.organising.attributes import MANY, SINGLE
from memos_integrations.operation.organising.shapes import Shape, shape_of
from memos_integrations.operation.organising.words import content_words, names, plain

MOST_CHARACTERS = 4_000
"""Of longer texts only the beginning is read."""
MOST_SENTENCES = 30
LONGEST_SENTENCE = 400
"""Longer ones keep their words, and are not read."""

_ENDS = re.compile(
    r"(?<!\bMr)(?<!\bDr)(?<!\bMrs)(?<!\bMs)(?<!\bSt)[.!]+\s|[。！？\n]|[?;]|, (?=I(?:'m|’m)? )"
)
_CHANGED = re.compile(
    r"\b(?:now|no longer|any more|instead of|moved|changed|switched|pushed|postponed|again"
    r"|after all|these days|new|from now on|turned|relocated|quit|stopped|started|became"
    r"|cancelled|canceled|called off|left|given up|gave up)\b"
)
_INSTEAD = re.compile(r",? instead of (?P<was>.+)$|, (?:and )?not (?P<or>.+)$")
_CLAUSE = re.compile(r", | (?:and|but|because|that|if|when|so|until) ")
_NOT = re.compile(r"\b(?:(?:do|does|did|will|would|can) )?(?:not|never|no longer)\b(?: ever)? ?")
_DISLIKES = re.compile(r"\b(?:dislikes?|hates?|loathes?|stopped|quit|used to|without|stop)\b")
_FILLERS = re.compile(
    r"\b(?:really|just|also|currently|actually|now|still|always|ever|a lot|very much|these days"
    r"|at the moment|any more|again|after all|from now on|nowadays|usually|please|daily|already"
    r"|in fact|by the way)\b"
)


@dataclass(frozen=True)
class Statement:
    """One sentence read.

    ``subject`` is a name, ``maya's sister``, "i" for a speaker unknown, "" for what has no owner
    ("the office"), or "?" where none was found. ``value`` is the head of what is said;
    ``instead_of`` the value that it says is over. ``past`` marks "used to".
    """

    text: str
    subject: str = "?"
    attribute: str = ""
    value: str = ""
    tail: str = ""
    """What follows the head of the value: "in Alfama" of "in Lisbon, in Alfama"."""
    alias: str = ""
    """The subject's name where it is known by another: clara, of "my sister Clara"."""
    instead_of: str = ""
    positive: bool = True
    past: bool = False
    changed: bool = False
    denies: bool = False
    """Whether the sentence holds a denial, read or not."""
    question: bool = False
    specific: bool = False
    """Whether the value is a name, a number or a time: a noun has one of these."""
    words: frozenset[str] = field(default=frozenset())

    @property
    def single(self) -> bool:
        """Whether the subject has one value of this at a time."""
        if self.attribute == "name" and self.subject.rsplit(" ", 1)[-1] in MANY:
            return False
        last = self.attribute.rsplit(" ", 1)[-1]
        timed = last in ("when", "where") or self.attribute.startswith(("favourite ", "prefers "))
        return self.attribute in SINGLE or last in SINGLE or timed or self.specific

    @property
    def value_words(self) -> frozenset[str]:
        """The stems of the value."""
        return content_words(self.value)

    @property
    def tail_words(self) -> frozenset[str]:
        """The stems of what is said beside the value."""
        return content_words(self.tail)


def read_statement(text: str, speaker: str | None = None) -> Statement:
    """The first statement of ``text``; one without attribute where there is none."""
    return next(iter(read_statements(text, speaker)), Statement(text=""))


def read_statements(text: str, speaker: str | None = None) -> list[Statement]:
    """Each sentence of ``text``, up to :data:`MOST_SENTENCES`, as said by ``speaker``."""
    found, start, text = [], 0, text[:MOST_CHARACTERS]
    for end in [*_ENDS.finditer(text), None]:
        sentence = text[start : end.start() if end else len(text)].strip(" .!,;:\"'“”…")
        asks = end is not None and end.group()[0] in "?？"
        start = end.end() if end else start
        if any(letter.isalnum() for letter in sentence):
            found.append(_read(sentence, (speaker or "i").casefold(), asks))
        if len(found) == MOST_SENTENCES:
            break
    return found


def _read(sentence: str, speaker: str, question: bool) -> Statement:
    said = plain(sentence)
    base = Statement(
        text=sentence,
        words=content_words(sentence),
        denies=_NOT.search(said) is not None or _DISLIKES.search(said) is not None,
        question=question,
        changed=_CHANGED.search(said) is not None,
    )
    if question or len(said) > LONGEST_SENTENCE:
        return base
    body, was = _without_former(said)
    main = _CLAUSE.split(body, maxsplit=1)[0]
    denials = len(_NOT.findall(main))
    body = _NOT.sub("", body)
    body = " ".join(_FILLERS.sub("", body).split()).rstrip(" ,")
    shape = shape_of(body, speaker, frozenset(names(sentence)))
    return _stated(base, shape, was, denied=denials % 2 == 1) if shape else base


def _without_former(said: str) -> tuple[str, str]:
    """The sentence without "instead of green", and "green"."""
    match = _INSTEAD.search(said)
    if match is None:
        return said, ""
    return said[: match.start()], match["was"] or match["or"]


def _stated(base: Statement, shape: Shape, was: str, *, denied: bool) -> Statement:
    attribute, value, positive = shape.attribute, shape.value, shape.positive is not denied
    if attribute == "diet" and value.endswith("meat"):
        value, positive = ("meat", True) if positive else ("vegetarian", True)
    return replace(
        base,
        subject=shape.subject,
        attribute=attribute,
        value=value,
        tail=shape.tail,
        alias=shape.alias,
        instead_of=was or shape.former,
        positive=positive,
        past=shape.past,
        changed=base.changed or bool(was or shape.former),
        specific=shape.specific,
    )
