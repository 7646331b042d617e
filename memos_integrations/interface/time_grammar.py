"""The grammar of time phrases: which words of a text speak of a time.

Patterns are written with a blank for any white space. ``RULES`` holds one compiled pattern a rule,
with named parts; ``PHRASE`` is all of them in one, so that a text is scanned once.
"""

from __future__ import annotations

import re

COUNTS = {
    "a": 1,
    "an": 1,
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "eleven": 11,
    "twelve": 12,
    "couple": 2,
    "few": 3,
    "several": 5,
}

_NUMBER = (
    r"\d{1,4}|(?:a )?couple(?: of)?|(?:a )?few|several|one|two|three|four|five|six|seven|eight|nine"
    r"|ten|eleven|twelve|an?"
)
_UNIT = r"weekend|week|fortnight|month|year|decade|day|hour|minute"
_WEEKDAY = r"(?:mon|tues|wednes|thurs|fri|satur|sun)day"
# A short one has its capital: "we sat, 3 may join us" names no Saturday.
_ANY_WEEKDAY = rf"(?:{_WEEKDAY}|(?-i:Mon|Tues?|Wed|Thu(?:rs?)?|Fri|Sat|Sun)\b\.?)"
_SEASON = r"spring|summer|autumn|fall|winter"
# "may" and "march" are verbs too: in small letters they are months only before these.
_NO_VERB = (
    r"(?=\W*$|[.,;:!?)]| (?:\d|i|we|he|she|they|you|it|did|with|at|in|for|to|and|or|when|of)\b)"
)
_NO_NOUN = (
    r"(?=\W*$|[.,;:!?)…]| (?:i|we|he|she|they|you|it|my|our|the|is|was|did|at|in|from|for|with|to"
    r"|and|or|but|when|after|before|because|so|if|as)\b)"
)
_PLAIN_MONTH = (
    r"jan(?:uary)?|feb(?:ruary)?|apr(?:il)?|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?"
)
_ANY_MONTH = rf"(?:{_PLAIN_MONTH}|mar(?:ch)?|may)\b(?:\.(?= \d))?"
_MONTH = rf"(?:{_PLAIN_MONTH}|(?-i:May|MAY|March|MARCH|Mar)|(?:may|march){_NO_VERB})\b"
_NAME = rf"{_WEEKDAY}|{_SEASON}|{_MONTH}"
_YEAR = r"(?:19|20)\d\d(?![\d%]|[.,:/-]\d)"
_PART = (
    r"(?:(?:the )?(?P<part>early|mid|late|(?:beginning|start|middle|end)(?= of\b)"
    r"|(?:(?:first|second) half|(?:first|second|third|fourth|last) week)(?= (?:of|in)\b))"
    r"(?: (?:of|in)(?: the)?)?(?:-| ))"
)
_WRITTEN = (
    rf"(?:(?P<onday>{_ANY_WEEKDAY})(?: (?:morning|afternoon|evening|night))?,? )?"
    r"(?:(?P<iso>\d{4}-\d\d-\d\d)(?!\d)"
    r"|(?:the )?(?P<d1>\d{1,2})(?P<s1>st|nd|rd|th)?(?P<of> of)?"
    rf" (?P<m1>{_ANY_MONTH})(?:,? (?:of )?(?P<y1>{_YEAR}))?"
    rf"|(?P<m2>{_ANY_MONTH}),? (?:of )?(?P<y2>{_YEAR})"
    rf"|(?P<m3>{_ANY_MONTH}) (?:the )?(?P<d3>\d{{1,2}})(?P<s3>st|nd|rd|th)?(?![\d%]|[.,:]\d)"
    rf"(?:,? (?:of )?(?P<y3>{_YEAR}))?"
    rf"|(?:the )?(?P<season>{_SEASON})(?: of|,)? (?P<y4>{_YEAR}))"
)

_TEMPLATES = {
    "anchored": rf"(?P<n>the|{_NUMBER}) (?P<what>{_UNIT}|night|{_NAME})s?"
    rf" (?P<way>before|preceding|after|following|of) (?:on )?{_WRITTEN}",
    "written": rf"(?P<on>(?:on|in|by|until|for) )?{_PART}?{_WRITTEN}",
    "decade": r"(?P<the>the )?(?:(?P<part>early|mid|late)(?:-| ))?"
    r"['’]?(?P<century>19|20)?(?P<ten>\d)0['’]?s\b",
    "year": rf"(?:(?:in|by|during|until|from|around) (?:the year )?|since |{_PART})"
    rf"(?P<year>{_YEAR})",
    "within": rf"(?:(?:on|in) )?(?P<inner>{_NAME})(?: of)?"
    r" (?P<rel>last|this|next) (?P<outer>week|year)\b",
    "rolling": rf"(?:the )?(?P<way>last|past|next) (?P<n>{_NUMBER}) (?P<what>{_UNIT})s?\b"
    r"|(?:the|this) (?P<way2>last|past) (?P<what2>week|month|year|decade)\b(?! of\b)",
    "before_last": rf"the (?P<what>{_UNIT}|{_NAME}) (?P<way>before last|after next)\b"
    r"|the (?P<what2>weekend|week|month|year) before(?=\W*$|[.,;:!?)])",
    # Not "four times in a week", "in a month with a move in it" or "in two weeks of training".
    "offset": r"(?<!time )(?<!times )(?<!once )(?<!twice )(?:in|within)"
    r"(?! an? \w+ (?:with|where|when|that|like|full)\b)"
    rf" (?P<n>{_NUMBER}) (?P<what>day(?=s)|week|fortnight|month|year)s?\b"
    r"(?:['’]?s? time\b)?(?! of\b)",
    "relative": rf"{_PART}?(?P<rel>last|previous|(?:this|the) past"
    r"|(?:(?:this|the) )?(?:coming|upcoming)|this|next)"
    rf" (?P<what>weekend|week|month|year|night|morning|afternoon|evening|{_NAME})\b(?! of\b)",
    "ago": rf"(?P<n>{_NUMBER}) (?P<what>{_UNIT}|night|{_NAME})s?"
    r" (?P<way>ago|back|from now|from today)\b",
    "word": r"(?P<word>the day before yesterday|the day after tomorrow"
    r"|(?<!like )(?<!like just )yesterday|today|tonight|tomorrow)\b",
    # Not "on the 7th floor".
    "number": rf"(?:on|since|by|until|for) (?:(?P<onday>{_ANY_WEEKDAY}),? )?(?:the )?"
    rf"(?P<number>\d{{1,2}})(?:st|nd|rd|th)\b{_NO_NOUN}",
    "bare": rf"(?:(?:in|since|by|until|during|around|throughout) (?:the month of )?|{_PART})"
    rf"(?P<month>{_MONTH})(?! ?\d)"
    rf"|(?:over|during|throughout|since) (?:the )?(?P<season>{_SEASON})\b"
    r"|(?:over|at|on|during) the (?P<weekend>weekend)\b(?! before\b)"
    rf"|(?:on|since|by|until|for) (?P<weekday>{_WEEKDAY})\b"
    r"(?! (?:morning|afternoon|evening|night)s\b)"
    rf"|(?<!every )(?<!each )(?P<weekday2>{_WEEKDAY}) (?:night|morning|afternoon|evening)\b",
}


def _compile(pattern: str) -> re.Pattern[str]:
    # A lookbehind has a fixed width, so its blank stays one blank.
    spaced = re.sub(r"(\(\?<[!=][^)]*\))| ", lambda m: m.group(1) or r"\s+", pattern)
    return re.compile(spaced, re.IGNORECASE)


RULES = {name: _compile(pattern) for name, pattern in _TEMPLATES.items()}

PHRASE = _compile(
    r"\b(?:since (?:the )?)?(?:"
    + "|".join(
        f"(?P<{name}>{re.sub(r'[(][?]P<[a-z0-9]+>', '(?:', pattern)})"
        for name, pattern in _TEMPLATES.items()
    )
    + ")"
)
