"""The table of what sentences say about somebody: verb phrases and nouns, each to one attribute.

A rule is ``(attribute, pattern over what follows the subject)``; group ``v`` is the value, ``was``
the value that no longer holds. A leading ``-`` makes the statement a denial.
"""

from __future__ import annotations

import re

_SINGLE = (
    "lives in|works at|job|name|age|birthday|birthplace|diet|partner|studies|phone number"
    "|email|address|weight|wakes up|reply in|sleeps|boss|password|capital|deadline|budget"
    "|rent|salary|teacher|landlord|landlady|doctor|dentist|manager|branch|version|height"
    "|surname|nickname|nationality|hometown|timezone|postcode|employer|director|owner"
    "|supervisor|port|size|price"
)
_SINGLE += (
    "|username|code|pin|login|type|head|captain|president|ceo|colour|number|id|language|currency"
    "|goal|theme|status|provider|bank|insurer|school|team|title|desk|seat|model|shift|deductible"
)
SINGLE = frozenset(_SINGLE.split("|"))
"""Of these a subject has one value at a time; a new value replaces the old one."""

_MANY = (
    "sister brother friend colleague child son daughter cat dog pet cousin uncle aunt"
    " neighbour roommate grandmother grandfather teammate client student hobby"
)
MANY = frozenset(_MANY.split())
"""Of these somebody may have several: another name is another one."""

_PARTNER = "husband wife spouse partner girlfriend boyfriend fiancé fiancée fiance"
PARTNER = frozenset(_PARTNER.split())

_PEOPLE = (
    "mother father parent son daughter boss manager landlord teacher doctor child baby"
    " grandma grandpa nephew niece"
)
PEOPLE = frozenset(_PEOPLE.split()) | MANY | PARTNER
"""Nouns that a statement can be about: ``my sister lives in Linz``."""

_TRADE = (
    r"(?:[\w-]+ ){0,3}?(?:[a-z]+(?:ist|ician|eer|grapher|smith)|nurse|teacher|baker|carpenter"
    r"|accountant|lawyer|doctor|vet|cook|chef|driver|farmer|writer|painter|plumber|electrician"
    r"|manager|developer|programmer|consultant|designer|student|researcher|scientist|architect"
    r"|actor|actress|singer|editor|translator|tutor|professor|lecturer|waiter|waitress|barista"
    r"|gardener|hairdresser|builder|pilot|soldier|surgeon|midwife|analyst|librarian|paramedic"
    r"|secretary|clerk|cleaner|tailor|butcher|judge|coach|trainer)"
)
_A = r"(?:an? |the )?"

_RULES = (
    ("wants", r"(?:would (?:like|love) to|wants? to|hopes? to|plans? to) (?P<v>.+)"),
    ("-lives in", r"(?:used to live|lived) in (?P<v>.+)"),
    ("lives in", r"(?:(?:have|has) )?(?:moved|relocated) from (?P<was>.+?) to (?P<v>.+)"),
    ("lives in", r"(?:(?:have|has) )?(?:moved|relocated) (?:to|in) (?P<v>.+)"),
    (
        "lives in",
        r"(?:(?:am|are|is) )?(?:lives?|living|resides?|residing|based) (?:in|at) "
        r"(?:an? (?:[\w-]+ ){0,2}?(?:flat|house|apartment|room|studio|cottage) in )?(?P<v>.+)",
    ),
    ("works at", r"started (?:an? |my )?(?:new )?(?:job|position) (?:at|with) (?P<v>.+)"),
    ("-works at", r"(?:quit|left) (?:my|his|her|the|their) job(?: at (?P<v>.+))?"),
    ("works at", r"(?:(?:am|is|are) )?(?:works?|working|employed) (?:at|for|with) (?P<v>.+)"),
    ("job", rf"(?:works?|working) (?P<also>in .+ )?as {_A}(?P<v>.+)"),
    (
        "diet",
        rf"(?:(?:am|is|are|have been|has been) )?{_A}(?P<v>vegan|vegetarian|pescatarian)s?\b"
        r"(?P<rest>.*)",
    ),
    ("diet", r"(?P<v>eats? meat)\b(?P<rest>.*)"),
    ("age", r"(?:am|is) (?P<v>[\w-]+) years? old(?P<rest>.*)|turned (?P<w>[\w-]+)(?: \w+)?"),
    ("birthday", r"(?:was|am|is) born on (?P<v>.+)"),
    ("birthplace", r"(?:was|am|is) born in (?P<v>\D+)"),
    ("partner", r"(?:(?:am|is|are) |got )?(?:married|engaged) to (?P<v>.+)"),
    ("partner", r"(?:(?:am|is|are) |got )?(?P<v>single|divorced|separated)\b(?P<rest>.*)"),
    (
        "allergic to",
        r"(?:am|is|are) allergic to (?P<v>.+)|(?:have|has) an? (?P<w>\w+) allergy(?P<rest>.*)",
    ),
    ("afraid of", r"(?:am|is|are) (?:afraid|scared|terrified) of (?P<v>.+)"),
    ("name", r"(?:am|is|are) (?:called|named) (?P<v>.+)"),
    ("job", rf"(?:am|is|are) {_A}(?P<v>{_TRADE}\b.*)"),
    ("studies", r"switched (?:my|his|her|their) major to (?P<v>.+)"),
    (
        "studies",
        r"(?:(?:am|is|are) )?(?:study|studies|studying|major(?:s|ing)? in) (?!for )(?P<v>.+)",
    ),
    ("-likes", r"(?:dislikes?|hates?|loathes?|detests?|can not stand) (?:to )?(?P<v>.+)"),
    (
        "likes",
        r"(?:have started to |started to )?(?:likes?|loves?|enjoys?|adores?) (?:to )?(?P<v>.+)",
    ),
    ("likes", r"(?:stand|bear) (?P<v>.+)"),
    ("likes", r"(?:am|is|are) (?:fond of|keen on|into|an? (?:big )?fan of) (?P<v>.+)"),
    ("prefers", r"prefers? (?:to have )?(?P<v>.+?)(?: (?:over|to|rather than) (?P<was>.+))?$"),
    ("-*", r"(?:sold|gave away|lost) (?:my|our|his|her|the) (?P<v>.+)"),
    ("drives", rf"drives? {_A}(?P<v>.+)"),
    ("phone number", r"(?:have|has) an? (?:new )?phone number:? (?P<v>.+)"),
    (
        "has",
        r"(?:have|has|owns?|have got|has got) (?!become|left|quit|given|gave|lost|sold|\w+ed\b)"
        rf"{_A}(?P<v>.+)",
    ),
    ("weight", r"weighs? (?P<v>.+)"),
    ("wakes up", r"(?:wakes?|gets?) up at (?P<v>.+)"),
    ("sleeps", r"sleeps? (?P<v>well|badly)\b(?P<rest>.*)"),
    ("-cancelled", r"(?:is|was|are|has been) (?:cancelled|canceled|called off)(?P<v>.*)"),
    ("-uses", r"switched (?:over )?from (?P<v>.+?) to (?P<was>.+)"),
)
RULES = tuple(
    (name.lstrip("-"), not name.startswith("-"), re.compile(pattern)) for name, pattern in _RULES
)
SCHEDULED = re.compile(
    r"(?P<verb>lands|leaves|departs|arrives|starts|begins|opens|closes|ends|takes place)"
    r" (?=(?:on|at)\b)(?P<v>.+)"
)
"""Timetables: ``Ben's flight lands at 18:40``."""

ALIKE = tuple(
    (re.compile(pattern), same)
    for pattern, same in (
        (r"^(?:she|he|they|my \w+|\w+) (?:told (?:me|us)|said|says)(?: that)? ", ""),
        (r"\blast name\b", "surname"),
        (r"\bm[ou]m\b", "mother"),
        (r"\bdad\b", "father"),
        (r"\bflatmate\b", "roommate"),
        (r"\b(my|our|the) new (?=[\w-]+ (?:[\w-]+ )?is\b)", r"\1 "),
        (r"\bdate of birth\b", "birthday"),
        (r"\bemail address\b", "email"),
        (r"\b(?:cell|mobile)?phone no\b|\bmobile number\b", "phone number"),
        (r"^my (?:home|city|home town) is (?:in )?", "i live in "),
        (r"^my car is ", "i drive "),
        (r"^(?:you can )?call me ", "my name is "),
        (r"^my \w+ and i ", "we "),
        (r"^i am called ", "my name is "),
        (r"^you can reach me at ([^ ,]+).*phone number", r"my phone number is \1"),
        (r"^(?:in|on|at) (\w+) (we|i) (.+)$", r"\2 \3 in \1"),
    )
)
"""Turns of phrase that other rules read in another form."""
