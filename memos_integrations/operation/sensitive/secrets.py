"""Keys, tokens and passwords: by their issuers' prefixes, or by what names them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from memos_integrations.operation.sensitive.finding import Finding

_ISSUED = re.compile(
    r"""(?<![\w-])(?:
      (?:AKIA|ASIA)[0-9A-Z]{16}
    | gh[pousr]_[0-9A-Za-z]{30,255} | github_pat_[0-9A-Za-z_]{40,255}
    | glpat-[0-9A-Za-z_-]{20,64}
    | sk-(?:[a-z]{2,12}-)*[0-9A-Za-z_-]{20,200}
    | [rsp]k_(?:live|test)_[0-9A-Za-z]{16,128} | whsec_[0-9A-Za-z]{24,128}
    | xox[abeoprs]-[0-9A-Za-z-]{10,200} | xapp-\d-[0-9A-Za-z-]{20,200}
    | AIza[0-9A-Za-z_-]{35} | ya29\.[0-9A-Za-z_-]{20,300}
    | npm_[0-9A-Za-z]{36} | pypi-[0-9A-Za-z_-]{40,300} | hf_[0-9A-Za-z]{30,64}
    | SG\.[0-9A-Za-z_-]{16,32}\.[0-9A-Za-z_-]{30,64}
    | dop_v1_[0-9a-f]{64} | shpat_[0-9a-fA-F]{32}
    | AGE-SECRET-KEY-1[0-9A-Z]{58}
    | eyJ[0-9A-Za-z_-]{8,2000}\.eyJ[0-9A-Za-z_-]{8,4000}\.[0-9A-Za-z_-]{8,1000}
    )(?![\w-])""",
    re.VERBOSE,
)
_BLOCK = re.compile(
    r"-----BEGIN (?P<kind>(?:[A-Z]+ ){0,3}PRIVATE KEY(?: BLOCK)?)-----"
    r"(?:.*?-----END (?P=kind)-----|.*)",
    re.DOTALL,
)
_IN_URL = re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://[^\s/:@]{0,80}:(?P<value>[^\s/@]{3,200})@")
_BEARER = re.compile(r"\b(?:bearer|basic)\s+(?P<value>[0-9A-Za-z._~+/=-]{16,2000})", re.IGNORECASE)
_NAMED = re.compile(
    r"(?:pass(?:word|wd|phrase|code)|pwd|secret|token|(?:api|access)[ _-]?key|client[ _-]?secret"
    r"|kennwort|passwort|mot de passe|contraseña)"
    r"(?:[ ]for[ ][\w .-]{1,40})?[\"']?\s{0,3}(?:=|:|\bis\b|\bist\b|\best\b|\bes\b)\s{0,3}[\"'`]?"
    r"(?P<value>[^\s\"'`]{4,200})",
    re.IGNORECASE,
)
_PIN = re.compile(r"\b(?:PIN|pin code|cvv|cvc)\b\D{0,12}(?P<value>\d{3,8})\b", re.IGNORECASE)


def secrets(text: str) -> Iterator[Finding]:
    """What opens something."""
    for pattern in (_ISSUED, _BLOCK):
        for found in pattern.finditer(text):
            yield Finding(found.start(), found.end(), "secret")
    for pattern in (_IN_URL, _BEARER, _NAMED, _PIN):
        for found in pattern.finditer(text):
            start, stop = found.span("value")
            value = text[start:stop].rstrip(".,;:!?)")
            if pattern is not _NAMED or _is_chosen(value):
                yield Finding(start, start + len(value), "secret")


def _is_chosen(value: str) -> bool:
    """Whether it is a password rather than the next word of a sentence."""
    kinds = (str.isdigit, str.isupper, str.islower, lambda c: not c.isalnum())
    mixed = sum(any(map(kind, value)) for kind in kinds)
    inner = any(map(str.isupper, value[1:])) and any(map(str.islower, value))
    return len(value) >= 4 and (any(map(str.isdigit, value)) or mixed >= 3 or inner)
