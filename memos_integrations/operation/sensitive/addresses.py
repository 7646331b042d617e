"""Postal addresses as far as rules go: a street with a number, as some languages write it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from memos_integrations.operation.sensitive.finding import Finding

_UPPER = "A-ZÀ-ÖØ-ÞĀŁŚŻ"
_NAME = rf"[{_UPPER}0-9][\w'’.-]{{0,30}}"
_UK_CODE = r"[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}"
_TOWN = (
    rf"(?:,? (?:Apt|Apartment|Flat|Unit|Suite|Ste|No)\.? ?#?\w{{1,5}})?"
    rf"(?:,? [{_UPPER}][\w'’-]{{1,30}}(?: [{_UPPER}][\w'’-]{{1,30}}){{0,2}})?"
    rf"(?:,? (?:[A-Z]{{2}} )?\d{{5}}(?:-\d{{4}})?|,? {_UK_CODE})?"
)
_CODE_TOWN = rf"(?:,? (?:[A-Z]{{1,2}}-)?\d{{4,5}}(?: ?[A-Z]{{2}})? [{_UPPER}][\w'’-]{{1,30}})?"

_ENGLISH = re.compile(
    rf"(?<![\w$€£.:-])(?:(?:Flat|Apartment|Apt|Unit) \w{{1,5}},? )?"
    rf"\d{{1,5}}[A-Za-z]?(?:-\d{{1,5}})? "
    rf"(?:{_NAME} ){{1,4}}"
    r"(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Ct|Square|Sq|Place|Pl"
    r"|Terrace|Way|Close|Crescent|Highway|Hwy|Parkway|Pkwy|Row|Mews|Hill|Gardens|Grove|Walk)\b\.?"
    rf"{_TOWN}"
)
_GERMANIC = re.compile(
    rf"(?<!\w)[{_UPPER}][\wäöüßåæø.-]{{1,40}}"
    r"(?:straße|strasse|str\.|weg|platz|allee|gasse|ring|damm|ufer|chaussee"
    r"|gata|gaten|gate|veien|vei|vegen|vägen|gatan|gade|vej"
    r"|straat|laan|plein|gracht|kade|singel) "
    rf"\d{{1,4}} ?[a-zA-Z]?(?!\w){_CODE_TOWN}"
)
_ROMANCE = re.compile(
    r"(?<!\w)\d{1,4}(?: (?:bis|ter))?,? "
    r"(?:rue|avenue|boulevard|place|chemin|impasse|quai|allée|cours)"
    rf" (?:(?:de|du|des|la|le|les|d['’]|l['’]) ?){{0,3}}[{_UPPER}][\w'’-]{{1,30}}"
    rf"(?: (?:de |la |du )?[{_UPPER}][\w'’-]{{1,30}}){{0,3}}{_CODE_TOWN}"
)
_SOUTHERN = re.compile(
    r"(?<!\w)(?:Calle|C/|Avenida|Av\.|Plaza|Paseo|Via|Viale|Piazza|Corso|Rua|Largo) "
    rf"(?:(?:de|del|della|dei|la|las|los|da|do) ){{0,2}}[{_UPPER}][\w'’-]{{1,30}}"
    rf"(?: (?:de |la )?[{_UPPER}][\w'’-]{{1,30}}){{0,2}},? (?:n\.? ?º? ?)?\d{{1,4}}(?!\w)"
    rf"{_CODE_TOWN}"
)
_BOX = re.compile(r"\b(?:P\.? ?O\.? Box|Postfach|Apartado|Boîte postale) \d{1,6}\b", re.IGNORECASE)
_UK = re.compile(rf"(?<![\w-]){_UK_CODE}(?![\w-])")
_PATTERNS = (_ENGLISH, _GERMANIC, _ROMANCE, _SOUTHERN, _BOX, _UK)


def addresses(text: str) -> Iterator[Finding]:
    """Where somebody lives or gets letters."""
    for pattern in _PATTERNS:
        for found in pattern.finditer(text):
            yield Finding(found.start(), found.end(), "address")
