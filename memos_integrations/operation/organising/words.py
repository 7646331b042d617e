"""Words of a text made comparable: spelling, contractions, numbers, stems, names, times."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_CONTRACTIONS = tuple(
    (re.compile(pattern), full)
    for pattern, full in (
        (r"\bcan't\b|\bcannot\b", "can not"),
        (r"\bwon't\b", "will not"),
        (r"n't\b", " not"),
        (r"\bi'm\b", "i am"),
        (r"\b(you|we|they)'re\b", r"\1 are"),
        (r"\b(i|you|we|they)'ve\b", r"\1 have"),
        (r"\b(i|you|we|they|he|she)'d\b", r"\1 would"),
        (r"\b(i|you|we|they|he|she|it)'ll\b", r"\1 will"),
        (r"\b(he|she|it|that|there|what|here)'s\b", r"\1 is"),
        (r"\be-?mail\b", "email"),
        (r"\bcolor\b", "colour"),
        (r"\bfavorite\b", "favourite"),
        (r"\banymore\b", "any more"),
        (r"(?<=\d),(?=\d{3}\b)", ""),
        (r"(?<=\d)(?:st|nd|rd|th)\b", ""),
    )
)
_SMALL = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
_SMALL += " fifteen sixteen seventeen eighteen nineteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth"
NUMBERS = {word: str(n) for n, word in enumerate(_SMALL.split())}
NUMBERS |= {word: str(10 * n) for n, word in enumerate(_TENS.split(), 2)}
NUMBERS |= {
    f"{ten}-{one}": str(10 * t + o)
    for t, ten in enumerate(_TENS.split(), 2)
    for o, one in enumerate(_SMALL.split()[1:10], 1)
}
NUMBERS |= {word: str(n) for n, word in enumerate(_ORDINALS.split(), 1) if word != "second"}
_WEEKDAYS = "monday tuesday wednesday thursday friday saturday sunday"
WEEKDAYS = frozenset(_WEEKDAYS.split())
_MONTHS = "january february march april may june july august september october november december"
MONTHS = frozenset(_MONTHS.split())
_STOP = (
    "told said thanks thank bye hi hey hello wow oh yeah okay gonna"
    " a an the this that these those i me my mine we us our you your he him his she her it"
    " its they them their am is are was were be been being have has had do does did will"
    " would can could shall should may of to in on at for with by from as into about and or"
    " but so than then there here very really just also too actually currently now still"
    " again please lot ever after all any more got get some s user named called name"
    " moment days who which because not no never longer"
)
STOP = frozenset(_STOP.split())
_SAME = {
    "mum": "mother",
    "mom": "mother",
    "dad": "father",
    "flatmate": "roommate",
    "scared": "afraid",
    "kids": "children",
    "automobile": "car",
    "film": "film",
    "movie": "film",
    "mobile": "phone",
}
_ENDINGS = ("ing", "ed", "ly")
TOKEN = re.compile(r"[^\W_]+(?:[-'.:@/][^\W_]+)*[+#]*")
_VOWEL_CONSONANT = re.compile(r"(?:^|[^aeiou])[aeiouy][^aeiouwxy]$")


def plain(text: str) -> str:
    """Lower-cased, straight apostrophes, contractions written out, one spelling, one space."""
    text = unicodedata.normalize("NFKC", text).casefold().replace("’", "'").replace("`", "'")
    for pattern, full in _CONTRACTIONS:
        text = pattern.sub(full, text)
    return " ".join(text.split())


def exact_form(text: str) -> str:
    """What two texts share that differ in case, white space and marks at their ends only."""
    text = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    return " ".join(text.split()).strip(" .!,;:…。！'\"“”")


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """Singular and present, roughly: ``cats`` to cat, ``hiking`` to hike; numbers as figures."""
    word = word.removesuffix("'s").removesuffix("'")
    word = _SAME.get(word, NUMBERS.get(word, word))
    if not word.isalpha() or not word.isascii():
        return word
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    for suffix in ("ing", "ed"):
        root = word.removesuffix(suffix)
        if root != word and len(root) > 1 and re.search("[aeiouy]", root):
            return _root(root)
    if len(word) > 4 and word.endswith(("ches", "shes", "sses", "xes")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word[-1] == "s" and word[-2] not in "su" else word


def _root(root: str) -> str:
    """A root that lost ``ing`` or ``ed``: one consonant of two, or its silent e."""
    if len(root) > 2 and root[-1] == root[-2] and root[-1] not in "lsz":
        return root[:-1]
    short = len(root) <= 4 and root[-2:] not in ("en", "er", "on", "it")
    if root.endswith(("at", "iv", "us")) or short:
        return root + "e" if _VOWEL_CONSONANT.search(root) else root
    return root


def content_words(text: str) -> frozenset[str]:
    """The stems of ``text`` without stop words; numbers and names among them."""
    return frozenset(
        stem(part)
        for word in TOKEN.findall(plain(text))
        for part in _parts(word)
        if part not in STOP
    )


def _parts(word: str) -> list[str]:
    """``lactose-intolerant`` is two words, ``tulip-77`` and ``thirty-four`` are one."""
    joined = "-" in word and word not in NUMBERS and word.replace("-", "").isalpha()
    return word.split("-") if joined else [word]


def names(text: str) -> tuple[str, ...]:
    """Capitalised words in order, lower-cased; at a sentence's start if not a common word."""
    found, starts = [], True
    for match in TOKEN.finditer(text):
        word = match.group()
        lower = word.casefold().removesuffix("'s").removesuffix("’s")
        known = lower in STOP or lower in COMMON or lower in NUMBERS
        usual = known or lower.startswith(("i'", "i’"))
        if word[0].isupper() and not usual and not (starts and lower.endswith(_ENDINGS)):
            found.append(lower)
        starts = text[match.end() : match.end() + 2].rstrip() in (".", "!", "?")
    return tuple(found)


def numbers(words: frozenset[str]) -> frozenset[str]:
    """The words with figures in them."""
    return frozenset(word for word in words if any(letter.isdigit() for letter in word))


_COMMON = (
    "always never please every today yesterday tomorrow thanks last next order ticket"
    " version user customer report in on at when where what why how if do don't does did"
    " use call answer green blue red meet tests test meeting remember"
)
COMMON = frozenset(_COMMON.split())
"""Words that begin a sentence without naming anybody."""
