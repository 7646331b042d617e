"""Questions that a statement answers, made by rules. No torch here.

The rules know English statements with one verb near the beginning: "X's dentist is called Y",
"X was born in Y", "X drives Y". Of what they cannot read they make no question; a function that
asks a language model can be given in their place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_AUXILIARIES = frozenset(
    "is was are were am has have had can must will".split()  # noqa: SIM905 - read at a glance
)
_PREPOSITIONS = frozenset(
    "to in at on as for by with from of near under".split()  # noqa: SIM905 - read at a glance
)
_DETERMINERS = frozenset(
    "a an the of my your his her its our their and to".split()  # noqa: SIM905 - read at a glance
)
_PLACES = frozenset(["to", "in", "at", "near", "from", "under"])
_TURNED = {
    "i": "you",
    "my": "your",
    "mine": "yours",
    "am": "are",
    "me": "you",
    "myself": "yourself",
    "i'm": "you're",
    "i've": "you've",
}
_VERB = re.compile(r"[a-z]{2,}(?:s|ed)")
_TIME = re.compile(r"\d|monday|tuesday|wednesday|thursday|friday|saturday|sunday", re.IGNORECASE)


@dataclass(frozen=True)
class Statement:
    """One sentence, read."""

    subject: str
    verb: str
    rest: tuple[str, ...]

    @property
    def answer(self) -> str:
        """What it says of its subject: the part that only those know who know it."""
        words = list(self.rest)
        if words and words[0].lower() in ("called", "named"):
            words = words[1:]
        while words and words[0].lower() in _DETERMINERS | _PREPOSITIONS:
            words = words[1:]
        return " ".join(words)


def read(sentence: str) -> Statement | None:
    """The sentence in parts; ``None`` if the rules find no verb."""
    words = sentence.strip().rstrip(".!?").split()
    for i, word in enumerate(words[1:-1] or words[1:], start=1):
        plain, before = word.lower(), words[i - 1].lower()
        verb = bool(_VERB.fullmatch(word)) and before not in _DETERMINERS
        if plain in _AUXILIARIES or (verb and not before.endswith("'s")) or before == "i":
            return Statement(" ".join(words[:i]), word, tuple(words[i + 1 :]))
    return None


def turned(sentence: str) -> str:
    """As one who was told it says it back: "I am allergic" becomes "You are allergic"."""
    words = sentence.split()
    if not any(word.lower().strip(",.") in _TURNED for word in words):
        return sentence
    out = [_TURNED.get(word.lower(), word) for word in words]
    return out[0][:1].upper() + " ".join(out)[1:]


def questions(said: Statement) -> list[str]:
    """What may be asked, each once; the plainest first."""
    found: list[str] = []
    for subject in _subjects(_inner(said.subject)):
        found += _of(said, subject)
    return list(dict.fromkeys(found))


def _of(said: Statement, subject: str) -> list[str]:
    verb, rest = said.verb.lower(), [word.lower() for word in said.rest]
    at = next((i for i, word in enumerate(rest[:3]) if word in _PREPOSITIONS), None)
    asked = _askers(rest, at)
    if verb in _AUXILIARIES:
        if rest[:1] in (["called"], ["named"]):
            return [
                f"What {verb} {subject} called?",
                f"What is the name of {subject}?",
                f"Who {verb} {subject}?",
                f"How do you call {subject}?",
                f"Tell me the name of {subject}.",
            ]
        if at:
            state = " ".join(said.rest[:at])
            ends = [f"{state} {rest[at]}", state]
            return [f"{one} {verb} {subject} {end}?" for end in ends for one in asked]
        return [*(f"{one} {verb} {subject}?" for one in asked), f"Tell me about {subject}."]
    do, stem = _plain_verb(verb, subject)
    ends = [f" {rest[at]}", ""] if at == 0 else [""]
    last = said.rest[-1:] if at is None and len(rest) > 1 else ()
    found = [f"{one} {do} {subject} {stem}{end}?" for end in ends for one in asked]
    return [*found, *(f"Which {word} {do} {subject} {stem}?" for word in last)]


def _askers(rest: list[str], at: int | None) -> tuple[str, ...]:
    time = bool(_TIME.search(" ".join(rest))) or (at is not None and rest[at] in ("at", "on"))
    place = at is not None and rest[at] in _PLACES
    person = (at is not None and rest[at] in ("by", "with", "for")) or at is None
    words = ("What", "Which", "Who" * person, "When" * time, "Where" * place)
    return tuple(word for word in words if word)


def _subjects(subject: str) -> list[str]:
    """``X's Y`` and ``the Y of X`` are the same."""
    found = [subject]
    if owner := re.fullmatch(r"(.+)'s (.+)", subject):
        found.append(f"the {owner[2]} of {owner[1]}")
    elif owned := re.fullmatch(r"the (\S+) of (.+)", subject):
        found.append(f"{owned[2]}'s {owned[1]}")
    return found


def _inner(subject: str) -> str:
    """A subject inside a sentence."""
    first, _, others = subject.partition(" ")
    inner = first.lower() if first.lower() in {*_DETERMINERS, "this", "that"} else first
    return f"{inner} {others}".strip()


def _plain_verb(verb: str, subject: str) -> tuple[str, str]:
    if verb.endswith("ed"):
        stem = (
            verb[:-3] + "y"
            if verb.endswith("ied")
            else verb[:-1]
            if verb[-3] in "vsc"
            else verb[:-2]
        )
        return "did", stem
    if subject.lower() in ("i", "you", "we", "they"):
        return "do", verb
    stem = verb[:-3] + "y" if verb.endswith("ies") else verb[:-1]
    return "does", stem
